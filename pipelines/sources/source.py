"""What a source is: canonical tables from somebody's files, and the instants at which it is judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from data_contracts.errors import SourceError
from training.instants import Instants


class History(StrEnum):
    """Whether outcomes of a set may become state while it is judged."""

    LIVE = "live"
    """Every outcome says when it was known."""
    SEALED = "sealed"
    """Outcomes have a day, but nobody says when they were known."""
    UNDATED = "undated"
    """There is no calendar at all: training and test stand side by side, told apart by their ids."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Canonical tables, and what of the files is not in them.

    excluded : rows that the evaluation's own rules left out, by reason
    unreadable : cells that are not of their column's type and became null, by column
    context : tables known before every row of ``tables``; they teach, and are never forecast
    """

    tables: dict[str, pa.Table]
    excluded: Counter[str] = field(default_factory=Counter)
    unreadable: Counter[str] = field(default_factory=Counter)
    context: dict[str, pa.Table] = field(default_factory=dict)


class Source(Protocol):
    """One adapter: it maps columns to the canonical tables and does nothing else.

    history : not live where the files cannot say when an outcome was known
    cluster : the column of ``routes`` whose values fail together
    """

    name: str
    instants: Instants
    history: History
    cluster: str

    def load(self, paths: Sequence[Path], weather: Path | None = None) -> Loaded: ...


class Feed(Protocol):
    """One adapter of messages that a fleet already gets, to be landed beside its own routes.

    ``received_at`` is when the files were fetched; a feed whose messages do not say needs it.
    """

    name: str

    def load(self, paths: Sequence[Path], received_at: datetime | None = None) -> Loaded: ...


def files(paths: Sequence[Path | str], pattern: str) -> list[Path]:
    """Files named by files, folders (their ``pattern``) or globs, in order, each once.

    Raises
    ------
    SourceError
        when a path names nothing, or a file is empty
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        matches = sorted(path.glob(pattern)) if path.is_dir() else [path] if path.is_file() else _glob(path)
        if not matches:
            raise SourceError(
                "no such file" if not path.is_dir() else f"the folder holds no {pattern}",
                where=str(path),
                next_step="name a file, a folder or a glob that exists",
            )
        found.update(dict.fromkeys(matches))
    for file in found:
        if file.stat().st_size == 0:
            raise SourceError("the file is empty", where=str(file), next_step="fetch it again")
    return list(found)


def without(found: Sequence[Path], others: Sequence[str], what: str) -> list[Path]:
    """Files that are not the set's own side files, of which a `SourceError` says that they are not enough."""
    kept = [file for file in found if file.name not in others]
    if not kept:
        raise SourceError(
            f"holds no {what}", where=", ".join(map(str, found)), next_step=f"name a file of {what}"
        )
    return kept


def _glob(path: Path) -> list[Path]:
    root = Path(path.anchor or ".")
    return sorted(match for match in root.glob(str(path.relative_to(path.anchor))) if match.is_file())
