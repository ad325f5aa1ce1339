"""What can be done to a running city."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowZone:
    """Multiplies the speed in a zone's district, from the first whole tick at or after ``from_at`` (and now) on."""

    zone_id: str
    factor: float
    from_at: datetime
    to_at: datetime

    def __post_init__(self) -> None:
        if not 0.01 <= self.factor <= 100 or self.from_at >= self.to_at:
            raise ValueError(f"{self.zone_id}: a factor in [0.01, 100] and from_at before to_at, not {self}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resequence:
    """A new order of the stops of a route that have not begun; a stop begins when the drive to it does."""

    route_id: str
    stop_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelStop:
    """Takes a stop that has not begun off its route."""

    stop_id: str


Action = SlowZone | Resequence | CancelStop
