"""The physics of a day: vehicles leave, drive and serve; the same functions for one day and for hundreds.

A visit (drive, then serve) is worked out when it begins. What has happened by now never changes; other rates
from now on only change what is still to come.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pipelines.simulation.conditions import Conditions
from pipelines.simulation.draws import Draws
from pipelines.simulation.noise import Array, lognormal
from pipelines.simulation.plan import Plan, leg_m, leg_work
from pipelines.simulation.state import State
from pipelines.simulation.truth import Outcome
from pipelines.simulation.world import World


@dataclass(frozen=True, slots=True)
class Move:
    """A stop that got a new place in its route, in a single day."""

    at_s: float
    stop: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Revision:
    """Stops whose plan was changed by a review: those that now stand in ``route`` from ``first`` on."""

    at_s: float
    version: int
    route: int
    stops: tuple[int, ...]
    first: int


@dataclass(slots=True)
class Run:
    """Days that are simulated side by side, and what only a single day keeps for its messages."""

    world: World
    plan: Plan
    draws: Draws
    conditions: Conditions
    state: State
    moves: list[Move] = field(default_factory=list)
    revisions: list[Revision] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.resume()

    def resume(self) -> None:
        """Works out again, by the conditions as they are, what is under way or still to leave."""
        state = self.state
        start_s = (
            self.plan.departure_s + self.conditions.sort_delay_s[:, self.plan.route_depot] + self.loading_s()
        )
        gone = state.departed_s < state.now_s
        state.departed_s = np.where(gone, state.departed_s, np.maximum(start_s, state.now_s))
        day, route = np.nonzero(state.under_way >= 0)
        place = state.under_way[day, route]
        open_ = state.done_s[day, place] >= state.now_s
        _drive_and_serve(self, day[open_], route[open_], place[open_])

    def loading_s(self) -> Array:
        p = self.world.parameters.depot
        return p.loading_s * lognormal(self.draws.loading, p.loading_sd)


def drive_until(run: Run, until_s: float) -> None:
    """Begins every visit that begins before ``until_s``, and drops stops that are cancelled before."""
    state, stops = run.state, run.plan.stops
    while True:
        free_s = state.free_s(run.plan)
        day, route = np.nonzero(free_s < until_s)
        if not day.size:
            break
        _begin(run, day, route, free_s[day, route])
    dropped = state.waiting() & (run.draws.cancelled_s < until_s)
    state.outcome[:, :stops][dropped] = Outcome.SKIPPED
    state.done_s[:, :stops][dropped] = run.draws.cancelled_s[dropped]
    state.now_s = max(state.now_s, until_s)


def leg_parts(run: Run, day: Array, route: Array, place: Array) -> tuple[Array, Array, Array]:
    """Rows of the two halves of the leg to a place, flat over the days, and the work of each half."""
    world, plan, state = run.world, run.plan, run.state
    before = state.came_from[day, place]
    metres = leg_m(world.parameters, plan.place_x_m, plan.place_y_m, before, place)
    metres = metres * run.draws.leg[day, place] / courier_pace(world, plan, route)
    rates = run.conditions.rates
    out_row, work = leg_work(world, rates, route, plan.place_zone[before], metres / 2)
    in_row, _ = leg_work(world, rates, route, plan.place_zone[place], metres / 2)
    return day * rates.rows + out_row, day * rates.rows + in_row, work


def courier_pace(world: World, plan: Plan, route: Array) -> Array:
    courier = plan.route_courier[route]
    return np.where(courier < 0, 1.0, world.courier_pace[courier])


def usual_service_s(world: World, plan: Plan, route: Array, stop: Array) -> Array:
    """Seconds of work that a completed visit takes here with this courier, before chance."""
    courier = plan.route_courier[route]
    habit = np.where(courier < 0, 1.0, world.courier_service[courier]) * world.vehicle_service[route]
    return plan.orders.usual_service_s[stop] * world.site_service[plan.orders.site[stop]] * habit


def home_share(world: World, plan: Plan, stop: Array) -> Array:
    people = world.parameters.people
    evening = plan.arrival_s[stop] > 15 * 3600
    return world.site_home_share[plan.orders.site[stop]] + people.evening_home_gain * evening


def _begin(run: Run, day: Array, route: Array, free_s: Array) -> None:
    state = run.state
    at = state.at[day, route]
    place = state.order[day, route, at]
    state.at[day, route] = at + 1
    gone = _dropped(run, day, place, free_s)
    state.outcome[day[gone], place[gone]] = Outcome.SKIPPED
    cancelled_s = run.draws.cancelled_s[day[gone], place[gone]]
    state.done_s[day[gone], place[gone]] = np.minimum(state.done_s[day[gone], place[gone]], cancelled_s)
    day, route, place, at, free_s = (a[~gone] for a in (day, route, place, at, free_s))
    place = _swapped(run, day, route, place, at, free_s)
    before = state.under_way[day, route]
    state.came_from[day, place] = np.where(before < 0, run.plan.depot_place(route), before)
    state.left_s[day, place], state.under_way[day, route] = free_s, place
    state.route[day, place] = route
    _drive_and_serve(run, day, route, place)
    planned = place < run.plan.planned
    day, route, place = day[planned], route[planned], place[planned]
    state.slip_s[day, route] = state.arrived_s[day, place] - run.plan.arrival_s[place]


def _dropped(run: Run, day: Array, place: Array, at_s: Array) -> Array:
    """Which places are stops that have been dropped, or are cancelled by now."""
    is_stop = place < run.plan.stops
    stop = np.where(is_stop, place, 0)
    cancelled = run.draws.cancelled_s[day, stop] <= at_s
    return is_stop & (cancelled | (run.state.outcome[day, stop] == Outcome.SKIPPED))


def _swapped(run: Run, day: Array, route: Array, place: Array, at: Array, free_s: Array) -> Array:
    """The place to go to: now and then a courier takes the next but one first."""
    state = run.state
    wants = run.draws.swap[day, route, at] < run.world.parameters.dispatch.swapped_share
    some = np.flatnonzero(wants & (at + 2 < state.end[day, route]) & (place < run.plan.stops))
    if not some.size:
        return place
    d, r, a = day[some], route[some], at[some]
    other = state.order[d, r, a + 1]
    keep = ~_dropped(run, d, other, free_s[some])
    some, d, r, a, other = some[keep], d[keep], r[keep], a[keep], other[keep]
    state.order[d, r, a], state.order[d, r, a + 1] = other, place[some]
    if run.draws.days == 1:
        for first, second, sequence, at_s in zip(other, place[some], a + 1, free_s[some], strict=True):
            run.moves.append(Move(float(at_s), int(first), int(sequence)))
            run.moves.append(Move(float(at_s), int(second), int(sequence) + 1))
    place = place.copy()
    place[some] = other
    return place


def _drive_and_serve(run: Run, day: Array, route: Array, place: Array) -> None:
    state, c, plan = run.state, run.conditions, run.plan
    stop_s, resume_s = c.stop_s[day, route], c.resume_s[day, route]
    driving = ~(state.arrived_s[day, place] < state.now_s)
    d, r, p = day[driving], route[driving], place[driving]
    out_lane, in_lane, work = leg_parts(run, d, r, p)
    pause = stop_s[driving], resume_s[driving]
    middle_s = c.rates.finish_s(out_lane, state.left_s[d, p], work, *pause)
    state.middle_s[d, p] = middle_s
    state.arrived_s[d, p] = state.done_s[d, p] = c.rates.finish_s(in_lane, middle_s, work, *pause)
    at_door = place < plan.stops
    d, r, p = day[at_door], route[at_door], place[at_door]
    home = run.draws.home[d, p] < home_share(run.world, plan, p)
    state.outcome[d, p] = np.where(home, Outcome.COMPLETED, Outcome.FAILED)
    work = usual_service_s(run.world, plan, r, p) * np.where(
        home, 1.0, run.world.parameters.people.failed_service_share
    )
    work = work * lognormal(run.draws.service[d, p], run.world.parameters.service.noise_sd)
    doors = d * c.rates.rows + c.rates.doors
    state.done_s[d, p] = c.rates.finish_s(
        doors, state.arrived_s[d, p], work, stop_s[at_door], resume_s[at_door]
    )
