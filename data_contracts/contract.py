"""What a contract is made of: columns, and rules within a row, across the rows of a table and across tables."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

import pyarrow as pa


class Dtype(StrEnum):
    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    TIMESTAMP = "timestamp"

    @property
    def arrow(self) -> pa.DataType:
        return _ARROW[self]


_ARROW = {
    Dtype.STRING: pa.string(),
    Dtype.INTEGER: pa.int64(),
    Dtype.NUMBER: pa.float64(),
    Dtype.BOOLEAN: pa.bool_(),
    Dtype.TIMESTAMP: pa.timestamp("us", tz="UTC"),
}


class Form(StrEnum):
    """What a text must be, beyond being text."""

    DAY = "a calendar day, YYYY-MM-DD"
    TIMEZONE = "an IANA time zone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: what it means, in which unit, and which values can be true."""

    name: str
    dtype: Dtype
    meaning: str
    unit: str = ""
    required: bool = False
    low: float | None = None
    high: float | None = None
    allowed: tuple[str, ...] | None = None
    form: Form | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A cross-column rule: where both are present, ``earlier`` is at most ``later`` plus ``slack``.

    only : a column and its value; the rule is about such rows alone
    """

    earlier: str
    later: str
    slack: timedelta = timedelta(0)
    only: tuple[str, str] | None = None

    @property
    def code(self) -> str:
        return f"{self.earlier}_after_{self.later}".upper()


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A cross-column and cross-row rule about where a thing is.

    Latitude and longitude are never both exactly 0, which is what receivers without a fix report. Where most
    positions that share ``by`` (and, if ``daily``, the UTC day) lie within ``together_km`` of their median and
    the others more than ``apart_km`` away, the others are wrong: swapped, or with a lost sign.
    """

    lat: str
    lon: str
    by: str | None = None
    daily: bool = False
    together_km: float = 800.0
    apart_km: float = 2_000.0

    @property
    def code(self) -> str:
        return f"FAR_FROM_{(self.by or '').removesuffix('_id')}".upper()


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """A cross-row rule: of what shares ``by``, no ``then`` occurs more than ``slack`` before every ``first``."""

    kind: str
    first: str
    then: str
    by: str
    slack: timedelta

    @property
    def code(self) -> str:
        return f"{self.then}_before_{self.first}".upper()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A cross-table rule: every non-null ``column`` must stand in ``table``'s column of the same name."""

    column: str
    table: str

    @property
    def code(self) -> str:
        return f"UNKNOWN_{self.column}".upper()


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """A cross-table rule: where ``column`` is known, some row of ``table`` has it together with ``within``."""

    column: str
    within: str
    table: str

    @property
    def code(self) -> str:
        return f"{self.column}_not_of_{self.within}".upper()


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A canonical table and its promises.

    allowed_lateness : rows received later than this after they occurred are landed and counted as late
    freshness : a feed that has been silent for longer than this no longer speaks of now
    error_budget : the share of rows that may be bad before the whole batch is refused
    """

    name: str
    meaning: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    orders: tuple[Order, ...] = ()
    positions: tuple[Position, ...] = ()
    courses: tuple[Course, ...] = ()
    references: tuple[Reference, ...] = ()
    memberships: tuple[Membership, ...] = ()
    allowed_lateness: timedelta = timedelta(days=1)
    freshness: timedelta | None = None
    error_budget: float = 0.05
    required: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)

    def arrow_schema(self) -> pa.Schema:
        return pa.schema(
            [pa.field(c.name, c.dtype.arrow, nullable=not c.required) for c in self.columns],
            metadata={b"punctual.table": self.name.encode()},
        )
