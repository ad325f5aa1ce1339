"""Plans and progress of live routes, and the remaining stops of a route at an instant.

One fold serves the engine, the API and the making of training rows: what a route looked like at an instant is
always the result of the records received by then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import orjson
from numpy.typing import NDArray

from data_contracts.record import Record
from features.observations import (
    DEPARTURE,
    LONGEST_US,
    SERVICE,
    TRAVEL,
    Observation,
    area_hour_key,
    area_valid_hour_key,
    distance_m,
    link_key,
    log_ratio,
    pair_hour_key,
    pair_key,
    ratio,
    reference_service_us,
    reference_travel_us,
    site_hour_key,
)

BEFORE_DEPARTURE, DRIVING, AT_STOP = 0, 1, 2
HOUR_US = 3_600_000_000
QUARTER_US = HOUR_US // 4
DAY_US = 24 * HOUR_US
_NAN = float("nan")
#: Events of one route that are kept for a plan that has not come.
MOST_WAITING = 1_000


@dataclass(slots=True, kw_only=True)
class StopPlan:
    """A visit as last planned."""

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


@dataclass(slots=True, kw_only=True)
class Route:
    """A route: its plan, its stops by id, and its progress.

    planned : False while only stops or events of it have been received
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
    waiting: list[dict[str, Any]] = field(default_factory=list)

    def remaining(self) -> list[StopPlan]:
        """Stops not yet reached and not given up, in their order; none before the route itself is known."""
        if not self.planned:
            return []
        done = self.progress
        open_stops = [
            s for s in self.stops.values() if s.stop_id not in done.visited and s.stop_id not in done.closed
        ]
        return sorted(open_stops, key=lambda stop: (stop.sequence, stop.stop_id))


NUMBERS = (
    "rank",
    "remaining",
    "local_hour",
    "weekday",
    "reference_us",
    "from_service_us",
    "leg_distance_m",
    "planned_in_s",
    "promised_end_in_s",
    "departure_in_s",
    "in_phase_s",
    "planned_service_s",
    "parcels",
    "lat",
    "lon",
    "from_lat",
    "from_lon",
)
KEYS = (
    "route_id",
    "vehicle_id",
    "courier_id",
    "depot_id",
    "area_id",
    "zone_id",
    "from_zone_id",
    "from_site_id",
    "from_site_hour",
    "link",
    "pair",
    "pair_hour",
    "area_hour",
    "area_valid_hour",
    "service_class",
)


@dataclass(slots=True)
class Itinerary:
    """Remaining stops, one row each, grouped by (route, instant) and in their order within a group.

    as_of_us : (n,) int64
    group : (n,) int64, rising
    numbers : name -> (n,) float64 (``*_us`` are int64)
    keys : name -> n strings or None
    """

    as_of_us: NDArray[np.int64]
    group: NDArray[np.int64]
    stop_ids: list[str]
    numbers: dict[str, NDArray[Any]]
    keys: dict[str, list[str | None]]

    def __len__(self) -> int:
        return len(self.stop_ids)

    @property
    def route_ids(self) -> list[str | None]:
        return self.keys["route_id"]

    @property
    def rank(self) -> NDArray[Any]:
        return self.numbers["rank"]


