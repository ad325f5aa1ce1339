"""What stop events taught, as columns: the value of each observation and every key that it is remembered by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.keys import Keys
from features.local_time import DAY_US, HOUR_US, QUARTER_US, offset_us
from features.observations import (
    Departure,
    Door,
    Drive,
    area_hour_key,
    link_key,
    pair_hour_key,
    pair_key,
    site_hour_key,
)

Int = NDArray[np.int64]
HOURS = 24
SATURDAY = 5


@dataclass(frozen=True, slots=True)
class Lessons:
    """Observations of one kind, in log order.

    seq, received_us, values : (n,) int64; values in millionths of what is observed, or in microseconds
    keys : entity of a view -> (n) keys
    """

    seq: Int
    received_us: Int
    values: Int
    keys: dict[str, Keys]

    def __len__(self) -> int:
        return len(self.seq)


def of_drives(observed: Sequence[Drive]) -> Lessons:
    """Lessons of drives: values in millionths of ln(actual / reference)."""
    seq, received, left_at, _, _, from_zone, zone, area, timezone, courier, route, visit = _columns(
        Drive, observed
    )
    zones = Keys.of([*from_zone, *zone])
    start, end = zones[: len(observed)], zones[len(observed) :]
    weekday, hour = _local(timezone, _int(left_at))
    areas, pair = Keys.of(area), start.with_keys(end, pair_key)
    days_hour = hour + HOURS * (weekday >= SATURDAY)
    keys = {
        "pair_hour": _pairs_at(start, end, hour),
        "pair": pair,
        "link": start.with_keys(end, link_key),
        "origin_zone": start,
        "target_zone": end,
        "zone_id": end,
        "area_hour": areas.with_numbers(days_hour, _area_hour),
        "area_id": areas,
        "courier_id": Keys.of(courier),
        "route_id": Keys.of(route),
        "service_class": Keys.of(visit),
    }
    return Lessons(_int(seq), _int(received), _int([each.value for each in observed]), keys)


def of_doors(observed: Sequence[Door]) -> Lessons:
    """Lessons of doors: values in millionths of actual / reference."""
    seq, received, left_at, _, _, site, area, timezone, courier, route = _columns(Door, observed)
    _, hour = _local(timezone, _int(left_at))
    sites = Keys.of(site)
    keys = {
        "site_hour": sites.with_numbers(hour, site_hour_key),
        "site_id": sites,
        "courier_id": Keys.of(courier),
        "area_id": Keys.of(area),
        "route_id": Keys.of(route),
    }
    return Lessons(_int(seq), _int(received), _int([each.value for each in observed]), keys)


def of_departures(observed: Sequence[Departure]) -> Lessons:
    """Lessons of departures: how late each was, in microseconds."""
    seq, received, late_us, depot = _columns(Departure, observed)
    return Lessons(_int(seq), _int(received), _int(late_us), {"depot_id": Keys.of(depot)})


def _columns(kind: Any, observed: Sequence[Any]) -> list[Sequence[Any]]:
    return [list(map(itemgetter(place), observed)) for place in range(len(kind._fields))]


def _int(values: Sequence[int]) -> Int:
    return np.array(values, np.int64)


def _local(timezones: Sequence[str], instants_us: Int) -> tuple[Int, Int]:
    """Weekday and whole hour of instants in their time zones."""
    quarters = (instants_us // QUARTER_US).tolist()
    offsets_us = [offset_us(name, quarter) for name, quarter in zip(timezones, quarters, strict=True)]
    local_us = instants_us + _int(offsets_us)
    return (local_us // DAY_US + 3) % 7, local_us % DAY_US // HOUR_US


def _pairs_at(start: Keys, end: Keys, hour: Int) -> Keys:
    places = Keys(end.codes * HOURS + hour, end.names)
    return start.with_numbers(
        places.codes, lambda name, code: pair_hour_key(name, end.names[code // HOURS], code % HOURS)
    )


def _area_hour(area_id: str, days_hour: int) -> str:
    weekday, hour = divmod(days_hour, HOURS)
    return area_hour_key(area_id, SATURDAY if weekday else 0, hour)
