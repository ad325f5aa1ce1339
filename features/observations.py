"""What one stop event teaches: how long a drive took, how long a door took, how late a route left."""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

#: A drive is measured against its plan, else against its distance, else against this.
UNPLANNED_TRAVEL_S = 900.0
UNPLANNED_SERVICE_S = 120.0
STREET_SPEED_MPS = 6.0
STREET_START_S = 60.0
LOG_UNIT = 1e-6
RATIO_UNIT = 1e-6
#: A door that took longer than this many times its reference teaches no more than this.
LARGEST_RATIO = 20.0
#: A drive or a door that took longer than this over its reference, and so many times as long, is a halt: no street and
#: no customer explains it.
HALT_US, HALT_RATIO = 900_000_000, 3
LONGEST_US = 86_400_000_000
#: A drive teaches up to a day, and beyond it up to so many times its reference: line haul takes days.
LONGEST_DRIVE = 10
EARTH_RADIUS_M = 6_371_000.0


class Drive(NamedTuple):
    """A drive that ended: how long it took against its reference, and everything that it is remembered by."""

    seq: int
    received_us: int
    left_at_us: int
    actual_us: int
    reference_us: int
    from_zone_id: str
    zone_id: str
    area_id: str
    timezone: str
    courier_id: str | None
    route_id: str
    service_class: str


class Door(NamedTuple):
    """A visit that ended: how long it took against its reference, and everything that it is remembered by."""

    seq: int
    received_us: int
    left_at_us: int
    actual_us: int
    reference_us: int
    site_id: str | None
    area_id: str
    timezone: str
    courier_id: str | None
    route_id: str


class Departure(NamedTuple):
    """A route that left its depot, and how late: microseconds."""

    seq: int
    received_us: int
    value: int
    depot_id: str | None


Observation = Drive | Door | Departure
#: What the types' own constructors do, at a third of their time: histories have many rows.
drive, door = partial(tuple.__new__, Drive), partial(tuple.__new__, Door)


def log_ratio(actual_us: int, reference_us: int) -> int:
    """Millionths of ln(actual / reference)."""
    return round(math.log(actual_us / reference_us) / LOG_UNIT)


def ratio(actual_us: int, reference_us: int) -> int:
    """Millionths of actual / reference, bounded."""
    return round(min(actual_us / reference_us, LARGEST_RATIO) / RATIO_UNIT)


def planned_travel_us(planned_travel_s: float | None) -> int:
    """A drive as planned; 0 where it is not."""
    return round((planned_travel_s or 0.0) * 1e6)


def reference_travel_us(planned_travel_s: float | None, leg_m: float | None) -> int:
    """What a drive is measured against: its plan, else its distance at street speed, else a constant."""
    if planned_us := planned_travel_us(planned_travel_s):
        return planned_us
    if leg_m is not None:
        return round((leg_m / STREET_SPEED_MPS + STREET_START_S) * 1e6)
    return round(UNPLANNED_TRAVEL_S * 1e6)


def reference_service_us(planned_service_s: float | None) -> int:
    """What time at a door is measured against."""
    return round((planned_service_s or 0.0) * 1e6) or round(UNPLANNED_SERVICE_S * 1e6)


def distance_m(start: tuple[float, float], end: tuple[float, float]) -> float:
    """Metres between two (lat, lon) positions, on a local plane."""
    north = math.radians(end[0] - start[0])
    east = math.radians(end[1] - start[1]) * math.cos(math.radians(0.5 * (start[0] + end[0])))
    return EARTH_RADIUS_M * math.hypot(north, east)


def pair_key(from_zone_id: str, zone_id: str) -> str:
    return f"{from_zone_id}|{zone_id}"


def link_key(zone_id: str, other_zone_id: str) -> str:
    """Key of two zones in either direction."""
    return f"{zone_id}|{other_zone_id}" if zone_id <= other_zone_id else f"{other_zone_id}|{zone_id}"


def site_hour_key(site_id: str, hour: int) -> str:
    """Key of a door at an hour."""
    return f"{site_id}|{hour:02d}"


def pair_hour_key(from_zone_id: str, zone_id: str, hour: int) -> str:
    return f"{from_zone_id}|{zone_id}|{hour:02d}"


def area_hour_key(area_id: str, weekday: int, hour: int) -> str:
    """Key of an area's hour, weekends apart."""
    return f"{area_id}|{'weekend' if weekday >= 5 else 'weekday'}|{hour:02d}"


def area_valid_hour_key(area_id: str, instant_us: int) -> str:
    """Key of the weather of an area in the UTC hour of an instant."""
    return f"{area_id}|{instant_us // 3_600_000_000}"