class RouteBook:
    """Live routes by id, folded from the records of ``routes``, ``stops`` and ``stop_events``."""

    def __init__(self) -> None:
        self._routes: dict[str, Route] = {}
        self._route_of_stop: dict[str, str] = {}
        self._route_of_vehicle: dict[str, str] = {}

    def apply(self, record: Record) -> tuple[tuple[str, ...], list[Observation]]:
        """Fold one record; give the routes that it touched, its own first, and what it taught."""
        body = record.body
        if record.type == "routes":
            return (body["route_id"],), self._catch_up(self._plan_route(body), record)
        if record.type == "stops":
            touched = self._plan_stop(body)
            return touched, self._catch_up(self._routes[touched[0]], record) if touched else []
        if record.type == "stop_events":
            route = self._known(body["route_id"])
            return (route.route_id,), self._follow_or_wait(route, record)
        if record.type == "pings":
            followed = self._route_of_vehicle.get(body["vehicle_id"])
            return (followed,) if followed else (), []
        return (), []

    def _known(self, route_id: str) -> Route:
        """A route; one that nothing was planned of yet is kept for what comes before its plan."""
        route = self._routes.get(route_id)
        if route is None:
            route = self._routes[route_id] = Route(route_id=route_id, planned=False)
        return route

    def _follow_or_wait(self, route: Route, record: Record) -> list[Observation]:
        stop_id = record.body.get("stop_id")
        if route.planned and (stop_id is None or stop_id in route.stops):
            return _follow(route, record)
        if len(route.waiting) < MOST_WAITING:
            route.waiting.append(dict(record.body))
        return []

    def _catch_up(self, route: Route, record: Record) -> list[Observation]:
        """Follow events that waited for this record; what they teach is known from now on."""
        waiting, route.waiting = route.waiting, []
        learned: list[Observation] = []
        for body in waiting:
            learned += self._follow_or_wait(
                route, Record(record.seq, record.received_us, "stop_events", body)
            )
        return learned

    def route_ids(self) -> list[str]:
        """Routes that still have a stop to reach."""
        return [route_id for route_id, route in self._routes.items() if route.remaining()]

    def heard_since(self, instant_us: int) -> list[str]:
        """Routes that still have a stop to reach, or of which something was heard from an instant on."""
        return [
            route_id
            for route_id, route in self._routes.items()
            if route.remaining() or route.waiting or route.progress.known_us >= instant_us
        ]

    def route(self, route_id: str) -> Route | None:
        return self._routes.get(route_id)

    def stop(self, stop_id: str) -> StopPlan | None:
        route = self._routes.get(self._route_of_stop.get(stop_id, ""))
        return route.stops.get(stop_id) if route else None

    def arrived(self, stop_id: str) -> int | None:
        """When a stop was reached, once that is known: microseconds since the epoch."""
        route = self._routes.get(self._route_of_stop.get(stop_id, ""))
        return route.progress.visited.get(stop_id) if route else None

    def closed(self, stop_id: str) -> str | None:
        """``completed``, ``failed`` or ``skipped`` once that is known."""
        route = self._routes.get(self._route_of_stop.get(stop_id, ""))
        return route.progress.closed.get(stop_id) if route else None

    def forget(self, route_id: str) -> None:
        """Drop a finished route."""
        route = self._routes.pop(route_id)
        for stop_id in route.stops:
            self._route_of_stop.pop(stop_id, None)
        self._release_vehicle(route)

    def dump(self, route_id: str) -> bytes:
        return orjson.dumps(self._routes[route_id])

    def load(self, route_id: str, body: bytes) -> None:
        raw = orjson.loads(body)
        stops = {stop_id: StopPlan(**plan) for stop_id, plan in raw.pop("stops").items()}
        progress = Progress(**raw.pop("progress"))
        progress.left_position = _pair(progress.left_position)
        raw["origin_position"] = _pair(raw["origin_position"])
        self._insert(Route(**raw, stops=stops, progress=progress))

    def itinerary(self, route_ids: Sequence[str], as_of_us: int) -> Itinerary:
        """Remaining stops of some routes at an instant."""
        builder = ItineraryBuilder()
        for route_id in route_ids:
            builder.add(self._routes[route_id], as_of_us)
        return builder.build()

    def _insert(self, route: Route) -> None:
        self._routes[route.route_id] = route
        self._route_of_stop.update(dict.fromkeys(route.stops, route.route_id))
        if route.vehicle_id:
            self._route_of_vehicle[route.vehicle_id] = route.route_id

    def _release_vehicle(self, route: Route) -> None:
        if self._route_of_vehicle.get(route.vehicle_id or "") == route.route_id:
            del self._route_of_vehicle[route.vehicle_id or ""]

    def _plan_route(self, body: Any) -> Route:
        known = self._routes.get(body["route_id"])
        route = Route(
            route_id=body["route_id"],
            area_id=body["area_id"],
            origin_zone_id=body["origin_zone_id"],
            timezone=body["timezone"],
            vehicle_id=body.get("vehicle_id"),
            courier_id=body.get("courier_id"),
            depot_id=body.get("depot_id"),
            origin_position=_position(body.get("origin_lat"), body.get("origin_lon")),
            planned_departure_us=body.get("planned_departure_at"),
            service_date=body["service_date"],
        )
        if known:
            route.stops, route.progress, route.waiting = known.stops, known.progress, known.waiting
            self._release_vehicle(known)
        self._insert(route)
        return route

    def _plan_stop(self, body: Any) -> tuple[str, ...]:
        """Plan a stop; give its route, and the one that it leaves if it is handed over."""
        known = self.stop(body["stop_id"])
        if known and known.plan_version >= body["plan_version"]:
            return ()
        route = self._known(body["route_id"])
        plan = StopPlan(
            stop_id=body["stop_id"],
            route_id=route.route_id,
            plan_version=body["plan_version"],
            sequence=body["sequence"],
            zone_id=body["zone_id"],
            lat=body.get("lat"),
            lon=body.get("lon"),
            site_id=body.get("site_id"),
            customer_id=body.get("customer_id"),
            parcels=body.get("parcels"),
            product_type=body.get("product_type"),
            service_level=body.get("service_level"),
            value=body.get("value"),
            promised_start_us=body.get("promised_start_at"),
            promised_end_us=body.get("promised_end_at"),
            planned_arrival_us=body.get("planned_arrival_at"),
            planned_travel_s=body.get("planned_travel_s"),
            planned_distance_m=body.get("planned_distance_m"),
            planned_service_s=body.get("planned_service_s"),
            sequenced_us=body.get("occurred_at", 0),
        )
        route.stops[plan.stop_id] = plan
        self._route_of_stop[plan.stop_id] = route.route_id
        if known is None or known.route_id == route.route_id:
            return (route.route_id,)
        del self._routes[known.route_id].stops[known.stop_id]
        return (route.route_id, known.route_id)


