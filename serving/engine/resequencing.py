"""Another order of a route's remaining stops: PyVRP proposes, by the drives that the forecast implies.

The stop that the courier is on the way to stays first. Deadlines that nobody can keep any more do not bind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from features.observations import distance_m, reference_service_us, reference_travel_us
from features.routes import Route, StopPlan
from serving.times import US

SEED = 7
ITERATIONS = 120
#: Solved orders end at a depot that costs nothing to reach.
FREE = 0
#: Later than any day ends.
FAR_S = 10_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is left of a route after the stop that comes next.

    start : that stop; free_s : seconds until it is served
    deadline_s : of each later stop, seconds from now, None where nothing was promised
    slowness : how much longer drives and doors take than their references
    """

    start: StopPlan
    free_s: float
    stops: Sequence[StopPlan]
    deadline_s: Sequence[float | None]
    slowness: float


def solve(task: Task, margin_s: float = 0.0, iterations: int = ITERATIONS) -> list[str]:
    """Stop ids in an order that keeps as many deadlines as PyVRP can; ``margin_s`` earlier than promised.

    The same task gives the same order: iterations are counted, not seconds.
    """
    from pyvrp import Model
    from pyvrp.stop import MaxIterations

    model = Model()
    nodes = [task.start, *task.stops]
    places = [model.add_location(0.0, 0.0) for _ in nodes]
    depot = model.add_depot(places[0])
    for node, deadline_s, place in zip(task.stops, task.deadline_s, places[1:], strict=True):
        at_best_s = task.free_s + drive_s(task.start, node, task.slowness)
        binds = deadline_s is not None and deadline_s > at_best_s
        latest_s = max(1, int((deadline_s or 0.0) - margin_s)) if binds else FAR_S
        model.add_client(place, service_duration=int(door_s(node, task.slowness)), tw_late=latest_s)
    model.add_vehicle_type(
        1,
        start_depot=depot,
        end_depot=depot,
        tw_early=max(0, int(task.free_s)),
        start_late=max(0, int(task.free_s)),
        unit_distance_cost=0,
        unit_duration_cost=1,
    )
    for row, origin in enumerate(nodes):
        for column, target in enumerate(nodes):
            if row != column:
                took_s = FREE if column == 0 else int(drive_s(origin, target, task.slowness))
                model.add_edge(places[row], places[column], took_s, took_s)
    best = model.solve(MaxIterations(iterations), seed=SEED, display=False).best
    visits = [str(visit) for route in best.routes() for visit in route]
    return [task.stops[int(name[1:])].stop_id for name in visits if name.startswith("C")]


def reordered(route: Route, stop_ids: Sequence[str]) -> Route:
    """A route as if its remaining stops had been planned in this order; those left out stay away.

    Planned arrivals follow from the first stop's own; legs that the plan does not know take their reference.
    """
    before = {late.stop_id: early.stop_id for early, late in _pairs(route.remaining())}
    planned: dict[str, StopPlan] = {}
    last: StopPlan | None = None
    for stop_id in stop_ids:
        stop = route.stops[stop_id]
        if last is not None:
            follows = before.get(stop_id) == last.stop_id
            stop = replace(
                stop,
                sequence=last.sequence + 1,
                planned_travel_s=stop.planned_travel_s if follows else None,
                planned_distance_m=stop.planned_distance_m if follows else None,
            )
            stop = replace(stop, planned_arrival_us=_planned_us(last, stop))
        planned[stop_id] = last = stop
    done = {stop_id: stop for stop_id, stop in route.stops.items() if stop_id in route.progress.visited}
    return replace(route, stops={**done, **planned})


def drive_s(origin: StopPlan, target: StopPlan, slowness: float = 1.0) -> float:
    """Seconds from one stop to another."""
    here, there = origin.position, target.position
    leg_m = None if here is None or there is None else distance_m(here, there)
    return slowness * reference_travel_us(None, leg_m) / US


def door_s(stop: StopPlan, slowness: float = 1.0) -> float:
    return slowness * reference_service_us(stop.planned_service_s) / US


def _planned_us(last: StopPlan, stop: StopPlan) -> int | None:
    if last.planned_arrival_us is None:
        return None
    leg_s = stop.planned_travel_s if stop.planned_travel_s is not None else drive_s(last, stop)
    return last.planned_arrival_us + int((door_s(last) + leg_s) * US)


def _pairs(stops: Sequence[StopPlan]) -> list[tuple[StopPlan, StopPlan]]:
    return list(pairwise(stops))
