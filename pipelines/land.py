"""Land a batch: coerce, part good from bad rows, check, and write all of it or nothing.

Good rows go to ``landed/<table>/<batch>.parquet``, bad ones with their reasons to
``quarantine/<table>/<batch>.parquet``. Landing a batch again under the same name replaces it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa

from data_contracts.checks import validate_rows
from data_contracts.cross_rows import Earlier
from data_contracts.errors import ContractError, SourceError, WorkspaceError
from data_contracts.quarantine import Split, coerce, split
from data_contracts.tables import TABLES, Table
from data_contracts.timeliness import count_late, is_stale, silent_s
from data_contracts.workspace import Workspace
from pipelines.staging import Staged, published_together, stage

_BATCH_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.=-]{0,127}")
_REASONS_TOLD = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class TableReport:
    """What became of the rows of one table: ``good`` + ``bad`` + ``duplicates`` are ``rows``.

    late : good rows that were received more than the allowed lateness after they occurred
    silent_s : seconds from the table's last good row to the last of the batch
    stale : whether that is longer than the contract's freshness
    """

    table: str
    rows: int
    good: int
    bad: int
    duplicates: int
    late: int
    silent_s: float | None
    stale: bool
    reasons: dict[str, int]
    landed: Path
    quarantined: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LandReport:
    """What became of a batch, table by table."""

    batch: str
    tables: tuple[TableReport, ...]
    data_docs: Path | None = None

    def as_json(self) -> dict[str, object]:
        tables = [asdict(report) for report in self.tables]
        paths = ("landed", "quarantined")
        shown = [row | {key: row[key] and str(row[key]) for key in paths} for row in tables]
        pages = self.data_docs and str(self.data_docs)
        return {"batch": self.batch, "tables": shown, "data_docs": pages}


@dataclass(frozen=True, slots=True)
class _Judged:
    table: Table
    rows: pa.Table
    parts: Split


def land(
    workspace: Workspace, tables: Mapping[str, pa.Table], batch: str, *, data_docs: bool = False
) -> LandReport:
    """Write a batch's good and bad rows, or raise before any of it is landed.

    With ``data_docs`` the rows as they came in are held against their suites once more, and Great Expectations'
    pages of that go to ``reports/data-docs/<batch>``, also where the batch is refused.

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
    try:
        for table in TABLES.values():
            if table.name in tables:
                judged.append(_judge(workspace, table, tables[table.name], batch, judged))
                _hold_to_budget(workspace, batch, judged)
    finally:
        pages = _write_data_docs(workspace, batch, judged) if data_docs and judged else None
    for one in judged:
        _assert_suite(one)
    with published_together() as staged:
        for one in judged:
            staged.append(stage(one.parts.good, _landed(workspace, one.table, batch)))
        staged += _stage_quarantine(workspace, batch, judged)
    reports = tuple(_report(workspace, batch, one, judged) for one in judged)
    return LandReport(batch=batch, tables=reports, data_docs=pages)


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
        landed_ids=_landed_columns(workspace, table, ("event_id",), batch)["event_id"],
        earlier=_earlier(workspace, table, rows, batch, judged),
    )
    return _Judged(table, rows, parts)


def _known(
    workspace: Workspace, table: str, column: str, batch: str, judged: list[_Judged]
) -> Collection[str]:
    """The ids of a table in earlier batches and among the good rows of this one."""
    return _pairs(workspace, table, (column,), batch, judged)[column]


def _earlier(
    workspace: Workspace, table: Table, rows: pa.Table, batch: str, judged: list[_Judged]
) -> Earlier:
    members = {
        each.code: _pairs(workspace, each.table, (each.column, each.within), batch, judged)
        for each in table.memberships
    }
    firsts = {
        course.code: _landed_columns(workspace, table, (course.by, "occurred_at", course.kind), batch)
        .filter(pl.col(course.kind) == course.first, pl.col(course.by).is_in(_values(rows, course.by)))
        .select(course.by, "occurred_at")
        for course in table.courses
    }
    return Earlier(members=members, firsts=firsts)


def _pairs(
    workspace: Workspace, table: str, columns: tuple[str, ...], batch: str, judged: list[_Judged]
) -> pl.DataFrame:
    """The distinct values of columns in earlier batches and among the good rows of this one."""
    found = [_landed_columns(workspace, TABLES[table], columns, batch)]
    for one in judged:
        if one.table.name == table:
            here = pl.from_arrow(one.parts.good.select(columns))
            assert isinstance(here, pl.DataFrame)
            found.append(here)
    return pl.concat(found).unique()


def _values(rows: pa.Table, column: str) -> list[str]:
    return rows[column].unique().drop_null().to_pylist()


def _landed_columns(workspace: Workspace, table: Table, columns: tuple[str, ...], batch: str) -> pl.DataFrame:
    files = _landed_files(workspace, table, but=batch)
    try:
        return _scan(table, files).select(columns).collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        what = f"the landed {table.name} cannot be read: {error}"
        raise WorkspaceError(what, where=str(workspace.landed / table.name)) from error


def _hold_to_budget(workspace: Workspace, batch: str, judged: list[_Judged]) -> None:
    """Refuse the batch when its newest judged table has too many bad rows; show them in quarantine."""
    one = judged[-1]
    n_rows, bad = one.rows.num_rows, one.parts.bad
    if bad.num_rows <= one.table.error_budget * n_rows:
        return
    with published_together() as staged:
        staged += _stage_quarantine(workspace, batch, judged)
    told = ", ".join(f"{code} {n:,}" for code, n in one.parts.reasons.most_common(_REASONS_TOLD))
    first = f"first: {one.table.key[0]} {str(bad[one.table.key[0]][0].as_py())[:64]!r}"
    raise ContractError(
        f"{bad.num_rows:,} of {n_rows:,} rows break the contract, more than {one.table.error_budget:.0%}: "
        f"{told} ({first})",
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


def _write_data_docs(workspace: Workspace, batch: str, judged: list[_Judged]) -> Path:
    from data_contracts.data_docs import write_data_docs

    return write_data_docs(workspace.data_docs / batch, [(one.table, one.rows) for one in judged])


def _report(workspace: Workspace, batch: str, one: _Judged, judged: list[_Judged]) -> TableReport:
    silence_s = silent_s(one.parts.good, (each.parts.good for each in judged))
    return TableReport(
        table=one.table.name,
        rows=one.rows.num_rows,
        good=one.parts.good.num_rows,
        bad=one.parts.bad.num_rows,
        duplicates=one.parts.duplicates,
        late=count_late(one.table, one.parts.good),
        silent_s=silence_s,
        stale=is_stale(one.table, silence_s),
        reasons=dict(one.parts.reasons.most_common()),
        landed=_landed(workspace, one.table, batch),
        quarantined=_quarantined(workspace, one.table, batch) if one.parts.bad.num_rows else None,
    )


# --- files ------------------------------------------------------------------------------------------------


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


def _stage_quarantine(workspace: Workspace, batch: str, judged: list[_Judged]) -> Iterator[Staged]:
    for one in judged:
        final = _quarantined(workspace, one.table, batch)
        yield stage(one.parts.bad, final) if one.parts.bad.num_rows else Staged(None, final)
