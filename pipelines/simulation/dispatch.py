"""What the dispatcher does at a review: orders of the day join a route, and a route far behind hands stops over."""

from __future__ import annotations

import numpy as np

from pipelines.simulation.engine import Revision, Run, drive_until
from pipelines.simulation.noise import Array
from pipelines.simulation.plan import promise_s
from pipelines.simulation.state import Outcome

_FEWEST_LEFT = 3


def advance(run: Run, until_s: float) -> None:
    """Moves on to ``until_s``, with every review on the way; what happens exactly then is still to come."""
    for review, at_s in enumerate(run.plan.review_s):
        if run.state.now_s <= at_s < until_s:
            drive_until(run, at_s)
            _add_stops(run, review)
            _hand_over(run, review)
    drive_until(run, until_s)


def _add_stops(run: Run, review: int) -> None:
    """Where an order has come in, it goes to where it lengthens the rest of the route least."""
    state, plan, at_s = run.state, run.plan, float(run.plan.review_s[review])
    wanted = run.draws.add[:, review] < run.world.parameters.dispatch.added_share
    out = (
        (state.departed_s < at_s) & (state.end - state.at > _FEWEST_LEFT) & (state.end < plan.order_width - 1)
    )
    day, route = np.nonzero(wanted & out)
    if not day.size:
        return
    stop, order = plan.added_place(review, route), state.order[day, route]
    at, end, width = (
        state.at[day, route][:, None],
        state.end[day, route][:, None],
        np.arange(plan.order_width),
    )
    here = state.under_way[day, route]
    here = np.where(here < 0, plan.depot_place(route), here)
    before = np.where(width == at, here[:, None], np.roll(order, 1, axis=1))
    more_m = (
        _away_m(run, before, stop[:, None]) + _away_m(run, stop[:, None], order) - _away_m(run, before, order)
    )
    place = np.where((width >= at) & (width < end), more_m, np.inf).argmin(axis=1)[:, None]
    moved = np.where(width > place, np.roll(order, 1, axis=1), order)
    state.order[day, route] = np.where(width == place, stop[:, None], moved)
    state.end[day, route] += 1
    state.joined_s[day, stop] = at_s
    if run.draws.days == 1:
        _revise(run, review, 2 + 2 * review, dict(zip(route.tolist(), place[:, 0].tolist(), strict=True)))


def _hand_over(run: Run, review: int) -> None:
    """The vans that are furthest behind give their last stops to a neighbour that is not, if there is one."""
    p, every = run.world.parameters.dispatch, np.arange(run.draws.days)
    tried = np.zeros(run.state.at.shape, bool)
    helped: dict[int, int] = {}
    for _ in range(1 + run.plan.routes // p.routes_per_handover):
        giver, helper, day = _pairs(run, review, tried)
        tried[every, giver] = True
        giver = giver[day]
        _move(run.state.order, run.state.end, day, giver, helper, p.handover_stops)
        run.state.slip_s[day, giver] = p.helper_behind_s
        for route in helper.tolist() if run.draws.days == 1 else ():
            helped.setdefault(route, int(run.state.end[0, route]) - 1 - p.handover_stops)
    if helped:
        _revise(run, review, 3 + 2 * review, helped)


def _pairs(run: Run, review: int, tried: Array) -> tuple[Array, Array, Array]:
    """The van of each day that is furthest behind; of the days on which somebody can help, who; and these days."""
    state, plan, p = run.state, run.plan, run.world.parameters.dispatch
    every, left = np.arange(run.draws.days), state.end - state.at - 1
    may_give = run.world.on_road & (left >= 2 * p.handover_stops) & ~tried
    behind_s = np.where(may_give, state.slip_s, -np.inf)
    giver = behind_s.argmax(axis=1)
    near, day = plan.route_neighbours[giver], every[:, None]
    helps = (near >= 0) & (state.slip_s[day, near] < p.helper_behind_s) & (left[day, near] > 0)
    helps &= state.end[day, near] + p.handover_stops < plan.order_width
    helps &= state.departed_s[day, near] < plan.review_s[review]
    helper = near[every, np.where(helps, state.slip_s[day, near], np.inf).argmin(axis=1)]
    days = np.flatnonzero((behind_s[every, giver] > p.handover_behind_s) & helps.any(axis=1))
    return giver, helper[days], days


def _move(order: Array, end: Array, day: Array, giver: Array, helper: Array, count: int) -> None:
    day, giver, helper, each = day[:, None], giver[:, None], helper[:, None], np.arange(count)
    last, to = end[day, giver] - 1, end[day, helper] - 1
    depots = order[day, giver, last], order[day, helper, to]
    order[day, helper, to + each] = order[day, giver, last - count + each]
    order[day, giver, last - count], order[day, helper, to + count] = depots
    end[day, giver] -= count
    end[day, helper] += count


def _revise(run: Run, review: int, version: int, first_changed: dict[int, int]) -> None:
    """Plans the rest of some routes of a single day again, and tells of their stops from a place on."""
    state, plan, at_s = run.state, run.plan, float(run.plan.review_s[review])
    routes = np.array(list(first_changed))
    places = [np.arange(state.at[0, r], state.end[0, r] - 1) for r in routes]
    places = [
        place[state.outcome[0, state.order[0, r, place]] == Outcome.OPEN]
        for r, place in zip(routes, places, strict=True)
    ]
    tours = [state.order[0, r, place] for r, place in zip(routes, places, strict=True)]
    here = state.under_way[0, routes]
    at_door = (here >= 0) & (here < plan.stops)
    still_s = np.where(at_door, plan.service_s[np.where(at_door, here, 0)] / 2, 0.0)
    here = np.where(here < 0, plan.depot_place(routes), here)
    arrival_s, travel_s = plan.planner.times(routes, tours, here, at_s + still_s)
    place, stop = np.concatenate(places), np.concatenate(tours)
    route = np.repeat(routes, [len(tour) for tour in tours])
    state.route[0, stop] = route
    told = (
        place
        >= np.array(list(first_changed.values()))[np.repeat(np.arange(len(tours)), list(map(len, tours)))]
    )
    place, stop, route = place[told], stop[told], route[told]
    run.revisions.append(Revision(at_s, version, stop, route, 1 + place, arrival_s[stop], travel_s[stop]))
    new = stop[(stop >= plan.planned) & np.isnan(run.promised_s[0, stop])]
    sold = plan.orders.level[new], plan.orders.booked_s[new]
    run.promised_s[:, new] = promise_s(run.world.parameters, *sold, arrival_s[new], arrival_s[new] - at_s)


def _away_m(run: Run, here: Array, there: Array) -> Array:
    x_m, y_m = run.plan.place_x_m, run.plan.place_y_m
    return np.hypot(x_m[here] - x_m[there], y_m[here] - y_m[there])
