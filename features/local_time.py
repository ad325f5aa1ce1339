"""Local weekday and hour of an instant, in a route's time zone."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

HOUR_US = 3_600_000_000
QUARTER_US = HOUR_US // 4
DAY_US = 24 * HOUR_US


@lru_cache(maxsize=16_384)
def offset_us(timezone: str, quarter: int) -> int:
    """How far a zone is ahead of UTC in one quarter of an hour since the epoch."""
    instant = datetime.fromtimestamp(quarter * 900, tz=UTC)
    offset = instant.astimezone(ZoneInfo(timezone)).utcoffset()
    return int(offset.total_seconds() * 1e6) if offset else 0


def local_time(timezone: str, instant_us: int) -> tuple[int, float]:
    """Weekday (0 = Monday) and hour of day of an instant, in a time zone."""
    local_us = instant_us + offset_us(timezone, instant_us // QUARTER_US)
    return (local_us // DAY_US + 3) % 7, (local_us % DAY_US) / HOUR_US