def _follow(route: Route, record: Record) -> list[Observation]:
    """Move a route on by one stop event."""
    body, progress = record.body, route.progress
    kind, happened_us = body["kind"], body["occurred_at"]
    progress.known_us = record.received_us
    progress.lag_us = record.received_us - happened_us
    if kind == "departed_depot":
        return _depart(route, record, happened_us)
    stop = route.stops.get(body.get("stop_id") or "")
    if stop is None:
        return []
    if kind == "resequenced":
        _resequence(stop, body.get("sequence"), happened_us)
        return []
    if kind == "skipped":
        progress.closed.setdefault(stop.stop_id, kind)
        return []
    if kind == "arrived":
        return _arrive(route, stop, record, happened_us)
    return _leave(route, stop, record, happened_us, kind)


def _resequence(stop: StopPlan, sequence: int | None, happened_us: int) -> None:
    if sequence is not None and happened_us >= stop.sequenced_us:
        stop.sequence, stop.sequenced_us = sequence, happened_us


def _depart(route: Route, record: Record, happened_us: int) -> list[Observation]:
    """Only the first departure teaches; a later one moves the route, unless it is already known to be further."""
    progress, again = route.progress, route.progress.departed
    progress.departed = True
    if happened_us >= progress.phase_since_us:
        progress.phase, progress.phase_since_us, progress.at_stop_id = DRIVING, happened_us, None
        progress.left_zone_id, progress.left_position = route.origin_zone_id, route.origin_position
        progress.left_at_us, progress.left_sequence = happened_us, 0
    if again or route.planned_departure_us is None:
        return []
    progress.depot_slip_us = happened_us - route.planned_departure_us
    return _observed(DEPARTURE, record, progress.depot_slip_us, {"depot_id": route.depot_id})


def _arrive(route: Route, stop: StopPlan, record: Record, happened_us: int) -> list[Observation]:
    progress = route.progress
    if stop.stop_id in progress.visited:
        return []
    progress.visited[stop.stop_id] = happened_us
    if stop.stop_id in progress.closed or happened_us < progress.phase_since_us:
        return []
    was_driving = progress.phase == DRIVING
    progress.phase, progress.phase_since_us, progress.at_stop_id = AT_STOP, happened_us, stop.stop_id
    left_at_us = progress.left_at_us
    if not was_driving or left_at_us is None or progress.left_zone_id is None:
        return []
    actual_us = happened_us - left_at_us
    if not 0 < actual_us <= LONGEST_US or _was_passed_over(route, stop):
        return []
    reference_us, _ = _leg(stop, progress.left_position, progress.left_sequence)
    progress.travel_slip_us += actual_us - reference_us
    keys = _travel_keys(route, progress.left_zone_id, stop, left_at_us)
    return _observed(TRAVEL, record, log_ratio(actual_us, reference_us), keys)


def _was_passed_over(route: Route, stop: StopPlan) -> bool:
    """Whether a stop that should lie between the last one left and this one has not been heard of."""
    done = route.progress
    return any(
        done.left_sequence < other.sequence < stop.sequence
        and other.stop_id not in done.visited
        and other.stop_id not in done.closed
        for other in route.stops.values()
    )


