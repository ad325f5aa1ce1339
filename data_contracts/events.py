"""What goes over the wire: one event type for each canonical table, made from its definition, and the tick.

An event is a row of its table with a type: ``{"type": "stop_events", "event_id": ..., "kind": ..., ...}``.
``received_at`` may be left out, since the server stamps it. Times are RFC 3339 text with a zone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from hashlib import blake2b
from typing import Annotated, Any, Literal

import polars as pl
import pyarrow as pa
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StringConstraints,
    ValidationError,
    create_model,
    model_validator,
)

from data_contracts.contract import Column, Dtype, Form, Order, Position, Table
from data_contracts.errors import ContractError
from data_contracts.rules import DAY_PATTERN, EARLIEST, LATEST, MAX_TEXT_CHARS, NULL_ISLAND, timezones
from data_contracts.tables import EVENT_COLUMNS, TABLES

TICK = "tick"

_ENVELOPE = tuple(column.name for column in EVENT_COLUMNS)
_SLICE_ROWS = 10_000
_FAULTS_TOLD = 3


def _instant(value: object) -> object:
    """Numbers are refused, which could be seconds or milliseconds, and so is text that only holds one."""
    if isinstance(value, datetime) or (isinstance(value, str) and value[4:5] == "-" and len(value) >= 16):
        return value
    raise ValueError("Input should be RFC 3339 text with a zone, such as 2024-05-01T08:00:00Z")


def _zoned(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("Input should have a time zone, such as 2024-05-01T08:00:00Z")
    if not EARLIEST <= value <= LATEST:
        raise ValueError("Input should lie in the years 2000 to 2100")
    return value.astimezone(UTC)


Instant = Annotated[datetime, BeforeValidator(_instant), AfterValidator(_zoned)]
Text = Annotated[str, StringConstraints(strict=True, max_length=MAX_TEXT_CHARS, pattern=r"\S")]


def _a_day(value: str) -> str:
    date.fromisoformat(value)
    return value


def _a_timezone(value: str) -> str:
    if value not in timezones():
        raise ValueError("Input should be an IANA time zone, such as Europe/Berlin")
    return value


_FORMS = {
    Form.DAY: Annotated[str, StringConstraints(strict=True, pattern=DAY_PATTERN), AfterValidator(_a_day)],
    Form.TIMEZONE: Annotated[Text, AfterValidator(_a_timezone)],
}


class WireEvent(BaseModel):
    """Something that happened, as a caller tells it."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    type: str
    event_id: Text
    occurred_at: Instant
    received_at: Instant | None = None


def parse(raw: Mapping[str, object]) -> WireEvent:
    """A checked event, or a `ContractError` that names each wrong field and why it is wrong."""
    if not isinstance(raw, Mapping):
        raise ContractError(f"an event is a JSON object, not {type(raw).__name__}", where="event")
    event_type = raw.get("type")
    if not isinstance(event_type, str) or event_type not in WIRE_EVENTS:
        what = f"type {_shortened(event_type)} is unknown"
        raise ContractError(what, where="event", next_step=f"give one of {', '.join(WIRE_EVENTS)}")
    try:
        return WIRE_EVENTS[event_type].model_validate(raw if type(raw) is dict else dict(raw))
    except ValidationError as error:
        raise ContractError(_told(error), where=event_type) from None


def deterministic_event_id(table: Table, key_values: Sequence[object]) -> str:
    """The same id for the same values, whenever and wherever they are read; for feeds that give no ids."""
    text = json.dumps([table.name, *key_values], default=_canonical, separators=(",", ":"))
    return f"{table.name}-{blake2b(text.encode(), digest_size=16).hexdigest()}"


def rows_to_events(table: Table, rows: pa.Table) -> Iterator[dict[str, object]]:
    """Rows of a contract as JSON-ready events, in their order; what a row or a source lacks, is left out."""
    names = [name for name in table.names if name in rows.column_names]
    for start in range(0, rows.num_rows, _SLICE_ROWS):
        frame = pl.from_arrow(rows.select(names).slice(start, _SLICE_ROWS))
        assert isinstance(frame, pl.DataFrame)
        shown = frame.with_columns(
            pl.col(pl.Datetime).dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"), pl.col(pl.Float64).fill_nan(None)
        )
        for row in shown.iter_rows(named=True):
            yield {"type": table.name} | {name: cell for name, cell in row.items() if cell is not None}


