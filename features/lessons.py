"""What stop events taught, as columns: the value of each observation and every key that it is remembered by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.keys import Keys
from features.local_time import DAY_US, HOUR_US, QUARTER_US, offset_us
from features.observations import (
    Door,
    Drive,
    Observation,
    area_hour_key,
    link_key,
    log_ratio,
    pair_hour_key,
    pair_key,
    ratio,
    site_hour_key,
)

Int = NDArray[np.int64]
#: Fields of one kind of observation: lists, or columns of a frame.
Columns = Mapping[str, Any]
#: The value of an observation, of the time that it took and its reference; other kinds have it as a field.
VALUED: dict[type, Callable[[int, int], int]] = {Drive: log_ratio, Door: ratio}
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


def columns_of(observed: Sequence[Observation], kind: type[Any]) -> dict[str, Any]:
    """Observations of one kind as columns of their fields, and of their value."""
    columns: dict[str, Any] = {
        name: list(map(itemgetter(place), observed)) for place, name in enumerate(kind._fields)
    }
    if kind in VALUED:
        columns["value"] = list(map(VALUED[kind], columns["actual_us"], columns["reference_us"]))
    return columns


def of_drives(columns: Columns) -> Lessons:
    """Lessons of drives: values in millionths of ln(actual / reference)."""
    start, end = zones_of(columns)
    weekday, hour = _local(columns)
    areas = Keys.of(columns["area_id"])
    keys = {
        "pair_hour": _pairs_at(start, end, hour),
        "pair": start.with_keys(end, pair_key),
        "link": start.with_keys(end, link_key),
        "origin_zone": start,
        "target_zone": end,
        "zone_id": end,
        "area_hour": areas.with_numbers(hour + HOURS * (weekday >= SATURDAY), _area_hour),
        "area_id": areas,
        "courier_id": Keys.of(columns["courier_id"]),
        "route_id": Keys.of(columns["route_id"]),
        "service_class": Keys.of(columns["service_class"]),
    }
    return _lessons(columns, keys)


def of_doors(columns: Columns) -> Lessons:
    """Lessons of doors: values in millionths of actual / reference."""
    _, hour = _local(columns)
    sites = Keys.of(columns["site_id"])
    keys = {name: Keys.of(columns[name]) for name in ("courier_id", "area_id", "route_id")}
    return _lessons(columns, keys | {"site_id": sites, "site_hour": sites.with_numbers(hour, site_hour_key)})


def of_departures(columns: Columns) -> Lessons:
    """Lessons of departures: how late each was, in microseconds."""
    return _lessons(columns, {"depot_id": Keys.of(columns["depot_id"])})


def zones_of(columns: Columns) -> tuple[Keys, Keys]:
    """Where drives start and end, numbered alike."""
    start, end = columns["from_zone_id"], columns["zone_id"]
    zones = Keys.of(pl.concat([start, end]) if isinstance(start, pl.Series) else [*start, *end])
    n = len(end)
    return zones[:n], zones[n:]


def _lessons(columns: Columns, keys: dict[str, Keys]) -> Lessons:
    return Lessons(_int(columns["seq"]), _int(columns["received_us"]), _int(columns["value"]), keys)


def _int(values: Sequence[int]) -> Int:
    return np.array(values, np.int64)


def _local(columns: Columns) -> tuple[Int, Int]:
    """Weekday and whole hour at which a place was left, in its time zone."""
    left_us = _int(columns["left_at_us"])
    quarters = (left_us // QUARTER_US).tolist()
    offsets_us = [offset_us(*at) for at in zip(columns["timezone"], quarters, strict=True)]
    local_us = left_us + _int(offsets_us)
    return (local_us // DAY_US + 3) % 7, local_us % DAY_US // HOUR_US


def _pairs_at(start: Keys, end: Keys, hour: Int) -> Keys:
    places = Keys(end.codes * HOURS + hour, end.names)
    return start.with_numbers(
        places.codes, lambda name, code: pair_hour_key(name, end.names[code // HOURS], code % HOURS)
    )


def _area_hour(area_id: str, days_hour: int) -> str:
    weekday, hour = divmod(days_hour, HOURS)
    return area_hour_key(area_id, SATURDAY if weekday else 0, hour)
