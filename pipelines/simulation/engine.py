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
from pipelines.simulation.state import Outcome, State
from pipelines.simulation.streets import NEVER_S
from pipelines.simulation.world import World


@dataclass(frozen=True, slots=True)
class Move:
    """A stop that got a new place in its route, in a single day."""

    at_s: float
    stop: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Revision:
    """Stops whose plan a review changed, with the new plan; each array is (stops,)."""

    at_s: float
    version: int
    stop: Array
    route: Array
    sequence: Array
    arrival_s: Array
    travel_s: Array


@dataclass(slots=True)
class Run:
    """Days that are simulated side by side, and what only a single day keeps for its messages.

    promised_s : (2, stops) start and end of the window first told, nan where none has been
    """

    world: World
    plan: Plan
    draws: Draws
    conditions: Conditions
    state: State
    promised_s: Array
    moves: list[Move] = field(default_factory=list)
    revisions: list[Revision] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.resume()

    def resume(self) -> None:
        """Works out again, by the conditions as they are, what is under way or still to leave."""
        state, plan = self.state, self.plan
        start_s = plan.departure_s + self.conditions.sort_delay_s[:, plan.route_depot] + self.loading_s()
        gone = state.departed_s < state.now_s
        state.departed_s = np.where(gone, state.departed_s, np.maximum(start_s, state.now_s))
        day, route = np.nonzero(state.under_way >= 0)
        place = state.under_way[day, route]
        open_ = state.done_s[day, place] >= state.now_s
        day, route, place = day[open_], route[open_], place[open_]
        driving = state.arrived_s[day, place] >= state.now_s
        _drive(self, day[driving], route[driving], place[driving])
        _serve(self, day, route, place)

    def loading_s(self) -> Array:
        p = self.world.parameters.depot
        return p.loading_s * lognormal(self.draws.loading, p.loading_sd)


def drive_until(run: Run, until_s: float) -> None:
    """Begins every visit that begins before ``until_s``, and drops stops that are cancelled before."""
    state, stops = run.state, run.plan.stops
    free_s = state.free_s(run.plan).T.ravel()
    lane = np.flatnonzero(free_s < until_s)
    while lane.size:
        free_s[lane] = _begin(run, lane, free_s[lane])
        lane = lane[free_s[lane] < until_s]
    cancelled_s = run.draws.cancelled_s[:, :stops]
    dropped = state.waiting() & (cancelled_s < until_s)
    state.outcome[:, :stops][dropped] = Outcome.SKIPPED
    state.done_s[:, :stops][dropped] = cancelled_s[dropped]
    state.now_s = max(state.now_s, until_s)


def leg_parts(run: Run, day: Array, route: Array, place: Array) -> tuple[Array, Array, Array, Array]:
    """Lanes of the two halves of the leg to a place, and the work of each half."""
    world, plan = run.world, run.plan
    before = run.state.came_from[day, place]
    half_m = leg_m(world.parameters, plan.place_x_m, plan.place_y_m, before, place) / 2
    half_m = half_m * run.draws.leg[day, place] / plan.route_pace[route]
    rates = run.conditions.rates
    out_lane, out_work = leg_work(world, rates, day, route, plan.place_zone[before], half_m)
    in_lane, in_work = leg_work(world, rates, day, route, plan.place_zone[place], half_m)
    return out_lane, out_work, in_lane, in_work


def _begin(run: Run, lane: Array, free_s: Array) -> Array:
    """Begins the next visit of some vehicles, and gives when each is free again.

    ``lane`` : route times days plus day, so that what lies side by side is asked for together.
    """
    state = run.state
    route, day = np.divmod(lane, run.draws.days)
    at = state.at[day, route]
    place = state.order[day, route, at]
    state.at[day, route] = at + 1
    next_s = free_s.copy()
    kept = run.draws.cancelled_s[day, place] > free_s
    if not kept.all():
        gone = ~kept
        state.outcome[day[gone], place[gone]] = Outcome.SKIPPED
        state.done_s[day[gone], place[gone]] = run.draws.cancelled_s[day[gone], place[gone]]
        day, route, place, at, free_s = (a[kept] for a in (day, route, place, at, free_s))
    place = _swapped(run, day, route, place, at, free_s)
    before = state.under_way[day, route]
    state.came_from[day, place] = np.where(before < 0, run.plan.depot_place(route), before)
    state.left_s[day, place], state.under_way[day, route] = free_s, place
    state.route[day, place] = route
    arrived_s = _drive(run, day, route, place)
    slip_s = arrived_s - run.plan.place_arrival_s[place]
    state.slip_s[day, route] = np.where(np.isnan(slip_s), state.slip_s[day, route], slip_s)
    next_s[kept] = _serve(run, day, route, place)
    next_s[kept] = np.where(place < run.plan.stops, next_s[kept], NEVER_S)
    return next_s


def _swapped(run: Run, day: Array, route: Array, place: Array, at: Array, free_s: Array) -> Array:
    """The place to go to: now and then a courier takes the next but one first."""
    state = run.state
    wants = run.draws.swap[day, route, at] < run.world.parameters.dispatch.swapped_share
    some = np.flatnonzero(wants)
    some = some[(at[some] + 2 < state.end[day[some], route[some]]) & (place[some] < run.plan.stops)]
    d, r, a = day[some], route[some], at[some]
    other = state.order[d, r, a + 1]
    keep = run.draws.cancelled_s[d, other] > free_s[some]
    some, d, r, a, other = some[keep], d[keep], r[keep], a[keep], other[keep]
    if not some.size:
        return place
    state.order[d, r, a], state.order[d, r, a + 1] = other, place[some]
    if run.draws.days == 1:
        for first, second, sequence, at_s in zip(other, place[some], a + 1, free_s[some], strict=True):
            run.moves.append(Move(float(at_s), int(first), int(sequence)))
            run.moves.append(Move(float(at_s), int(second), int(sequence) + 1))
    place = place.copy()
    place[some] = other
    return place


def _drive(run: Run, day: Array, route: Array, place: Array) -> Array:
    """Works out legs that have begun, and gives when each arrives."""
    state, c = run.state, run.conditions
    out_lane, out_work, in_lane, in_work = leg_parts(run, day, route, place)
    pause = c.stop_s[day, route], c.resume_s[day, route]
    middle_s = c.rates.finish_s(out_lane, state.left_s[day, place], out_work, *pause)
    arrived_s = c.rates.finish_s(in_lane, middle_s, in_work, *pause)
    state.middle_s[day, place], state.arrived_s[day, place] = middle_s, arrived_s
    return arrived_s


def _serve(run: Run, day: Array, route: Array, place: Array) -> Array:
    """Works out what follows an arrival, and gives when the vehicle is free; nothing follows at a depot."""
    state, c, plan, p = run.state, run.conditions, run.plan, run.world.parameters
    done_s = state.arrived_s[day, place]
    at_door = np.flatnonzero(place < plan.stops)
    d, r, s = day[at_door], route[at_door], place[at_door]
    home = run.draws.home[d, s] < plan.home_share[s]
    work = plan.door_s[s] * plan.route_service[r] * lognormal(run.draws.service[d, s], p.service.noise_sd)
    work *= np.where(home, 1.0, p.people.failed_service_share)
    doors = c.rates.lane(d, c.rates.doors)
    done_s[at_door] = c.rates.finish_s(doors, done_s[at_door], work, c.stop_s[d, r], c.resume_s[d, r])
    state.outcome[d, s] = np.where(home, Outcome.COMPLETED, Outcome.FAILED)
    state.done_s[day, place] = done_s
    return done_s