def _shortened(value: object) -> str:
    """A value that may be anything, in a message."""
    return repr(value[:40]) if isinstance(value, str) else f"of {type(value).__name__}"


def _told(error: ValidationError) -> str:
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    told = [
        _fault(fault["loc"], fault["msg"].removeprefix("Value error, ")) for fault in faults[:_FAULTS_TOLD]
    ]
    more = [f"and {len(faults) - _FAULTS_TOLD} more"] if len(faults) > _FAULTS_TOLD else []
    return "; ".join([*told, *more])


def _fault(loc: tuple[int | str, ...], reason: str) -> str:
    place = ".".join(str(part)[:64] for part in loc)
    return f"{place}: {reason}" if place else reason


def _canonical(value: Any) -> object:
    """Values that JSON lacks, in one form each: times in UTC, numpy and Arrow scalars as Python's own."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ContractError(f"key value {value} has no time zone", where="event_id")
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    if isinstance(value, date):
        return value.isoformat()
    for unwrap in ("item", "as_py"):
        if hasattr(value, unwrap):
            return getattr(value, unwrap)()
    raise ContractError(f"a {type(value).__name__} cannot be part of an id", where="event_id")


# --- the types, made from the tables ----------------------------------------------------------------------


def _field(column: Column) -> Any:
    """The annotation of a column: its type with its bounds."""
    if column.allowed is not None:
        return Literal[column.allowed]
    if column.form is not None:
        return _FORMS[column.form]
    bounds: dict[str, Any] = {"ge": column.low, "le": column.high}
    match column.dtype:
        case Dtype.STRING:
            return Text
        case Dtype.TIMESTAMP:
            return Instant
        case Dtype.BOOLEAN:
            return StrictBool
        case Dtype.NUMBER:
            return Annotated[float, Field(strict=True, allow_inf_nan=False, **bounds)]
        case Dtype.INTEGER:
            low, high = (-(2**63) if column.low is None else int(column.low)), column.high
            return Annotated[int, Field(strict=True, ge=low, le=2**63 - 1 if high is None else int(high))]


def _fields(table: Table) -> dict[str, Any]:
    own = [column for column in table.columns if column.name not in _ENVELOPE]
    return {
        column.name: (_field(column) if column.required else _field(column) | None, _described(column))
        for column in own
    }


def _described(column: Column) -> Any:
    unit = f" Unit: {column.unit}." if column.unit not in ("", "1", "UTC") else ""
    description = f"{column.meaning}{unit}"
    return Field(description=description) if column.required else Field(default=None, description=description)


def _kept(orders: Sequence[Order], positions: Sequence[Position]) -> Callable[[Any], Any]:
    """The rules of a table that are about several columns of one row."""

    def kept(event: Any) -> Any:
        for order in orders:
            earlier, later = getattr(event, order.earlier), getattr(event, order.later)
            concerned = order.only is None or getattr(event, order.only[0]) == order.only[1]
            if concerned and earlier is not None and later is not None and earlier > later + order.slack:
                raise ValueError(f"{order.earlier} is after {order.later} ({order.code})")
        for position in positions:
            if getattr(event, position.lat) == 0 and getattr(event, position.lon) == 0:
                raise ValueError(f"{position.lat} and {position.lon} are both 0 ({NULL_ISLAND})")
        return event

    return kept


def _wire_event(table: Table) -> type[WireEvent]:
    validators: dict[str, Any] = (
        {"kept": model_validator(mode="after")(_kept(table.orders, table.positions))}
        if table.orders or table.positions
        else {}
    )
    return create_model(
        "".join(word.title() for word in table.name.split("_")) + "Event",
        __base__=WireEvent,
        __doc__=table.meaning,
        __validators__=validators,
        **{"type": (Literal[table.name], ...), **_fields(table)},
    )


class TickEvent(WireEvent):
    """Time has passed; nothing else has happened."""

    type: Literal["tick"]


#: Every type that may come over the wire, by its name.
WIRE_EVENTS: dict[str, type[WireEvent]] = {
    **{table.name: _wire_event(table) for table in TABLES.values()},
    TICK: TickEvent,
}
