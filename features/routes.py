"""A route at an instant: its plan, its stops, and how far it has come by what has been received."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from features.observations import LONGEST_DRIVE, distance_m, planned_travel_us, reference_travel_us

BEFORE_DEPARTURE, DRIVING, AT_STOP = 0, 1, 2
#: How long after the last thing that was heard or planned of a route something of it is still listened to: of one
#: without a stop ahead, and of one that fell silent, which is kept longer where a drive that long would still teach.
#: Every fold goes by it, so that none learns what another misses.
KEEP_FINISHED_US, KEEP_SILENT_US = 24 * 3_600_000_000, 36 * 3_600_000_000


class StopEvent(NamedTuple):
    """What was heard of a stop, or of a whole route."""

    route_id: str
    stop_id: str | None
    kind: str
    occurred_us: int
    sequence: int | None


@dataclass(slots=True)
class StopPlan:
    """A visit as last planned; the order of its fields is that of a history's columns."""

    stop_id: str
    route_id: str
    plan_version: int
    sequence: int
    zone_id: str
    lat: float | None = None
    lon: float | None = None
    site_id: str | None = None
    customer_id: str | None = None
    parcels: int | None = None
    product_type: str | None = None
    service_level: str | None = None
    value: float | None = None
    promised_start_us: int | None = None
    promised_end_us: int | None = None
    planned_arrival_us: int | None = None
    planned_travel_s: float | None = None
    planned_distance_m: float | None = None
    planned_service_s: float | None = None
    sequenced_us: int = 0

    @property
    def position(self) -> tuple[float, float] | None:
        return None if self.lat is None or self.lon is None else (self.lat, self.lon)


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far a route has come, by what has been received."""

    phase: int = BEFORE_DEPARTURE
    phase_since_us: int = 0
    known_us: int = 0
    lag_us: int = 0
    departed: bool = False
    at_stop_id: str | None = None
    left_zone_id: str | None = None
    left_position: tuple[float, float] | None = None
    left_at_us: int | None = None
    left_sequence: int = 0
    visited: dict[str, int] = field(default_factory=dict)
    closed: dict[str, str] = field(default_factory=dict)
    depot_slip_us: int = 0
    travel_slip_us: int = 0
    service_slip_us: int = 0
    halt_us: int = 0


@dataclass(slots=True, kw_only=True)
class Route:
    """A route: its plan, its stops by id, and its progress.

    planned : False while only stops or events of it have been received
    told_us : when the plan that stands was made
    heard_us : when something was last received of it
    waiting : events that came before the route or the stop that they speak of
    """

    route_id: str
    area_id: str = ""
    origin_zone_id: str = ""
    timezone: str = "UTC"
    vehicle_id: str | None = None
    courier_id: str | None = None
    depot_id: str | None = None
    origin_position: tuple[float, float] | None = None
    planned_departure_us: int | None = None
    service_date: str = ""
    stops: dict[str, StopPlan] = field(default_factory=dict)
    progress: Progress = field(default_factory=Progress)
    planned: bool = True
    told_us: int = 0
    heard_us: int = 0
    waiting: list[StopEvent] = field(default_factory=list)

    @property
    def expected_us(self) -> int:
        """The last instant at which something of it was heard or is planned."""
        arrivals_us = (stop.planned_arrival_us or 0 for stop in self.stops.values())
        return max(self.heard_us, self.planned_departure_us or 0, *arrivals_us, 0)

    def is_over(self, at_us: int) -> bool:
        """Whether what is received of it from now on is of a route that nothing is known of."""
        if at_us - self.heard_us < KEEP_FINISHED_US:
            return False
        drives_us = [
            reference_travel_us(stop.planned_travel_s, stop.planned_distance_m) for stop in self._open_stops()
        ]
        keep_us = max(KEEP_SILENT_US, LONGEST_DRIVE * max(drives_us)) if drives_us else KEEP_FINISHED_US
        return at_us - self.expected_us >= keep_us

    def remaining(self) -> list[StopPlan]:
        """Stops not yet reached and not given up, in their order; none before the route itself is known."""
        return sorted(self._open_stops(), key=lambda stop: (stop.sequence, stop.stop_id))

    def _open_stops(self) -> list[StopPlan]:
        if not self.planned:
            return []
        done = self.progress
        return [
            s for s in self.stops.values() if s.stop_id not in done.visited and s.stop_id not in done.closed
        ]


def leg(stop: StopPlan, start: tuple[float, float] | None, start_sequence: int) -> tuple[int, float | None]:
    """Reference and metres of the drive to a stop; the plan's own where it starts from the stop before."""
    follows_plan = stop.sequence == start_sequence + 1
    leg_m = stop.planned_distance_m if follows_plan else None
    if leg_m is None and start is not None and stop.position is not None:
        leg_m = distance_m(start, stop.position)
    return reference_travel_us(stop.planned_travel_s if follows_plan else None, leg_m), leg_m


def leg_reference_us(stop: StopPlan, start: tuple[float, float] | None, start_sequence: int) -> int:
    """What the drive to a stop is measured against, as ``leg`` says; metres are worked out where they count alone."""
    if stop.sequence == start_sequence + 1 and (planned_us := planned_travel_us(stop.planned_travel_s)):
        return planned_us
    return leg(stop, start, start_sequence)[0]


def service_class(route: Route, stop: StopPlan) -> str:
    """What kind of visit this is, for habits that go with it."""
    return f"{route.area_id}|{stop.product_type}|{stop.service_level}"
