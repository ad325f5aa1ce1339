"""The alert rules: pure functions of what is known at an instant, each of which says how strongly and why.

A strength of 1 fires. What a rule cannot know (a feed that is missing) never fires.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from serving.decisions.alerts import AlertPolicy, Bars, Kind, Rule, Signal
from serving.times import US


class Told(StrEnum):
    """Why a rule fires or does not."""

    NOTHING_PROMISED = "NOTHING_PROMISED"
    LATE_LIKELY = "LATE_LIKELY"
    EARLIEST_IS_LATE = "EARLIEST_IS_LATE"
    PROMISE_PAST = "PROMISE_PAST"
    NO_PING = "NO_PING"
    NOT_MOVING = "NOT_MOVING"
    DEPARTURE_OVERDUE = "DEPARTURE_OVERDUE"
    SORTING_BEHIND = "SORTING_BEHIND"
    SLOWER_THAN_AREA = "SLOWER_THAN_AREA"
    SEVERE_NOW = "SEVERE_NOW"
    SEVERE_AHEAD = "SEVERE_AHEAD"
    NO_FEED = "NO_FEED"
    ORDINARY = "ORDINARY"


@dataclass(frozen=True, slots=True, kw_only=True)
class RulePolicy:
    """When routes, depots, zones and areas are worth an alert.

    every_s : log time between two looks at them
    stuck_s : how long a vehicle must have been under way, or at one door, to be stuck
    slowed_below : speed of a zone as a share of the median of its area's zones
    rain_mm, snow_cm, wind_mps : of an hour, severe by itself; stormy_* are severe together
    ahead_hours : how far forecasts are looked at
    """

    every_s: float = 60.0
    silent_s: float = 1200.0
    stuck_s: float = 1500.0
    not_departed_s: float = 1800.0
    sort_delay_s: float = 1000.0
    slowed_below: float = 0.6
    slowed_incidents: int = 1
    rain_mm: float = 8.0
    snow_cm: float = 4.0
    wind_mps: float = 18.0
    stormy_rain_mm: float = 4.0
    stormy_wind_mps: float = 10.0
    ahead_hours: int = 1
    feed_fresh_s: float = 3600.0
    hold_s: float = 0.0
    clear_s: float = 900.0

    @property
    def bars(self) -> Bars:
        return Bars(open_at=1.0, close_below=0.9, hold_s=self.hold_s, clear_s=self.clear_s)


@dataclass(frozen=True, slots=True)
class Finding:
    """How strongly a rule fires, and why."""

    strength: float
    told: Told


# --- stops --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class StopNow:
    """What is known of a promised stop that is not reached yet; times in microseconds.

    late_probability : None where nothing was promised
    expected_late_s : past the promise's end
    """

    as_of_us: int
    promise_end_us: int | None
    late_probability: float | None
    expected_late_s: float = 0.0


def late_risk(stop: StopNow) -> Finding:
    """How likely the stop is reached after the end of what was first promised."""
    if stop.late_probability is None:
        return Finding(0.0, Told.NOTHING_PROMISED)
    return Finding(stop.late_probability, Told.LATE_LIKELY)


def is_impossible(stop: StopNow, quantile: float) -> bool:
    """Whether even an early arrival comes too late."""
    return stop.late_probability is not None and stop.late_probability >= quantile


def is_broken(stop: StopNow) -> bool:
    """Whether the promise ended and nobody came."""
    return stop.promise_end_us is not None and stop.as_of_us > stop.promise_end_us


def strongest(stop: StopNow, impossible_quantile: float) -> tuple[Rule, Finding]:
    """The strongest rule that fires on a stop; late risk where none does."""
    if is_broken(stop):
        return Rule.WINDOW_BROKEN, Finding(1.0, Told.PROMISE_PAST)
    if is_impossible(stop, impossible_quantile):
        return Rule.PROMISE_IMPOSSIBLE, Finding(late_risk(stop).strength, Told.EARLIEST_IS_LATE)
    return Rule.LATE_RISK, late_risk(stop)


def stop_signal(
    stop_id: str, route_id: str, stop: StopNow, service_level: str | None, policy: AlertPolicy
) -> Signal:
    """What the rules of a stop say of it now."""
    rule, finding = strongest(stop, policy.impossible_quantile)
    end_us = stop.promise_end_us
    lead_s = float("inf") if end_us is None else (end_us - stop.as_of_us) / US
    return Signal(
        kind=Kind.STOP,
        subject_id=stop_id,
        rule=rule,
        as_of_us=stop.as_of_us,
        strength=finding.strength,
        bars=policy.bars(service_level),
        late_s=stop.expected_late_s,
        told=finding.told.value,
        route_id=route_id,
        actionable=rule is Rule.WINDOW_BROKEN or lead_s >= policy.least_lead_s,
        early=rule is Rule.LATE_RISK and policy.most_lead_s is not None and lead_s > policy.most_lead_s,
    )


# --- routes -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteNow:
    """What is known of a route that still has stops to reach.

    pinged_us : when its vehicle was last heard of, None where it never was
    moving_share : share of the vehicle's pings of a quarter of an hour that moved
    away_s : since when it has been out, or at the same door
    """

    as_of_us: int
    departed: bool
    planned_departure_us: int | None
    pinged_us: int | None
    moving_share: float | None
    away_s: float


def vehicle_silent(route: RouteNow, policy: RulePolicy) -> Finding:
    """Nothing was heard of a vehicle on the road for a while; one that never spoke is not missed."""
    if not route.departed or route.pinged_us is None:
        return Finding(0.0, Told.NO_FEED if route.departed else Told.ORDINARY)
    return Finding((route.as_of_us - route.pinged_us) / US / policy.silent_s, Told.NO_PING)


def vehicle_stuck(route: RouteNow, policy: RulePolicy) -> Finding:
    """A vehicle that is heard of but has not moved for a quarter of an hour."""
    heard = route.pinged_us is not None and route.as_of_us - route.pinged_us < 300 * US
    if not route.departed or not heard or route.moving_share is None:
        return Finding(0.0, Told.ORDINARY if heard else Told.NO_FEED)
    stuck = route.moving_share <= 0.0 and route.away_s >= policy.stuck_s
    return Finding(float(stuck), Told.NOT_MOVING if stuck else Told.ORDINARY)


def depot_not_departed(route: RouteNow, policy: RulePolicy) -> Finding:
    """A route that should have left the depot by now."""
    if route.departed or route.planned_departure_us is None:
        return Finding(0.0, Told.ORDINARY)
    overdue_s = (route.as_of_us - route.planned_departure_us) / US
    return Finding(max(0.0, overdue_s / policy.not_departed_s), Told.DEPARTURE_OVERDUE)


RouteRule = Callable[[RouteNow, RulePolicy], Finding]
ROUTE_RULES: dict[Rule, RouteRule] = {
    Rule.VEHICLE_SILENT: vehicle_silent,
    Rule.VEHICLE_STUCK: vehicle_stuck,
    Rule.DEPOT_NOT_DEPARTED: depot_not_departed,
}


# --- depots, zones and areas --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class DepotNow:
    """How far a depot's sorting is behind its plan, and how old that message is."""

    sort_delay_s: float
    age_s: float


