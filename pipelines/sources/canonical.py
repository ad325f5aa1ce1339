"""Bring your own data: our own tables as Parquet, CSV or NDJSON, or other tables through a mapping file.

A folder holds ``<table>.<suffix>`` files or ``<table>/*`` folders. Where it holds a ``mapping.toml``, or one is
given, the mapping says which files and columns become which tables (`pipelines.sources.mapping`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa

from data_contracts.errors import SourceError
from data_contracts.events import deterministic_event_id
from data_contracts.tables import TABLES, Table
from pipelines.sources.mapping import Mapping, read_mapping
from pipelines.sources.reading import READERS, read_any
from pipelines.sources.source import History, Loaded, files
from training.instants import Instants

MAPPING = "mapping.toml"


class Canonical:
    """Adapter of tables that are ours already, or become so by a mapping."""

    name = "canonical"
    instants = Instants.ALONG_ROUTE
    history = History.LIVE
    cluster = "service_date"

    def __init__(self, mapping: Path | None = None) -> None:
        self.mapping = mapping

    def load(self, paths: Sequence[Path], weather: Path | None = None) -> Loaded:
        named = [*paths, *([weather] if weather is not None else [])]
        mapping = _mapping(self.mapping, named)
        return Loaded(own_tables(named)) if mapping is None else _mapped(mapping, named)


def own_tables(paths: Sequence[Path]) -> dict[str, pa.Table]:
    """Our own tables of some folders or files.

    Raises
    ------
    SourceError
        when a path holds none of our tables, or a file cannot be read or lacks a required column
    """
    parts: dict[str, list[pl.DataFrame]] = {}
    for path in map(Path, paths):
        found = [(table, file) for table in TABLES.values() for file in _files_of(table, path)]
        if not found:
            what = f"holds none of the tables {', '.join(TABLES)}" if path.exists() else "no such folder"
            next_step = f"name a folder with <table>.parquet, .csv or .ndjson files, or write a {MAPPING}"
            raise SourceError(what, where=str(path), next_step=next_step)
        for table, file in found:
            files([file], "*")
            parts.setdefault(table.name, []).append(completed(table, read_any(file), file))
    return {name: together(frames).to_arrow() for name, frames in parts.items()}


def completed(table: Table, frame: pl.DataFrame, file: Path) -> pl.DataFrame:
    """Rows with both times and an event id, as far as the rest of them says; other columns are left out."""
    for name, other in (("received_at", "occurred_at"), ("occurred_at", "received_at")):
        if name not in frame.columns and other in frame.columns:
            frame = frame.with_columns(pl.col(other).alias(name))
    needed = [column.name for column in table.columns if column.required and column.name != "event_id"]
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        raise SourceError(
            f"{table.name} lacks the columns {', '.join(missing)}; it has {', '.join(frame.columns)[:300]}",
            where=str(file),
            next_step=f"add them, or map them in a {MAPPING}",
        )
    frame = frame.select(name for name in table.names if name in frame.columns)
    return frame if "event_id" in frame.columns else frame.with_columns(event_id=_event_ids(table, frame))


def together(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Frames of one table as one; where files disagree on a column's type, it becomes text."""
    dtypes: dict[str, set[pl.DataType]] = {}
    for frame in frames:
        for name, dtype in frame.schema.items():
            dtypes.setdefault(name, set()).add(dtype)
    text = [name for name, found in dtypes.items() if len(found) > 1]
    return pl.concat(
        [
            frame.with_columns(pl.col(n).cast(pl.String) for n in text if n in frame.columns)
            for frame in frames
        ],
        how="diagonal",
    )


def _event_ids(table: Table, frame: pl.DataFrame) -> pl.Series:
    """Ids made of the key, or of all that a row says besides when it was received."""
    by_key = "event_id" not in table.key
    names = [name for name in (table.key if by_key else frame.columns) if by_key or name != "received_at"]
    times = [name for name in names if isinstance(frame.schema[name], pl.Datetime)]
    rows = frame.select(names).with_columns(pl.col(times).dt.to_string("iso:strict"))
    return pl.Series("event_id", [deterministic_event_id(table, row) for row in rows.iter_rows()], pl.String)


def _files_of(table: Table, path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.stem == table.name or path.parent.name == table.name else []
    alone = [file for suffix in READERS if (file := path / f"{table.name}{suffix}").is_file()]
    within = sorted(file for file in (path / table.name).glob("*") if file.suffix in READERS)
    return alone + within


def _mapping(given: Path | None, paths: Sequence[Path]) -> Mapping | None:
    beside = [file for path in paths if (file := Path(path) / MAPPING).is_file()]
    return read_mapping(given or beside[0]) if given or beside else None


def _mapped(mapping: Mapping, paths: Sequence[Path]) -> Loaded:
    excluded: Counter[str] = Counter()
    unreadable: Counter[str] = Counter()
    parts: dict[str, list[pl.DataFrame]] = {}
    for rule in mapping.rules:
        for file in rule.found(paths, mapping.file):
            frame = rule.apply(read_any(file), file, excluded, unreadable)
            parts.setdefault(rule.table.name, []).append(completed(rule.table, frame, file))
    tables = {name: rows for name, frames in parts.items() if (rows := together(frames)).height}
    return Loaded({name: rows.to_arrow() for name, rows in tables.items()}, excluded, unreadable)
