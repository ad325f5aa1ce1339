"""What a contract is made of: columns, and rules within a row, across rows and across tables."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A cross-column rule: where both are present, ``earlier`` is at most ``later`` plus ``slack``."""

    earlier: str
    later: str
    slack: timedelta = timedelta(0)

    @property
    def code(self) -> str:
        return f"{self.earlier}_after_{self.later}".upper()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A cross-table rule: every non-null ``column`` must stand in ``table``'s column of the same name."""

    column: str
    table: str

    @property
    def code(self) -> str:
        return f"UNKNOWN_{self.column}".upper()


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A canonical table and its promises."""

    name: str
    meaning: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    orders: tuple[Order, ...] = ()
    references: tuple[Reference, ...] = ()
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