def depot_behind(depot: DepotNow, policy: RulePolicy) -> Finding:
    """Sorting is so far behind that routes will leave late."""
    if depot.age_s > policy.feed_fresh_s:
        return Finding(0.0, Told.NO_FEED)
    return Finding(max(0.0, depot.sort_delay_s / policy.sort_delay_s), Told.SORTING_BEHIND)


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneNow:
    """Speed of a zone and of its area's median zone as shares of free flow, and the incidents reported."""

    flow: float
    usual_flow: float
    incidents: int
    age_s: float


def zone_slowed(zone: ZoneNow, policy: RulePolicy) -> Finding:
    """A zone far slower than the rest of its area, with an incident reported in it."""
    if zone.age_s > policy.feed_fresh_s:
        return Finding(0.0, Told.NO_FEED)
    if zone.incidents < policy.slowed_incidents or zone.usual_flow <= 0:
        return Finding(0.0, Told.ORDINARY)
    slower = (1 - zone.flow / zone.usual_flow) / (1 - policy.slowed_below)
    return Finding(max(0.0, slower), Told.SLOWER_THAN_AREA)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sky:
    """Weather of one hour: observed, or forecast."""

    rain_mm: float
    snow_cm: float
    wind_mps: float


def severe_weather(hours: tuple[Sky | None, ...], policy: RulePolicy) -> Finding:
    """Weather that slows a whole area, in this hour (the first) or one that is ahead."""
    if not any(hours):
        return Finding(0.0, Told.NO_FEED)
    strengths = [0.0 if sky is None else _severity(sky, policy) for sky in hours]
    worst = max(strengths)
    if worst < 1.0:
        return Finding(worst, Told.ORDINARY)
    return Finding(worst, Told.SEVERE_NOW if strengths[0] >= 1.0 else Told.SEVERE_AHEAD)


def _severity(sky: Sky, policy: RulePolicy) -> float:
    """1 for weather that slows a whole area: much of one thing, or rain with wind."""
    storm = min(sky.rain_mm / policy.stormy_rain_mm, sky.wind_mps / policy.stormy_wind_mps)
    alone = sky.rain_mm / policy.rain_mm, sky.snow_cm / policy.snow_cm, sky.wind_mps / policy.wind_mps
    return max(storm, *alone, 0.0)
