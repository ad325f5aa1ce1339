"""When a customer tends to be home, from that customer's own visits: each found somebody, or nobody.

The share at an hour is a weighted mean of the visits, drawn towards what is usual of all customers: visits of about the
same hour and the same kind of day count most, and old ones fade.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import exp
from zoneinfo import ZoneInfo

from serving.times import US, from_us

#: How far apart, in hours, two visits still speak of the same time of day.
HOURS_APART = 2.0
#: What a visit on the other kind of day (weekday, weekend) counts for.
OTHER_DAY = 0.5
HALF_LIFE_S = 180 * 86_400.0
#: How many visits the usual share counts for.
PRIOR_VISITS = 3.0
#: What is usual where nothing was learned yet.
USUAL_SHARE = 0.85
#: Hours of a day in which parcels are delivered.
DELIVERY_HOURS = range(7, 22)


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A courier at the door: when, and whether somebody was home."""

    at_us: int
    home: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeShare:
    """Chance that somebody is home; ``visits`` is how many visits it rests on, as they count."""

    share: float
    visits: float


def home_share(
    visits: Iterable[Visit], at_us: int, as_of_us: int, zone: ZoneInfo, usual: float = USUAL_SHARE
) -> HomeShare:
    """Chance of finding somebody at ``at_us``, from visits that were known at ``as_of_us``."""
    at = from_us(at_us, zone)
    found, weight = PRIOR_VISITS * usual, PRIOR_VISITS
    for visit in visits:
        if visit.at_us <= as_of_us:
            counts = _likeness(from_us(visit.at_us, zone), at)
            counts *= 0.5 ** ((as_of_us - visit.at_us) / US / HALF_LIFE_S)
            found, weight = found + counts * visit.home, weight + counts
    return HomeShare(share=found / weight, visits=weight - PRIOR_VISITS)


def usual_share(visits: Sequence[Visit]) -> float:
    """What is usual of all customers: the share of all visits that found somebody."""
    return sum(visit.home for visit in visits) / len(visits) if visits else USUAL_SHARE


def best_hours(
    visits: Sequence[Visit],
    day: datetime,
    as_of_us: int,
    zone: ZoneInfo,
    usual: float = USUAL_SHARE,
    most: int = 3,
) -> list[tuple[int, HomeShare]]:
    """Local hours of a day at which somebody is most likely home, the best first."""
    hours = [
        (hour, home_share(visits, _noon_of(day, hour, zone), as_of_us, zone, usual))
        for hour in DELIVERY_HOURS
    ]
    return sorted(hours, key=lambda each: (-each[1].share, each[0]))[:most]


def _likeness(one: datetime, other: datetime) -> float:
    apart = abs(one.hour + one.minute / 60 - other.hour - other.minute / 60)
    apart = min(apart, 24 - apart)
    same_kind = (one.weekday() >= 5) == (other.weekday() >= 5)
    return exp(-0.5 * (apart / HOURS_APART) ** 2) * (1.0 if same_kind else OTHER_DAY)


def _noon_of(day: datetime, hour: int, zone: ZoneInfo) -> int:
    """The middle of an hour of a local day."""
    at = datetime(day.year, day.month, day.day, hour, 30, tzinfo=zone)
    return int(at.timestamp() * US)
