"""The figures of one table: how much there is, how fresh, how late, how complete, and what breaks its contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import polars as pl
import pyarrow as pa

from data_contracts.quarantine import Split, coerce, split
from data_contracts.tables import TABLES, Table
from pipelines.audit.timing import Lateness, Silence, lateness, longest_silence, rows_per_day

_OUT_OF_RANGE = ("RANGE_", "VALUE_", "TYPE_")
_NO_COLUMN = ("TIMESTAMP_OUT_OF_RANGE", "NOT_A_NUMBER")
_CONFLICTS = ("EVENT_ID_REUSED", "KEY_REUSED")


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFigures:
    """One table of a source.

    silent_s : from its last row to the last instant of the data; ``fresh`` holds it against the contract
    lateness : None where rows do not tell when they were received
    duplicates : rows that repeat an earlier one; ``conflicts`` repeat its id or key with other content
    reasons : rows that break the contract, by reason code; ``refused_before`` went to quarantine when they landed
    null_share, out_of_range_share : by column
    """

    table: str
    required: bool
    rows: int
    first_at: datetime | None = None
    last_at: datetime | None = None
    silent_s: float | None = None
    fresh: bool | None = None
    lateness: Lateness | None = None
    silence: Silence | None = None
    duplicates: int = 0
    conflicts: int = 0
    bad: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    refused_before: dict[str, int] = field(default_factory=dict)
    null_share: dict[str, float] = field(default_factory=dict)
    out_of_range_share: dict[str, float] = field(default_factory=dict)
    rows_a_day: dict[str, int] = field(default_factory=dict)

    @property
    def present(self) -> bool:
        return self.rows > 0

    @property
    def bad_share(self) -> float:
        return self.bad / self.rows if self.rows else 0.0

    @property
    def within_budget(self) -> bool:
        return self.bad_share <= TABLES[self.table].error_budget


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """The tables of a source in their contracts' form: all rows, and those that keep the contract."""

    rows: dict[str, pl.DataFrame]
    good: dict[str, pl.DataFrame]
    parts: dict[str, Split]


def check(tables: Mapping[str, pa.Table]) -> Checked:
    """Hold every table against its contract; what a row refers to is looked for among the good rows."""
    rows: dict[str, pl.DataFrame] = {}
    good: dict[str, pl.DataFrame] = {}
    parts: dict[str, Split] = {}
    for name, table in TABLES.items():
        if name in tables:
            whole = coerce(table, tables[name])
            parts[name] = split(table, whole, _known(table, good))
            rows[name], good[name] = pl.DataFrame(whole.select(table.names)), pl.DataFrame(parts[name].good)
    return Checked(rows=rows, good=good, parts=parts)


def last_instant(good: Mapping[str, pl.DataFrame]) -> datetime | None:
    """When the data ends: the last receipt of an event of a stop, or of anything where there is none."""
    events = good.get("stop_events")
    spoken = [events] if events is not None and events.height else list(good.values())
    ends = [at for frame in spoken if isinstance(at := frame["received_at"].max(), datetime)]
    return max(ends, default=None)


def table_figures(
    checked: Checked,
    name: str,
    until: datetime | None,
    *,
    dated: bool,
    refused: Mapping[str, int] | None = None,
) -> TableFigures:
    """The figures of one table; without a calendar, what is about time means nothing and is left out."""
    table = TABLES[name]
    before = dict(refused or {})
    if name not in checked.rows or checked.rows[name].is_empty():
        return TableFigures(table=name, required=table.required, rows=0, refused_before=before)
    rows, good, parts = checked.rows[name], checked.good[name], checked.parts[name]
    last = good["occurred_at"].max() if dated else None
    silent_s = max(0.0, (until - last).total_seconds()) if until and isinstance(last, datetime) else None
    return TableFigures(
        table=name,
        required=table.required,
        rows=rows.height,
        first_at=good["occurred_at"].min() if dated else None,  # type: ignore[arg-type]
        last_at=last,  # type: ignore[arg-type]
        silent_s=silent_s,
        fresh=silent_s <= table.freshness.total_seconds()
        if table.freshness and silent_s is not None
        else None,
        lateness=lateness(good, name, table.allowed_lateness) if dated else None,
        silence=longest_silence(good, name) if dated else None,
        duplicates=parts.duplicates,
        conflicts=sum(parts.reasons[code] for code in _CONFLICTS),
        bad=parts.bad.num_rows,
        reasons=dict(parts.reasons.most_common()),
        refused_before=before,
        null_share={column: rows[column].null_count() / rows.height for column in table.names},
        out_of_range_share=_out_of_range(table, parts, rows.height),
        rows_a_day=rows_per_day(good),
    )


def _known(table: Table, good: Mapping[str, pl.DataFrame]) -> dict[str, pl.Series]:
    return {
        reference.column: good[reference.table][reference.column].unique()
        for reference in table.references
        if reference.table in good
    }


def _out_of_range(table: Table, parts: Split, rows: int) -> dict[str, float]:
    """Share of rows by column (and by whole-row reasons) whose value cannot be true."""
    found: dict[str, float] = {}
    for code, count in parts.reasons.items():
        column = next((code.removeprefix(p).lower() for p in _OUT_OF_RANGE if code.startswith(p)), None)
        if column is not None and column in table.names:
            found[column] = found.get(column, 0.0) + count / rows
        elif code in _NO_COLUMN:
            found[code.lower()] = count / rows
    return found