def _leg(stop: StopPlan, start: tuple[float, float] | None, start_sequence: int) -> tuple[int, float | None]:
    """Reference and metres of the drive to a stop; the plan's own where it starts from the stop before."""
    follows_plan = stop.sequence == start_sequence + 1
    leg_m = stop.planned_distance_m if follows_plan else None
    if leg_m is None and start is not None and stop.position is not None:
        leg_m = distance_m(start, stop.position)
    return reference_travel_us(stop.planned_travel_s if follows_plan else None, leg_m), leg_m


def _leave(route: Route, stop: StopPlan, record: Record, happened_us: int, kind: str) -> list[Observation]:
    progress = route.progress
    if progress.closed.get(stop.stop_id) in ("completed", "failed"):
        return []
    arrived_us = progress.visited.get(stop.stop_id)
    progress.visited.setdefault(stop.stop_id, happened_us)
    progress.closed[stop.stop_id] = kind
    if progress.left_at_us is not None and progress.left_at_us > happened_us:
        return []
    if happened_us >= progress.phase_since_us or progress.at_stop_id == stop.stop_id:
        progress.phase, progress.phase_since_us, progress.at_stop_id = DRIVING, happened_us, None
    progress.left_zone_id, progress.left_position = stop.zone_id, stop.position
    progress.left_at_us, progress.left_sequence = happened_us, stop.sequence
    if arrived_us is None or not 0 <= (actual_us := happened_us - arrived_us) <= LONGEST_US:
        return []
    _, hour = local_time(route.timezone, happened_us)
    reference_us = reference_service_us(stop.planned_service_s)
    progress.service_slip_us += actual_us - reference_us
    keys = {
        "site_hour": site_hour_key(stop.site_id, int(hour)),
        "site_id": stop.site_id,
        "courier_id": route.courier_id,
        "area_id": route.area_id,
        "route_id": route.route_id,
    }
    return _observed(SERVICE, record, ratio(actual_us, reference_us), keys)


def _observed(kind: str, record: Record, value: int, keys: dict[str, str | None]) -> list[Observation]:
    known = {name: key for name, key in keys.items() if key is not None}
    return [Observation(kind=kind, seq=record.seq, received_us=record.received_us, value=value, keys=known)]


def _travel_keys(route: Route, from_zone_id: str, stop: StopPlan, left_at_us: int) -> dict[str, str | None]:
    weekday, hour = local_time(route.timezone, left_at_us)
    return {
        "pair_hour": pair_hour_key(from_zone_id, stop.zone_id, int(hour)),
        "pair": pair_key(from_zone_id, stop.zone_id),
        "link": link_key(from_zone_id, stop.zone_id),
        "origin_zone": from_zone_id,
        "target_zone": stop.zone_id,
        "zone_id": stop.zone_id,
        "area_hour": area_hour_key(route.area_id, weekday, int(hour)),
        "area_id": route.area_id,
        "courier_id": route.courier_id,
        "route_id": route.route_id,
        "service_class": service_class(route, stop),
    }


def service_class(route: Route, stop: StopPlan) -> str:
    """What kind of visit this is, for habits that go with it."""
    return f"{route.area_id}|{stop.product_type}|{stop.service_level}"


@lru_cache(maxsize=16_384)
def _offset_us(timezone: str, quarter: int) -> int:
    instant = datetime.fromtimestamp(quarter * 900, tz=UTC)
    offset = instant.astimezone(ZoneInfo(timezone)).utcoffset()
    return int(offset.total_seconds() * 1e6) if offset else 0


