"""What the rules of routes, depots, zones and areas see: signals from the features' state at an instant."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from features.live import LiveFeatures
from features.observations import area_valid_hour_key
from features.online import NOT_KNOWN_US
from features.route_book import RouteBook
from features.routes import Route, StopPlan
from features.views import DEPOT_STATE, VEHICLE_MOTION, WEATHER_NOW, WEATHER_THEN, ZONE_TRAFFIC, View
from serving.decisions.alerts import Kind, Rule, Signal
from serving.decisions.grouping import Place, Zones
from serving.decisions.rules import (
    ROUTE_RULES,
    DepotNow,
    Finding,
    RouteNow,
    RulePolicy,
    Sky,
    ZoneNow,
    depot_behind,
    severe_weather,
    zone_slowed,
)
from serving.times import US

HOUR_US = 3600 * US
BEFORE_DEPARTURE = 0
LEFT_LATE_US = 600 * US


@dataclass(slots=True)
class Fleet:
    """The live routes of a round, and what belongs to them."""

    routes: list[Route]
    area_of_depot: dict[str, str]
    area_of_zone: dict[str, str]

    @classmethod
    def of(cls, book: RouteBook, route_ids: Sequence[str]) -> Fleet:
        known = [route for route_id in route_ids if (route := book.route(route_id)) is not None]
        found = [route for route in known if _is_out(route)]
        depots, zones = {}, {}
        for route in found:
            if route.depot_id:
                depots[route.depot_id] = route.area_id
            for stop in route.stops.values():
                zones[stop.zone_id] = route.area_id
        return cls(found, depots, zones)


def signals(features: LiveFeatures, fleet: Fleet, at_us: int, policy: RulePolicy) -> Iterator[Signal]:
    """What every rule but those of stops says now, in a fixed order."""
    yield from _areas(features, fleet, at_us, policy)
    yield from _depots(features, fleet, at_us, policy)
    yield from _zones(features, fleet, at_us, policy)
    yield from _routes(features, fleet, at_us, policy)


def place_of_stop(book: RouteBook, plan: StopPlan | None) -> Place:
    """Where a stop is, and the zones that lie before it."""
    route = book.route(plan.route_id) if plan else None
    if plan is None or route is None:
        return Place(stop_id=plan.stop_id if plan else None)
    before = [stop.zone_id for stop in route.remaining() if stop.sequence <= plan.sequence]
    return Place(
        stop_id=plan.stop_id,
        route_id=route.route_id,
        depot_id=route.depot_id,
        area_id=route.area_id,
        zone_ids=tuple(dict.fromkeys([*before, plan.zone_id])),
        position=plan.position,
        left_late=left_late(route),
    )


def place_of(signal: Signal, fleet: Fleet) -> Place:
    """Where the subject of a signal that is no stop is."""
    match signal.kind:
        case Kind.AREA:
            return Place(area_id=signal.subject_id)
        case Kind.DEPOT:
            return Place(depot_id=signal.subject_id, area_id=fleet.area_of_depot.get(signal.subject_id))
        case Kind.ZONE:
            return Place(zone_ids=(signal.subject_id,), area_id=fleet.area_of_zone.get(signal.subject_id))
        case _:
            route = next((r for r in fleet.routes if r.route_id == signal.subject_id), None)
            depot_id, area_id = (route.depot_id, route.area_id) if route else (None, None)
            return Place(route_id=signal.subject_id, depot_id=depot_id, area_id=area_id)


def left_late(route: Route) -> bool:
    """Whether a route has not left, or left its depot late."""
    return not route.progress.departed or route.progress.depot_slip_us >= LEFT_LATE_US


def centres(book: RouteBook, fleet: Fleet) -> Zones:
    """Where the stops of each zone lie on average."""
    seen: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for route in fleet.routes:
        for stop in route.stops.values():
            if stop.position is not None:
                seen[stop.zone_id].append(stop.position)
    return Zones(
        centres={
            zone_id: (sum(lat for lat, _ in at) / len(at), sum(lon for _, lon in at) / len(at))
            for zone_id, at in seen.items()
        }
    )


def _is_out(route: Route) -> bool:
    """Whether a route has a stop left to reach."""
    done = route.progress
    return route.planned and any(
        stop_id not in done.visited and stop_id not in done.closed for stop_id in route.stops
    )


def _is_near(route: Route, at_us: int) -> bool:
    """Whether a route is out, or leaves by an instant."""
    departs_us = route.planned_departure_us
    return route.progress.departed or departs_us is None or departs_us <= at_us


def _areas(features: LiveFeatures, fleet: Fleet, at_us: int, policy: RulePolicy) -> Iterator[Signal]:
    near_us = at_us + (policy.ahead_hours + 1) * HOUR_US
    for area_id in sorted({route.area_id for route in fleet.routes if _is_near(route, near_us)}):
        keys = [
            area_valid_hour_key(area_id, at_us + ahead * HOUR_US) for ahead in range(policy.ahead_hours + 1)
        ]
        hours = _known(features, WEATHER_THEN, keys, at_us)
        if hours[0] is None:
            hours[:1] = _known(features, WEATHER_NOW, [area_id], at_us)
        finding = severe_weather(tuple(_sky(hour) for hour in hours), policy)
        yield _signal(Kind.AREA, area_id, Rule.SEVERE_WEATHER, finding, at_us, policy)


def _depots(features: LiveFeatures, fleet: Fleet, at_us: int, policy: RulePolicy) -> Iterator[Signal]:
    waiting = {route.depot_id for route in fleet.routes if route.depot_id and not route.progress.departed}
    depot_ids = sorted(fleet.area_of_depot)
    for depot_id, known in zip(depot_ids, _known(features, DEPOT_STATE, depot_ids, at_us), strict=True):
        delay_s = known.values[1] if known and depot_id in waiting else 0.0
        now = DepotNow(sort_delay_s=delay_s, age_s=_age_s(known, at_us))
        yield _signal(Kind.DEPOT, depot_id, Rule.DEPOT_BEHIND, depot_behind(now, policy), at_us, policy)


def _zones(features: LiveFeatures, fleet: Fleet, at_us: int, policy: RulePolicy) -> Iterator[Signal]:
    zone_ids = sorted(fleet.area_of_zone)
    known = dict(zip(zone_ids, _known(features, ZONE_TRAFFIC, zone_ids, at_us), strict=True))
    flows: dict[str, list[float]] = defaultdict(list)
    for zone_id, latest in known.items():
        if latest is not None:
            flows[fleet.area_of_zone[zone_id]].append(1.0 - latest.values[0])
    usual = {area_id: median(of_area) for area_id, of_area in flows.items()}
    for zone_id, latest in known.items():
        if latest is None:
            continue
        now = ZoneNow(
            flow=1.0 - latest.values[0],
            usual_flow=usual[fleet.area_of_zone[zone_id]],
            incidents=int(latest.values[2]) if latest.values[2] == latest.values[2] else 0,
            age_s=_age_s(latest, at_us),
        )
        yield _signal(Kind.ZONE, zone_id, Rule.ZONE_SLOWED, zone_slowed(now, policy), at_us, policy)


def _routes(features: LiveFeatures, fleet: Fleet, at_us: int, policy: RulePolicy) -> Iterator[Signal]:
    vehicle_ids = [route.vehicle_id for route in fleet.routes]
    motions = _known(features, VEHICLE_MOTION, vehicle_ids, at_us)
    for route, motion in zip(fleet.routes, motions, strict=True):
        done = route.progress
        now = RouteNow(
            as_of_us=at_us,
            departed=done.departed or done.phase != BEFORE_DEPARTURE,
            planned_departure_us=route.planned_departure_us,
            pinged_us=motion.known_us if motion else None,
            moving_share=motion.values[4] if motion else None,
            away_s=(at_us - done.phase_since_us) / US,
        )
        for rule, judge in ROUTE_RULES.items():
            finding = judge(now, policy)
            yield _signal(Kind.ROUTE, route.route_id, rule, finding, at_us, policy, route.route_id)


def _signal(
    kind: Kind,
    subject_id: str,
    rule: Rule,
    finding: Finding,
    at_us: int,
    policy: RulePolicy,
    route_id: str | None = None,
) -> Signal:
    return Signal(
        kind=kind,
        subject_id=subject_id,
        rule=rule,
        as_of_us=at_us,
        strength=min(1.0, finding.strength),
        bars=policy.bars,
        told=finding.told.value,
        route_id=route_id,
    )


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of an entity, and since when."""

    known_us: int
    values: tuple[float, ...]


def _known(features: LiveFeatures, view: View, ids: Sequence[str | None], at_us: int) -> list[Known | None]:
    """The newest version of each entity, None where there is none that is not too old."""
    rows = features.read(view, ids, at_us)
    return [
        None if known_us == NOT_KNOWN_US else Known(known_us, tuple(values))
        for known_us, values in zip(rows.known_us.tolist(), rows.values.tolist(), strict=True)
    ]


def _age_s(known: Known | None, at_us: int) -> float:
    return float("inf") if known is None else (at_us - known.known_us) / US


def _sky(known: Known | None) -> Sky | None:
    if known is None:
        return None
    _, rain_mm, snow_cm, wind_mps = (0.0 if value != value else value for value in known.values)
    return Sky(rain_mm=rain_mm, snow_cm=snow_cm, wind_mps=wind_mps)
