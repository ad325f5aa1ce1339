"""How one stop event moves a route on, and what it teaches."""

from __future__ import annotations

from data_contracts.record import Record
from features.local_time import local_time
from features.observations import (
    DEPARTURE,
    LONGEST_US,
    SERVICE,
    TRAVEL,
    Observation,
    area_hour_key,
    link_key,
    log_ratio,
    pair_hour_key,
    pair_key,
    ratio,
    reference_service_us,
    site_hour_key,
)
from features.routes import AT_STOP, DRIVING, Route, StopPlan, leg, service_class


def follow(route: Route, record: Record) -> list[Observation]:
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
    reference_us, _ = leg(stop, progress.left_position, progress.left_sequence)
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