def local_time(timezone: str, instant_us: int) -> tuple[int, float]:
    """Weekday (0 = Monday) and hour of day of an instant, in a time zone."""
    local_us = instant_us + _offset_us(timezone, instant_us // QUARTER_US)
    return (local_us // DAY_US + 3) % 7, (local_us % DAY_US) / HOUR_US


class ItineraryBuilder:
    """Collects the remaining stops of routes, each route as it stands when it is added."""

    def __init__(self) -> None:
        self._groups = 0
        self._rows: list[tuple[Any, ...]] = []
        self._keys: list[tuple[str | None, ...]] = []
        self._stop_ids: list[str] = []

    def add(self, route: Route, as_of_us: int) -> None:
        """Add the remaining stops of a route at an instant."""
        progress = route.progress
        departs_in_s, in_phase_s = _departs_in_s(route, as_of_us), _in_phase_s(progress, as_of_us)
        remaining = route.remaining()
        here = _here(route)
        for rank, stop in enumerate(remaining, start=1):
            expected_us = max(as_of_us, stop.planned_arrival_us or as_of_us)
            weekday, hour = local_time(route.timezone, expected_us)
            reference_us, leg_m = _leg(stop, here.position, here.sequence)
            self._stop_ids.append(stop.stop_id)
            self._rows.append(
                (
                    as_of_us,
                    self._groups,
                    rank,
                    len(remaining),
                    hour,
                    weekday,
                    reference_us,
                    here.service_us,
                    _NAN if leg_m is None else leg_m,
                    _seconds_until(stop.planned_arrival_us, as_of_us),
                    _seconds_until(stop.promised_end_us, as_of_us),
                    departs_in_s,
                    in_phase_s,
                    _NAN if stop.planned_service_s is None else stop.planned_service_s,
                    _NAN if stop.parcels is None else stop.parcels,
                    _NAN if stop.lat is None else stop.lat,
                    _NAN if stop.lon is None else stop.lon,
                    *(here.position or (_NAN, _NAN)),
                )
            )
            self._keys.append(
                (
                    route.route_id,
                    route.vehicle_id,
                    route.courier_id,
                    route.depot_id,
                    route.area_id,
                    stop.zone_id,
                    here.zone_id,
                    here.site_id,
                    site_hour_key(here.site_id, int(hour)),
                    link_key(here.zone_id, stop.zone_id),
                    pair_key(here.zone_id, stop.zone_id),
                    pair_hour_key(here.zone_id, stop.zone_id, int(hour)),
                    area_hour_key(route.area_id, weekday, int(hour)),
                    area_valid_hour_key(route.area_id, expected_us),
                    service_class(route, stop),
                )
            )
            here = _at(stop)
        self._groups += 1

    def build(self) -> Itinerary:
        columns = list(zip(*self._rows, strict=True)) or [()] * (len(NUMBERS) + 2)
        keys = list(zip(*self._keys, strict=True)) or [()] * len(KEYS)
        numbers = {
            name: np.array(column, np.int64 if name.endswith("_us") else np.float64)
            for name, column in zip(NUMBERS, columns[2:], strict=True)
        }
        return Itinerary(
            as_of_us=np.array(columns[0], np.int64),
            group=np.array(columns[1], np.int64),
            stop_ids=self._stop_ids,
            numbers=numbers,
            keys={name: list(column) for name, column in zip(KEYS, keys, strict=True)},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a leg starts, and the time at the door there that is still to come."""

    zone_id: str
    position: tuple[float, float] | None
    sequence: int
    site_id: str | None = None
    service_us: int = 0


def _at(stop: StopPlan) -> _Place:
    return _Place(
        zone_id=stop.zone_id,
        position=stop.position,
        sequence=stop.sequence,
        site_id=stop.site_id,
        service_us=reference_service_us(stop.planned_service_s),
    )


def _here(route: Route) -> _Place:
    """The stop being served, else the place last left, else the origin."""
    progress = route.progress
    served = route.stops.get(progress.at_stop_id or "") if progress.phase == AT_STOP else None
    if served is not None:
        return _at(served)
    return _Place(
        zone_id=progress.left_zone_id or route.origin_zone_id,
        position=progress.left_position or route.origin_position,
        sequence=progress.left_sequence,
    )


def _departs_in_s(route: Route, as_of_us: int) -> float:
    if route.progress.phase != BEFORE_DEPARTURE or route.planned_departure_us is None:
        return 0.0
    return (route.planned_departure_us - as_of_us) / 1e6


def _in_phase_s(progress: Progress, as_of_us: int) -> float:
    return (as_of_us - progress.phase_since_us) / 1e6 if progress.phase != BEFORE_DEPARTURE else 0.0


def _seconds_until(instant_us: int | None, as_of_us: int) -> float:
    return _NAN if instant_us is None else (instant_us - as_of_us) / 1e6


def _position(lat: float | None, lon: float | None) -> tuple[float, float] | None:
    return None if lat is None or lon is None else (lat, lon)


def _pair(position: Any) -> tuple[float, float] | None:
    return None if position is None else (position[0], position[1])
