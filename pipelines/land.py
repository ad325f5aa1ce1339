"""Land a batch: coerce, part good from bad rows, check, and write all of it or nothing.

Good rows go to ``landed/<table>/<batch>.parquet``, bad ones with their reasons to
``quarantine/<table>/<batch>.parquet``. Landing a batch again under the same name replaces it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import uuid4

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from data_contracts.checks import validate_rows
from data_contracts.errors import ContractError, SourceError, WorkspaceError
from data_contracts.quarantine import Split, coerce, split
from data_contracts.tables import TABLES, Table
from data_contracts.workspace import Workspace

_BATCH_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.=-]{0,127}")
_REASONS_TOLD = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class TableReport:
    """What became of the rows of one table: ``good`` + ``bad`` + ``duplicates`` are ``rows``."""

    table: str
    rows: int
    good: int
    bad: int
    duplicates: int
    reasons: dict[str, int]
    landed: Path
    quarantined: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LandReport:
    """What became of a batch, table by table."""

    batch: str
    tables: tuple[TableReport, ...]

    def as_json(self) -> dict[str, object]:
        tables = [asdict(report) for report in self.tables]
        paths = ("landed", "quarantined")
        shown = [row | {key: row[key] and str(row[key]) for key in paths} for row in tables]
        return {"batch": self.batch, "tables": shown}


@dataclass(frozen=True, slots=True)
class _Judged:
    table: Table
    rows: int
    parts: Split


def land(workspace: Workspace, tables: Mapping[str, pa.Table], batch: str) -> LandReport:
    """Write a batch's good and bad rows, or raise before any of it is landed.

    Raises
    ------
    SourceError
        A required table is empty or missing, here and in every earlier batch.
    ContractError
        A table can never fit its contract, or more of its rows are bad than its error budget allows; its
        quarantine file is written then.
    """
    _refuse_name(batch)
    _refuse_tables(workspace, tables, batch)
    judged: list[_Judged] = []
    for table in TABLES.values():
        if table.name in tables:
            judged.append(_judge(workspace, table, tables[table.name], batch, judged))
            _hold_to_budget(workspace, batch, judged)
    for one in judged:
        _assert_suite(one)
    with _published_together() as staged:
        for one in judged:
            staged.append(_stage(one.parts.good, _landed(workspace, one.table, batch)))
        staged += _stage_quarantine(workspace, batch, judged)
    return LandReport(batch=batch, tables=tuple(_report(workspace, batch, one) for one in judged))


def read_landed(workspace: Workspace, table: Table) -> pl.LazyFrame:
    """All landed rows of a table, batch after batch by name; empty where nothing has landed."""
    return _scan(table, _landed_files(workspace, table))


# --- judging ----------------------------------------------------------------------------------------------


def _refuse_name(batch: str) -> None:
    if not _BATCH_NAME.fullmatch(batch):
        raise WorkspaceError(
            f"batch name {batch[:128]!r} cannot be a file name", next_step="use letters, digits and . _ = -"
        )


def _refuse_tables(workspace: Workspace, tables: Mapping[str, pa.Table], batch: str) -> None:
    unknown = sorted(set(tables) - set(TABLES))
    if unknown:
        what = f"unknown tables: {', '.join(unknown)}"
        raise SourceError(what, where=batch, next_step=f"known are {', '.join(TABLES)}")
    absent = [
        table.name
        for table in TABLES.values()
        if table.required
        and not (len(tables.get(table.name, ())) or _landed_files(workspace, table, but=batch))
    ]
    if absent:
        what = f"required tables missing or empty: {', '.join(absent)}"
        raise SourceError(what, where=batch, next_step="a source must give routes, stops and stop_events")


def _judge(workspace: Workspace, table: Table, given: pa.Table, batch: str, judged: list[_Judged]) -> _Judged:
    rows = coerce(table, given)
    parts = split(
        table,
        rows,
        {
            reference.column: _known(workspace, reference.table, reference.column, batch, judged)
            for reference in table.references
        },
        landed_ids=_landed_column(workspace, table, "event_id", batch),
    )
    return _Judged(table, rows.num_rows, parts)


def _known(
    workspace: Workspace, table: str, column: str, batch: str, judged: list[_Judged]
) -> Collection[str]:
    """The ids of a table in earlier batches and among the good rows of this one."""
    earlier = _landed_column(workspace, TABLES[table], column, batch)
    here = [pl.Series(column, one.parts.good[column]) for one in judged if one.table.name == table]
    return pl.concat([earlier, *here]).unique()


def _landed_column(workspace: Workspace, table: Table, column: str, batch: str) -> pl.Series:
    files = _landed_files(workspace, table, but=batch)
    try:
        return _scan(table, files).select(column).collect().to_series()
    except (pl.exceptions.PolarsError, OSError) as error:
        what = f"the landed {table.name} cannot be read: {error}"
        raise WorkspaceError(what, where=str(workspace.landed / table.name)) from error


def _hold_to_budget(workspace: Workspace, batch: str, judged: list[_Judged]) -> None:
    """Refuse the batch when its newest judged table has too many bad rows; show them in quarantine."""
    one = judged[-1]
    n_bad = one.parts.bad.num_rows
    if n_bad <= one.table.error_budget * one.rows:
        return
    with _published_together() as staged:
        staged += _stage_quarantine(workspace, batch, judged)
    told = ", ".join(f"{code} {n:,}" for code, n in one.parts.reasons.most_common(_REASONS_TOLD))
    raise ContractError(
        f"{n_bad:,} of {one.rows:,} rows break the contract, more than {one.table.error_budget:.0%}: {told}",
        where=one.table.name,
        next_step=f"nothing was landed; see {_quarantined(workspace, one.table, batch)} and fix the source",
    )


def _assert_suite(one: _Judged) -> None:
    failures = validate_rows(one.table, one.parts.good)
    if failures:
        raise ContractError(
            f"rows that were judged good fail the suite: {'; '.join(map(str, failures))}",
            where=one.table.name,
            next_step="this is a fault of Punctual; nothing was landed, please report it",
        )


def _report(workspace: Workspace, batch: str, one: _Judged) -> TableReport:
    return TableReport(
        table=one.table.name,
        rows=one.rows,
        good=one.parts.good.num_rows,
        bad=one.parts.bad.num_rows,
        duplicates=one.parts.duplicates,
        reasons=dict(one.parts.reasons.most_common()),
        landed=_landed(workspace, one.table, batch),
        quarantined=_quarantined(workspace, one.table, batch) if one.parts.bad.num_rows else None,
    )


# --- files ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Staged:
    """A file that waits beside its final place; without ``ready`` the final place is to be empty."""

    ready: Path | None
    final: Path


def _landed(workspace: Workspace, table: Table, batch: str) -> Path:
    return workspace.landed / table.name / f"{batch}.parquet"


def _quarantined(workspace: Workspace, table: Table, batch: str) -> Path:
    return workspace.quarantine / table.name / f"{batch}.parquet"


def _landed_files(workspace: Workspace, table: Table, but: str | None = None) -> list[Path]:
    files = sorted((workspace.landed / table.name).glob("*.parquet"))
    return [file for file in files if file.name != f"{but}.parquet"]


def _scan(table: Table, files: list[Path]) -> pl.LazyFrame:
    empty = pl.from_arrow(table.arrow_schema().empty_table())
    assert isinstance(empty, pl.DataFrame)
    if not files:
        return empty.lazy()
    return pl.scan_parquet(
        files, glob=False, schema=empty.schema, missing_columns="insert", extra_columns="ignore"
    )


def _stage(rows: pa.Table, final: Path) -> _Staged:
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
    return _Staged(ready, final)


def _stage_quarantine(workspace: Workspace, batch: str, judged: list[_Judged]) -> Iterator[_Staged]:
    for one in judged:
        final = _quarantined(workspace, one.table, batch)
        yield _stage(one.parts.bad, final) if one.parts.bad.num_rows else _Staged(None, final)


@contextmanager
def _published_together() -> Iterator[list[_Staged]]:
    """Rename every staged file once all of them are written; none when one could not be."""
    staged: list[_Staged] = []
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
