"""Fields of feed messages: each in its type, or a `SourceError` that says which one is wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from data_contracts.errors import SourceError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NEXT = "send the feed's own format"


def required(message: Mapping[str, Any], name: str, where: str) -> Any:
    """A field that must be there."""
    if message.get(name) is None:
        raise SourceError(f"lacks the field {name!r}", where=where, next_step=_NEXT)
    return message[name]


def number(value: object, name: str, where: str) -> float | None:
    """A number; absent is None."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SourceError(f"{name} is {value!r:.40}, not a number", where=where, next_step=_NEXT)
    if not math.isfinite(found := _float(value)):
        raise SourceError(f"{name} is {value!r:.40}, not a finite number", where=where, next_step=_NEXT)
    return found


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def text(value: object, name: str, where: str) -> str | None:
    """An id or a word; absent is None."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise SourceError(f"{name} is {value!r:.40}, not text", where=where, next_step=_NEXT)
    return str(value)


def instant(value: object, name: str, where: str) -> datetime:
    """RFC 3339 text with a zone as an instant."""
    try:
        found = datetime.fromisoformat(str(value))
        if found.tzinfo is not None:
            return found.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise SourceError(f"{name} is {value!r:.40}, not a time", where=where, next_step=_NEXT) from error
    raise SourceError(f"{name} {value!r:.40} has no time zone", where=where, next_step=_NEXT)


def epoch_ms(value: object, name: str, where: str) -> datetime | None:
    """Milliseconds of the epoch as an instant; absent is None."""
    millis = number(value, name, where)
    if millis is None:
        return None
    try:
        return _EPOCH + timedelta(milliseconds=millis)
    except (OverflowError, ValueError) as error:
        what = f"{name} is {value!r:.40}, not milliseconds of the epoch"
        raise SourceError(what, where=where, next_step=_NEXT) from error
