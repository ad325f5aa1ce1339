"""Files that appear together: each waits beside its final place until all of them are written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from data_contracts.errors import WorkspaceError


@dataclass(frozen=True, slots=True)
class Staged:
    """A file that waits beside its final place; without ``ready`` the final place is to be empty."""

    ready: Path | None
    final: Path


def stage(rows: pa.Table, final: Path) -> Staged:
    """Write rows, through to the disk, beside the place that they are for."""
    final.parent.mkdir(parents=True, exist_ok=True)
    ready = final.with_name(f".{final.name}.{uuid4().hex}.tmp")
    try:
        with ready.open("wb") as file:
            pq.write_table(rows, file)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        ready.unlink(missing_ok=True)
        raise
    return Staged(ready, final)


@contextmanager
def published_together() -> Iterator[list[Staged]]:
    """Rename every staged file once all of them are written; none when one could not be."""
    staged: list[Staged] = []
    try:
        yield staged
        for file in staged:
            if file.ready is not None:
                file.ready.replace(file.final)
            else:
                file.final.unlink(missing_ok=True)
    except OSError as error:
        raise WorkspaceError(
            f"the batch cannot be written: {error}", next_step="nothing half written stays"
        ) from error
    finally:
        for file in staged:
            if file.ready is not None:
                file.ready.unlink(missing_ok=True)
