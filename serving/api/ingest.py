"""From a request's body to the log: each row is checked, and told what became of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from http import HTTPStatus
from typing import Any

import orjson

from data_contracts.errors import ContractError
from data_contracts.events import TICK, WireEvent, parse
from serving.customers.preferences import Preferences
from serving.customers.store import preferences_from
from serving.http.problems import ProblemError, unprocessable
from serving.storage.log import Clock, EventLog, NewEvent
from serving.times import to_us

REJECTED = "rejected"
CUSTOMERS = "customers"
#: Of an event about a customer, what the log keeps.
PSEUDONYMOUS = ("customer_id", "occurred_at")
#: Takes what a customer prefers, and since when.
Keep = Callable[[str, Preferences, int], None]
NDJSON = ("application/x-ndjson", "application/ndjson", "application/jsonl")
#: Kept beside the body of a record, not in it.
ENVELOPE = frozenset({"type", "event_id", "received_at"})


@dataclass(frozen=True, slots=True)
class BadRow:
    """A line that is not JSON."""

    reason: str


def rows_of(body: bytes, content_type: str, limit: int) -> list[Any]:
    """Raw rows: of one JSON object, of a JSON list, or of lines."""
    is_lines = content_type.partition(";")[0].strip().lower() in NDJSON
    rows = _lines(body) if is_lines else _document(body)
    if not rows:
        raise unprocessable("no event in the body; send one JSON object, a list, or NDJSON lines")
    if len(rows) > limit:
        raise ProblemError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "too-many-events",
            f"{len(rows)} events in one request; send at most {limit}",
        )
    return rows


def ingest(rows: Sequence[Any], log: EventLog, keep: Keep) -> list[dict[str, Any]]:
    """Append what is right, and give a verdict for every row in order.

    What is personal goes to ``keep`` instead, before the log has the event without it.
    """
    checked = [_check(row, log.clock) for row in rows]
    events = [event for event in checked if isinstance(event, NewEvent)]
    for event in events:
        if event.type == CUSTOMERS:
            keep(
                str(event.body["customer_id"]), preferences_from(dict(event.body)), event.body["occurred_at"]
            )
    verdicts = iter(log.append([without_personal(event) for event in events]))
    return [
        {"event_id": event.event_id, "verdict": next(verdicts).value}
        if isinstance(event, NewEvent)
        else {"event_id": _id_of(row), "verdict": REJECTED, "reason": event.reason}
        for row, event in zip(rows, checked, strict=True)
    ]


def without_personal(event: NewEvent) -> NewEvent:
    """An event as the log may keep it for ever: of a customer, that something was said and not what."""
    if event.type != CUSTOMERS:
        return event
    return replace(event, body={name: event.body[name] for name in PSEUDONYMOUS})


def to_new_event(event: WireEvent) -> NewEvent:
    """A wire event as the log keeps it: times in microseconds, nothing that is absent.

    Under the log's clock, an event that does not say when it was received was received as it happened.
    """
    values = event.model_dump(exclude_none=True)
    body = {
        name: to_us(value) if isinstance(value, datetime) else value
        for name, value in values.items()
        if name not in ENVELOPE
    }
    received_us = to_us(event.received_at or event.occurred_at)
    return NewEvent(type=event.type, event_id=event.event_id, body=body, received_us=received_us)


def _check(row: Any, clock: Clock) -> NewEvent | BadRow:
    if isinstance(row, BadRow):
        return row
    try:
        event = parse(row)
    except ContractError as error:
        return BadRow(str(error))
    if event.type == TICK and clock is Clock.WALL:
        return BadRow(
            "tick: the server tells the time itself; only a workspace with clock = 'log' takes ticks"
        )
    new = to_new_event(event)
    if event.type == CUSTOMERS:
        try:
            preferences_from(dict(new.body))
        except ValueError as error:
            return BadRow(f"customers: {error}")
    return new


def _document(body: bytes) -> list[Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ProblemError(
            HTTPStatus.BAD_REQUEST, "malformed-json", f"the body is not JSON: {error}"
        ) from None
    return document if isinstance(document, list) else [document]


def _lines(body: bytes) -> list[Any]:
    return [_line(line) for line in body.split(b"\n") if line.strip()]


def _line(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return BadRow(f"the line is not JSON: {error}")


def _id_of(row: Any) -> str | None:
    event_id = row.get("event_id") if isinstance(row, dict) else None
    return event_id[:200] if isinstance(event_id, str) else None
