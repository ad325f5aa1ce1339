"""Instants at the border: integer microseconds inside, RFC 3339 with Z outside."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache

import numpy as np
import numpy.typing as npt

US = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def wall_now_us() -> int:
    """The machine's clock; only entry points call it."""
    return time.time_ns() // 1000


def to_us(at: datetime) -> int:
    """Microseconds since the epoch; a time without a zone is refused."""
    if at.tzinfo is None:
        raise ValueError(f"{at.isoformat()} has no time zone; write it with an offset, for example Z")
    return (at - _EPOCH) // timedelta(microseconds=1)


def from_us(at_us: int, zone: tzinfo = UTC) -> datetime:
    """An instant as a zone's clocks show it."""
    return (_EPOCH + timedelta(microseconds=at_us)).astimezone(zone)


@lru_cache(maxsize=65_536)
def to_rfc3339(at_us: int) -> str:
    """``2026-03-02T08:15:00Z``, with the fraction only where there is one."""
    at = _EPOCH + timedelta(microseconds=at_us)
    return at.isoformat(timespec="auto").removesuffix("+00:00") + "Z"


def to_rfc3339_or_none(at_us: int | None) -> str | None:
    return None if at_us is None else to_rfc3339(at_us)


def rfc3339_array(at_us: npt.NDArray[np.int64]) -> list[list[str]]:
    """Rows of instants as text, to the millisecond."""
    return np.datetime_as_string(at_us.astype("datetime64[us]"), unit="ms", timezone="UTC").tolist()


def from_rfc3339(text: str) -> int:
    return to_us(datetime.fromisoformat(text))
