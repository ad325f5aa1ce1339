"""How one stop event moves a route on, and what it teaches."""

from __future__ import annotations

from features.observations import (
    HALT_RATIO,
    HALT_US,
    LONGEST_DRIVE,
    LONGEST_US,
    Departure,
    Door,
    Drive,
    Observation,
    door,
    drive,
    reference_service_us,
)
from features.routes import (
    AT_STOP,
    BEFORE_DEPARTURE,
    DRIVING,
    Route,
    StopEvent,
    StopPlan,
    leg_reference_us,
    service_class,
)


def follow(route: Route, event: StopEvent, seq: int, received_us: int) -> Observation | None:
    """Move a route on by one stop event; give what it teaches, known as record ``seq``."""
    progress = route.progress
    _, stop_id, kind, happened_us, sequence = event
    progress.known_us = received_us
    progress.lag_us = received_us - happened_us
    if kind == "departed_depot":
        return _depart(route, seq, received_us, happened_us)
    stop = route.stops.get(stop_id or "")
    if stop is None:
        return None
    if kind == "arrived":
        return _arrive(route, stop, seq, received_us, happened_us)
    if kind == "resequenced":
        _resequence(stop, sequence, happened_us)
        return None
    if kind == "withdrawn":
        _withdraw(route, stop)
        return None
    if kind == "skipped":
        progress.closed.setdefault(stop.stop_id, kind)
        return None
    return _leave(route, stop, seq, received_us, happened_us, kind)


def _resequence(stop: StopPlan, sequence: int | None, happened_us: int) -> None:
    if sequence is not None and happened_us >= stop.sequenced_us:
        stop.sequence, stop.sequenced_us = sequence, happened_us


def _withdraw(route: Route, stop: StopPlan) -> None:
    """Take back what was told of a stop: it lies ahead again. What it taught stays taught."""
    progress = route.progress
    progress.visited.pop(stop.stop_id, None)
    progress.closed.pop(stop.stop_id, None)
    if progress.at_stop_id == stop.stop_id:
        left_us = progress.left_at_us
        progress.at_stop_id = None
        progress.phase = BEFORE_DEPARTURE if left_us is None else DRIVING
        progress.phase_since_us = left_us or 0


def _depart(route: Route, seq: int, received_us: int, happened_us: int) -> Departure | None:
    """Only the first departure teaches; a later one moves the route, unless it is already known to be further."""
    progress, again = route.progress, route.progress.departed
    progress.departed = True
    if happened_us >= progress.phase_since_us:
        progress.phase, progress.phase_since_us, progress.at_stop_id = DRIVING, happened_us, None
        progress.left_zone_id, progress.left_position = route.origin_zone_id, route.origin_position
        progress.left_at_us, progress.left_sequence = happened_us, 0
    if again or route.planned_departure_us is None:
        return None
    progress.depot_slip_us = happened_us - route.planned_departure_us
    return Departure(seq, received_us, progress.depot_slip_us, route.depot_id)


def _arrive(route: Route, stop: StopPlan, seq: int, received_us: int, happened_us: int) -> Drive | None:
    progress = route.progress
    if stop.stop_id in progress.visited:
        return None
    progress.visited[stop.stop_id] = happened_us
    if stop.stop_id in progress.closed or happened_us < progress.phase_since_us:
        return None
    was_driving = progress.phase == DRIVING
    progress.phase, progress.phase_since_us, progress.at_stop_id = AT_STOP, happened_us, stop.stop_id
    left_at_us, left_zone_id = progress.left_at_us, progress.left_zone_id
    if not was_driving or left_at_us is None or left_zone_id is None:
        return None
    actual_us = happened_us - left_at_us
    reference_us = leg_reference_us(stop, progress.left_position, progress.left_sequence)
    longest_us = max(LONGEST_US, LONGEST_DRIVE * reference_us)
    if not 0 < actual_us <= longest_us or _was_passed_over(route, stop):
        return None
    if _was_halt(actual_us, reference_us):
        progress.halt_us += actual_us - reference_us
    else:
        progress.travel_slip_us += actual_us - reference_us
    return drive(
        (
            seq,
            received_us,
            left_at_us,
            actual_us,
            reference_us,
            left_zone_id,
            stop.zone_id,
            route.area_id,
            route.timezone,
            route.courier_id,
            route.route_id,
            service_class(route, stop),
        )
    )


def _was_halt(actual_us: int, reference_us: int) -> bool:
    return actual_us > HALT_RATIO * reference_us and actual_us > reference_us + HALT_US


def _was_passed_over(route: Route, stop: StopPlan) -> bool:
    """Whether a stop that should lie between the last one left and this one has not been heard of."""
    done = route.progress
    if stop.sequence <= done.left_sequence + 1:
        return False
    return any(
        done.left_sequence < other.sequence < stop.sequence
        and other.stop_id not in done.visited
        and other.stop_id not in done.closed
        for other in route.stops.values()
    )


def _leave(
    route: Route, stop: StopPlan, seq: int, received_us: int, happened_us: int, kind: str
) -> Door | None:
    progress = route.progress
    if progress.closed.get(stop.stop_id) in ("completed", "failed"):
        return None
    arrived_us = progress.visited.get(stop.stop_id)
    progress.visited.setdefault(stop.stop_id, happened_us)
    progress.closed[stop.stop_id] = kind
    if progress.left_at_us is not None and progress.left_at_us > happened_us:
        return None
    if happened_us >= progress.phase_since_us or progress.at_stop_id == stop.stop_id:
        progress.phase, progress.phase_since_us, progress.at_stop_id = DRIVING, happened_us, None
    progress.left_zone_id, progress.left_position = stop.zone_id, stop.position
    progress.left_at_us, progress.left_sequence = happened_us, stop.sequence
    if arrived_us is None or not 0 <= (actual_us := happened_us - arrived_us) <= LONGEST_US:
        return None
    reference_us = reference_service_us(stop.planned_service_s)
    if _was_halt(actual_us, reference_us):
        progress.halt_us += actual_us - reference_us
    else:
        progress.service_slip_us += actual_us - reference_us
    return door(
        (
            seq,
            received_us,
            happened_us,
            actual_us,
            reference_us,
            stop.site_id,
            route.area_id,
            route.timezone,
            route.courier_id,
            route.route_id,
        )
    )
