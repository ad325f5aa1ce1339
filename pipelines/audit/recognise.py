"""Which adapter a folder is for, by the columns of its files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from data_contracts.errors import SourceError
from data_contracts.tables import TABLES, Table
from data_contracts.workspace import Workspace
from pipelines.sources import delhivery, kandy, lade, nyc_taxi, sendy
from pipelines.sources.canonical import MAPPING
from pipelines.sources.reading import READERS, json_objects

_EVENT_TIMES = frozenset({"occurred_at", "received_at"})
_TOLD_COLUMNS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A published format: some file like ``pattern`` has all of ``columns``."""

    source: str
    pattern: str
    columns: frozenset[str]


FORMATS = (
    Format(source="nyc_taxi", pattern="*.parquet", columns=frozenset(nyc_taxi.COLUMNS)),
    Format(source="sendy", pattern="Train*.csv", columns=frozenset(sendy.COLUMNS)),
    Format(source="delhivery", pattern="legs*.csv", columns=frozenset(delhivery.COLUMNS)),
    Format(source="kandy", pattern="*.csv", columns=frozenset(kandy.COLUMNS)),
    Format(source="lade", pattern="*.csv", columns=frozenset(lade.COLUMNS)),
)
WEATHER_CSV = Format(
    source="weather_csv", pattern="*.csv", columns=frozenset({"full_time", "temperature_2m (°C)"})
)
#: Feed -> keys of its messages, and the key under which a list of them may stand.
MESSAGES: dict[str, tuple[frozenset[str], str]] = {
    "open_meteo": (frozenset({"hourly"}), ""),
    "tomtom": (frozenset({"flowSegmentData"}), ""),
    "traccar": (frozenset({"deviceId", "fixTime"}), "positions"),
    "onfleet": (frozenset({"worker", "destination"}), "tasks"),
}


def is_workspace(path: Path) -> bool:
    """Whether a folder is a workspace: something has landed or is quarantined in it, or it has settings."""
    place = Workspace(path)
    return any(each.exists() for each in (place.landed, place.quarantine, place.settings, place.log))


def recognise(path: Path) -> str:
    """The name of the adapter, or of the feed, for a folder or file.

    Raises
    ------
    SourceError
        when there is nothing, or nothing that an adapter knows; it says what there is
    """
    if not path.exists():
        raise SourceError("no such file or folder", where=str(path), next_step="name one that exists")
    if (path / MAPPING).is_file() or any(has_own(path, table) for table in TABLES.values()):
        return "canonical"
    for form in (*FORMATS, WEATHER_CSV):
        if any(form.columns <= columns_of(file) for file in matching(path, form.pattern)):
            return form.source
    for feed, (keys, under) in MESSAGES.items():
        if any(keys <= _message_keys(file, under) for file in matching(path, "*.json*")):
            return feed
    raise _unknown(path)


def has_own(path: Path, table: Table) -> bool:
    """Whether a path holds a table of ours: by its name, and by its required columns."""
    needed = {c.name for c in table.columns if c.required} - {"event_id"} - _EVENT_TIMES
    return any(
        needed <= columns_of(file) and _EVENT_TIMES & columns_of(file) for file in own_files(path, table)
    )


def own_files(path: Path, table: Table) -> list[Path]:
    """Files that are named like a table of ours."""
    if path.is_file():
        return [path] if table.name in (path.stem, path.parent.name) else []
    alone = [file for suffix in READERS if (file := path / f"{table.name}{suffix}").is_file()]
    return alone + sorted(file for file in (path / table.name).glob("*") if file.suffix in READERS)


def matching(path: Path, pattern: str) -> list[Path]:
    """Files like ``pattern``: those in the folder, or the path itself, whose name may be any."""
    if path.is_file():
        return [path] if path.match(f"*{Path(pattern).suffix}") else []
    return sorted(path.glob(pattern))


def columns_of(file: Path) -> frozenset[str]:
    """A file's column names; none where it cannot be read."""
    return frozenset(_read_columns(file))


def _read_columns(file: Path) -> Iterable[str]:
    readers: dict[str, Callable[[Path], Iterable[str]]] = {
        ".parquet": lambda found: pl.read_parquet_schema(found),
        ".csv": lambda found: pl.read_csv(found, n_rows=0, infer_schema=False).columns,
    }
    try:
        return readers[file.suffix](file) if file.suffix in readers else _keys(json_objects(file))
    except (pl.exceptions.PolarsError, OSError, UnicodeError, SourceError):
        return ()


def _message_keys(file: Path, under: str) -> frozenset[str]:
    try:
        return _keys(json_objects(file, under))
    except SourceError:
        return frozenset()


def _keys(messages: Sequence[dict[str, Any]]) -> frozenset[str]:
    return frozenset(messages[0])


def _unknown(path: Path) -> SourceError:
    found = [path] if path.is_file() else sorted(file for file in path.glob("*") if file.is_file())
    told = "; ".join(_described(file) for file in found[:4]) or "no files"
    known = ", ".join([form.source for form in FORMATS] + ["canonical", *MESSAGES])
    what = f"no adapter knows these files ({told}{'; ...' if len(found) > 4 else ''})"
    return SourceError(
        what,
        where=str(path),
        next_step=f"write a {MAPPING} that says which columns are routes, stops and stop_events, "
        f"or name one of {known} with --source",
    )


def _described(file: Path) -> str:
    columns = list(_read_columns(file))
    more = ", ..." if len(columns) > _TOLD_COLUMNS else ""
    return f"{file.name} with {', '.join(columns[:_TOLD_COLUMNS])}{more}" if columns else file.name
