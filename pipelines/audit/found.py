"""What an audit looks at: the tables of a source, a feed or a workspace, and their raw columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import pyarrow as pa

from data_contracts.errors import SourceError, WorkspaceError
from data_contracts.quarantine import REASONS
from data_contracts.tables import TABLES
from data_contracts.workspace import Workspace
from pipelines.audit.raw import RawForecasts
from pipelines.audit.raw_own import own_raw
from pipelines.audit.raw_sets import RAW
from pipelines.audit.recognise import WEATHER_CSV, is_workspace, recognise
from pipelines.land import read_landed
from pipelines.sources.frozen import opened
from pipelines.sources.open_meteo import weather_of
from pipelines.sources.registry import FEEDS, SOURCES, feed, source
from pipelines.sources.source import History, Loaded, files

WORKSPACE = "workspace"
_AREA = "area"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Tables as they came in, and how to read the raw columns behind them.

    refused : rows that went to quarantine when they landed, by table and reason
    raw : None where there are no columns beyond the declared ones
    """

    name: str
    path: Path
    tables: dict[str, pa.Table]
    history: History = History.LIVE
    excluded: dict[str, int] = field(default_factory=dict)
    unreadable: dict[str, int] = field(default_factory=dict)
    refused: dict[str, dict[str, int]] = field(default_factory=dict)
    raw: Callable[[], RawForecasts | None] = lambda: None


def find(path: Path, name: str | None = None, weather: Path | None = None) -> Found:
    """The source, feed or workspace at a path.

    Raises
    ------
    SourceError
        when no adapter knows the path, or its files cannot be used
    WorkspaceError
        when a workspace has nothing landed
    """
    if name is None and is_workspace(path):
        if weather is not None:
            what = "a workspace has its own weather"
            raise SourceError(what, where=str(weather), next_step="leave --weather out, or land it")
        return _workspace(path)
    named = name or recognise(path)
    if named == WEATHER_CSV.source:
        return Found(name=named, path=path, tables={"weather": weather_of(files([path], "*.csv"), _AREA)})
    if named in {each.name for each in FEEDS}:
        return _found(named, path, feed(named).load([path]), History.LIVE)
    if named not in {each.name for each in SOURCES}:
        known = ", ".join([*(each.name for each in SOURCES), *(each.name for each in FEEDS)])
        raise SourceError(f"source {named!r} is unknown", next_step=f"known are {known}")
    adapter = source(named)
    return _found(named, path, adapter.load([path], weather), adapter.history)


def _found(name: str, path: Path, loaded: Loaded, history: History) -> Found:
    def raw() -> RawForecasts | None:
        return RAW[name]([path]) if name in RAW else own_raw(path, tables)

    tables = loaded.tables if history is History.LIVE else opened(loaded.tables)
    return Found(
        name=name,
        path=path,
        tables=tables,
        history=history,
        excluded=dict(+loaded.excluded),
        unreadable=dict(+loaded.unreadable),
        raw=raw,
    )


def _workspace(path: Path) -> Found:
    place = Workspace(path)
    try:
        landed = {table.name: read_landed(place, table).collect().to_arrow() for table in TABLES.values()}
        refused = _refused(place)
    except (pl.exceptions.PolarsError, OSError) as error:
        what = f"its landed rows cannot be read ({str(error).splitlines()[0]:.200})"
        raise WorkspaceError(what, where=str(path), next_step="land the batch again") from error
    tables = {name: rows for name, rows in landed.items() if rows.num_rows}
    if not tables:
        what = "has nothing landed"
        raise WorkspaceError(what, where=str(path), next_step="land a source with `punctual ingest`")
    return Found(name=WORKSPACE, path=path, tables=tables, refused=refused)


def _refused(place: Workspace) -> dict[str, dict[str, int]]:
    found = {}
    for table in TABLES:
        batches = sorted((place.quarantine / table).glob("*.parquet"))
        if batches:
            codes = pl.concat([pl.read_parquet(batch, columns=[REASONS]) for batch in batches])
            counts = codes[REASONS].explode(empty_as_null=False).drop_nulls().value_counts(sort=True)
            found[table] = {str(code): int(count) for code, count in counts.iter_rows()}
    return found


def unused(mapping: Mapping[str, int]) -> str:
    """Counted reasons as a person reads them."""
    return ", ".join(f"{name} {count:,}" for name, count in sorted(mapping.items(), key=lambda one: -one[1]))
