"""What shapes routes, as the fold reads it: plans of routes and stops, and stop events.

A live record and a row of a history become the same message.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import repeat
from operator import itemgetter
from typing import Any, NamedTuple

import polars as pl

from data_contracts.record import Record
from features.keys import Keys
from features.routes import StopEvent, StopPlan

#: Tables that shape routes; the observed ones are feeds.
STRUCTURE = ("routes", "stops", "stop_events")

Frames = Mapping[str, pl.DataFrame]


class Message(NamedTuple):
    """A record that shapes routes: a row of ``routes``, a planned stop, or a stop event."""

    seq: int
    received_us: int
    body: Mapping[str, Any] | StopPlan | StopEvent


#: Columns of ``stops`` that a plan holds, by the name that they have there.
_PLAN = {name: name for name in StopPlan.__slots__ if not name.endswith("_us")} | {
    "promised_start_us": "promised_start_at",
    "promised_end_us": "promised_end_at",
    "planned_arrival_us": "planned_arrival_at",
    "sequenced_us": "occurred_at",
}
#: What the types' own constructors do, at a third of their time: histories have many rows.
_MESSAGE, _STOP_EVENT = partial(tuple.__new__, Message), partial(tuple.__new__, StopEvent)
#: Columns of few names for many rows.
SHARED = frozenset(("route_id", "kind", "zone_id", "product_type", "service_level"))
_EVENT = ("route_id", "stop_id", "kind", "occurred_at", "sequence")


def message(record: Record) -> Message | None:
    """A record as what it says of routes; None where it says nothing of their plans and progress."""
    body = record.body
    if record.type == "stop_events":
        event = StopEvent._make(body.get(column) for column in _EVENT)
        return Message(record.seq, record.received_us, event)
    if record.type == "stops":
        plan = StopPlan(**{name: body[column] for name, column in _PLAN.items() if column in body})
        return Message(record.seq, record.received_us, plan)
    return Message(record.seq, record.received_us, body) if record.type == "routes" else None


def messages(ordered: Frames) -> Iterator[Message]:
    """The rows of a history that shape routes, in log order."""
    found: list[Message] = []
    for name in STRUCTURE:
        if name in ordered:
            found += _of_table(name, ordered[name])
    found.sort(key=itemgetter(0))
    return iter(found)


def columns_read(table: str, frame: pl.DataFrame) -> list[str]:
    """Columns of a history's rows that are read, of those that there are."""
    read = {"stops": _PLAN.values(), "stop_events": _EVENT}.get(table, frame.columns)
    return [
        name for name in dict.fromkeys(("seq", "received_at", "route_id", *read)) if name in frame.columns
    ]


def _of_table(name: str, frame: pl.DataFrame) -> Iterator[Message]:
    stamps = (frame["seq"].to_list(), frame["received_at"].to_list())
    return map(_MESSAGE, zip(*stamps, _bodies(name, frame), strict=True))


def _bodies(name: str, frame: pl.DataFrame) -> Iterator[Any]:
    if name == "stop_events":
        return map(_STOP_EVENT, zip(*_lists(frame, _EVENT), strict=True))
    if name == "stops":
        return map(StopPlan, *_lists(frame, [_PLAN[field] for field in StopPlan.__slots__]))
    return frame.iter_rows(named=True)


def _lists(frame: pl.DataFrame, columns: Sequence[str]) -> list[Any]:
    """Columns as lists; one that the frame lacks is None throughout."""
    return [
        _list(frame[column]) if column in frame.columns else repeat(None, len(frame)) for column in columns
    ]


def _list(column: pl.Series) -> list[Any]:
    """Its values; names that many rows share are made once, and hashed once."""
    if column.name not in SHARED:
        return column.to_list()
    keys = Keys.of(column)
    return list(map([*keys.names, None].__getitem__, keys.codes.tolist()))
