"""When a customer tends to be home, from that customer's own visits: each found somebody, or nobody.

The share at an hour is a weighted mean of the visits, drawn towards what is usual of all customers: visits of about the
same hour and the same kind of day count most, and old ones fade. For how many visits what is usual counts is learned:
each visit is foretold by what was known before it, and the number that foretold best so far is taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from math import exp
from zoneinfo import ZoneInfo

from serving.times import US, from_us

#: How far apart, in hours, two visits still speak of the same time of day.
HOURS_APART = 2.0
#: What a visit on the other kind of day (weekday, weekend) counts for.
OTHER_DAY = 0.5
HALF_LIFE_S = 180 * 86_400.0
#: For how many visits what is usual may count; which one is learned, and until then it is PRIOR_VISITS.
STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
PRIOR_VISITS = 3.0
#: From so many visits on that were foretold by earlier ones of their customer.
ENOUGH = 200
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Usual:
    """What is usual of all customers: how often somebody is home, and for how many visits of one's own that counts."""

    share: float = USUAL_SHARE
    counts_for: float = PRIOR_VISITS


NOTHING_KNOWN = Usual()


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """Visits of one customer as they count for an hour: how many, and how many of them found somebody."""

    found: float
    weight: float

    def share(self, usual: Usual) -> float:
        """Chance that somebody is home."""
        return (usual.counts_for * usual.share + self.found) / (usual.counts_for + self.weight)

    def losses(self, share: float, home: bool) -> dict[float, float]:
        """How far each strength of what is usual was off, squared."""
        return {each: (self.share(Usual(share=share, counts_for=each)) - home) ** 2 for each in STRENGTHS}


def own_visits(visits: Iterable[Visit], at_us: int, as_of_us: int, zone: tzinfo) -> Own:
    """The visits that were known at ``as_of_us``, as they count at ``at_us``."""
    at, found, weight = from_us(at_us, zone), 0.0, 0.0
    for visit in visits:
        if visit.at_us <= as_of_us:
            counts = _likeness(from_us(visit.at_us, zone), at)
            counts *= 0.5 ** ((as_of_us - visit.at_us) / US / HALF_LIFE_S)
            found, weight = found + counts * visit.home, weight + counts
    return Own(found=found, weight=weight)


def home_share(
    visits: Iterable[Visit], at_us: int, as_of_us: int, zone: ZoneInfo, usual: Usual = NOTHING_KNOWN
) -> HomeShare:
    """Chance of finding somebody at ``at_us``, from visits that were known at ``as_of_us``."""
    own = own_visits(visits, at_us, as_of_us, zone)
    return HomeShare(share=own.share(usual), visits=own.weight)


def best_strength(losses: Mapping[float, float], visits: int) -> float:
    """For how many visits what is usual counts, from the losses of each strength over so many visits."""
    return min(losses, key=lambda each: losses[each]) if visits >= ENOUGH else PRIOR_VISITS


def usual_share(visits: Sequence[Visit]) -> float:
    """What is usual of all customers: the share of all visits that found somebody."""
    return sum(visit.home for visit in visits) / len(visits) if visits else USUAL_SHARE


def best_hours(
    visits: Sequence[Visit],
    day: datetime,
    as_of_us: int,
    zone: ZoneInfo,
    usual: Usual = NOTHING_KNOWN,
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
