"""The remaining stops of routes at an instant, as columns: what vectors are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.local_time import local_time
from features.observations import (
    area_hour_key,
    area_valid_hour_key,
    link_key,
    pair_hour_key,
    pair_key,
    reference_service_us,
    site_hour_key,
)
from features.routes import AT_STOP, BEFORE_DEPARTURE, Progress, Route, StopPlan, leg, service_class

_NAN = float("nan")
#: Weather of so long ago is what has held a route up so far.
BEFORE_US = 7_200_000_000

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
    "plan_age_s",
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
    "area_hour_before",
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

    def take(self, rows: NDArray[np.int64]) -> Itinerary:
        """Some of the rows."""
        return Itinerary(
            as_of_us=self.as_of_us[rows],
            group=self.group[rows],
            stop_ids=[self.stop_ids[row] for row in rows],
            numbers={name: column[rows] for name, column in self.numbers.items()},
            keys={name: [column[row] for row in rows] for name, column in self.keys.items()},
        )

    @property
    def route_ids(self) -> list[str | None]:
        return self.keys["route_id"]

    @property
    def rank(self) -> NDArray[Any]:
        return self.numbers["rank"]


class ItineraryBuilder:
    """Collects the remaining stops of routes, each route as it stands when it is added."""

    def __init__(self) -> None:
        self._groups = 0
        self._rows: list[tuple[Any, ...]] = []
        self._keys: list[tuple[str | None, ...]] = []
        self._stop_ids: list[str] = []

    def add(self, route: Route, as_of_us: int, ahead: int | None = None) -> None:
        """Add the remaining stops of a route at an instant, or only the next so many."""
        progress = route.progress
        departs_in_s, in_phase_s = _departs_in_s(route, as_of_us), _in_phase_s(progress, as_of_us)
        remaining = route.remaining()
        before = area_valid_hour_key(route.area_id, as_of_us - BEFORE_US)
        here = _here(route)
        for rank, stop in enumerate(remaining[:ahead], start=1):
            expected_us = max(as_of_us, stop.planned_arrival_us or as_of_us)
            weekday, hour = local_time(route.timezone, expected_us)
            reference_us, leg_m = leg(stop, here.position, here.sequence)
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
                    (as_of_us - stop.sequenced_us) / 1e6 if stop.sequenced_us else _NAN,
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
                    None if here.site_id is None else site_hour_key(here.site_id, int(hour)),
                    link_key(here.zone_id, stop.zone_id),
                    pair_key(here.zone_id, stop.zone_id),
                    pair_hour_key(here.zone_id, stop.zone_id, int(hour)),
                    area_hour_key(route.area_id, weekday, int(hour)),
                    area_valid_hour_key(route.area_id, expected_us),
                    before,
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
