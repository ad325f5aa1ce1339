"""Every way in which a single row can break its contract: a code, what it means, and where it is so."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from zoneinfo import available_timezones

import polars as pl

from data_contracts.coercion import REASONS
from data_contracts.contract import Column, Dtype, Form, Order, Position, Table

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)
MAX_TEXT_CHARS = 1024
#: A day as text; which days there are is left to the calendar.
DAY_PATTERN = r"^\d{4}-\d{2}-\d{2}$"

EVENT_ID_REUSED = "EVENT_ID_REUSED"
KEY_REUSED = "KEY_REUSED"
NULL_ISLAND = "NULL_ISLAND"


@dataclass(frozen=True, slots=True)
class Rule:
    """A way to break a contract."""

    code: str
    meaning: str
    broken: pl.Expr


def row_rules(table: Table, known: Mapping[str, Collection[str]] | None = None) -> Iterator[Rule]:
    """The rules about single rows; a reference is checked where the ids that exist are ``known``."""
    for column in table.columns:
        yield from _column_rules(column)
    numbers = [c.name for c in table.columns if c.dtype is Dtype.NUMBER]
    times = [c.name for c in table.columns if c.dtype is Dtype.TIMESTAMP]
    if numbers:
        infinite = _any(~pl.col(name).is_finite() for name in numbers)
        yield Rule("NOT_A_NUMBER", "an infinite number, or NaN where a number is required", infinite)
    outside = _any(~pl.col(name).is_between(EARLIEST, LATEST) for name in times)
    yield Rule("TIMESTAMP_OUT_OF_RANGE", "a time outside the years 2000 to 2100", outside)
    yield from (_order_rule(order) for order in table.orders)
    yield from (_null_island(position) for position in table.positions)
    for reference in table.references:
        if known is not None and reference.column in known:
            unknown = ~pl.col(reference.column).is_in(as_ids(known[reference.column]))
            yield Rule(reference.code, "", unknown)


def reasons(table: Table) -> dict[str, str]:
    """Every reason code that a row of the table can get, and what it means; what the reference page prints."""
    typed = {f"TYPE_{c.name.upper()}": f"`{c.name}` cannot be read as {c.dtype.value}" for c in table.columns}
    within = {rule.code: rule.meaning for rule in row_rules(table)}
    across = {
        r.code: f"`{r.column}` refers to a row of `{r.table}` that was never landed" for r in table.references
    }
    across |= {
        m.code: f"`{m.table}` has no row with this `{m.column}` and this `{m.within}`"
        for m in table.memberships
    }
    across |= {p.code: _far(p) for p in table.positions if p.by is not None}
    across |= {
        c.code: f"{c.then} more than {minutes(c.slack.total_seconds())} before the `{c.by}` was {c.first}"
        for c in table.courses
    }
    repeated = {EVENT_ID_REUSED: "the event id of an earlier row, with other content"}
    if table.key != ("event_id",):
        repeated[KEY_REUSED] = f"the key ({', '.join(table.key)}) of an earlier row, with other content"
    return typed | within | across | repeated


def as_ids(ids: Collection[str]) -> pl.Series:
    """A collection of ids as one list, the form in which Polars looks things up."""
    series = ids if isinstance(ids, pl.Series) else pl.Series(list(ids), dtype=pl.String)
    return series.drop_nulls().implode()


@cache
def timezones() -> tuple[str, ...]:
    """Every IANA time zone that this machine knows."""
    return tuple(sorted(available_timezones()))


def minutes(span_s: float) -> str:
    return f"{span_s / 60:g} min"


def _column_rules(column: Column) -> Iterator[Rule]:
    cell, name = pl.col(column.name), column.name.upper()
    if column.required:
        missing = (
            cell.is_null() | (cell.str.strip_chars() == "")
            if column.dtype is Dtype.STRING
            else cell.is_null()
        )
        given = ~pl.col(REASONS).list.contains(f"TYPE_{name}")
        yield Rule(f"NULL_{name}", f"`{column.name}` is missing", missing & given)
    if column.low is not None or column.high is not None:
        finite = cell.is_finite() if column.dtype is Dtype.NUMBER else cell.is_not_null()
        yield Rule(f"RANGE_{name}", f"`{column.name}` is out of its range", finite & ~_within(column))
    if column.allowed is not None:
        yield Rule(f"VALUE_{name}", f"`{column.name}` is not an allowed value", ~cell.is_in(column.allowed))
    elif column.dtype is Dtype.STRING:
        too_long = f"`{column.name}` has more than {MAX_TEXT_CHARS:,} characters"
        yield Rule(f"TOO_LONG_{name}", too_long, cell.str.len_chars() > MAX_TEXT_CHARS)
    if column.form is not None:
        yield Rule(f"FORM_{name}", f"`{column.name}` is not {column.form}", ~_has_form(cell, column.form))


def _within(column: Column) -> pl.Expr:
    cell, inside = pl.col(column.name), pl.lit(True)
    if column.low is not None:
        inside = inside & (cell >= column.low)
    return inside & (cell <= column.high) if column.high is not None else inside


def _has_form(cell: pl.Expr, form: Form) -> pl.Expr:
    """Blank text is missing, which is another rule's to say."""
    blank = cell.str.strip_chars() == ""
    match form:
        case Form.DAY:
            day = cell.str.to_date("%Y-%m-%d", strict=False).is_not_null()
            return blank | (cell.str.contains(DAY_PATTERN) & day)
        case Form.TIMEZONE:
            return blank | cell.is_in(timezones())


def _order_rule(order: Order) -> Rule:
    """Compared as integers, since a far instant plus its slack may leave the type."""
    earlier, later = (pl.col(name).to_physical() for name in (order.earlier, order.later))
    broken = earlier > later + round(order.slack.total_seconds() * 1_000_000)
    slack = f" by more than {minutes(order.slack.total_seconds())}" if order.slack else ""
    meaning = f"`{order.earlier}` is after `{order.later}`{slack}"
    if order.only is None:
        return Rule(order.code, meaning, broken)
    column, value = order.only
    return Rule(order.code, f"{meaning}, where `{column}` is {value}", broken & (pl.col(column) == value))


def _null_island(position: Position) -> Rule:
    meaning = f"`{position.lat}` and `{position.lon}` are both 0: a receiver without a fix"
    return Rule(NULL_ISLAND, meaning, (pl.col(position.lat) == 0) & (pl.col(position.lon) == 0))


def _far(position: Position) -> str:
    day = " and day" if position.daily else ""
    return (
        f"more than {position.apart_km:,.0f} km from where most positions of its `{position.by}`{day} lie "
        f"(within {position.together_km:,.0f} km of each other's median): swapped, or a lost sign"
    )


def _any(rules: Iterator[pl.Expr]) -> pl.Expr:
    return pl.any_horizontal(pl.lit(False), *(rule.fill_null(False) for rule in rules))
