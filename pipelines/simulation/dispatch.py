"""What the dispatcher does at a review: orders of the day join a route, and a route far behind hands stops over."""

from __future__ import annotations

import numpy as np

from pipelines.simulation.engine import Revision, Run, drive_until
from pipelines.simulation.noise import Array
from pipelines.simulation.plan import promise_s
from pipelines.simulation.truth import Outcome

_FEWEST_LEFT = 3


def advance(run: Run, until_s: float) -> None:
    """Moves on to ``until_s``, with every review on the way; what happens exactly then is still to come."""
    for review, at_s in enumerate(run.plan.review_s):
        if run.state.now_s <= at_s < until_s:
            drive_until(run, at_s)
            _add_stops(run, review)
            for _ in range(1 + run.plan.routes // run.world.parameters.dispatch.routes_per_handover):
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
        for r, first in zip(route.tolist(), place[:, 0].tolist(), strict=True):
            _revise(run, review, 2 + 2 * review, r, first)


def _hand_over(run: Run, review: int) -> None:
    """The van that is furthest behind gives its last stops to a neighbour that is not, once a day and review."""
    state, plan, p = run.state, run.plan, run.world.parameters.dispatch
    count, every = p.handover_stops, np.arange(run.draws.days)
    left = state.end - state.at - 1
    behind_s = np.where(run.world.on_road & (left >= 2 * count), state.slip_s, -np.inf)
    giver = behind_s.argmax(axis=1)
    helpers = plan.route_neighbours[giver]
    day = every[:, None]
    helps = (helpers >= 0) & (state.slip_s[day, helpers] < p.helper_behind_s) & (left[day, helpers] > 0)
    helps &= state.end[day, helpers] + count < plan.order_width
    helps &= state.departed_s[day, helpers] < plan.review_s[review]
    slip_s = np.where(helps, state.slip_s[day, helpers], np.inf)
    helper = helpers[every, slip_s.argmin(axis=1)]
    d = np.flatnonzero((behind_s[every, giver] > p.handover_behind_s) & helps.any(axis=1))
    giver, helper = giver[d], helper[d]
    _move(state.order, state.end, d, giver, helper, count)
    state.slip_s[d, giver] = p.helper_behind_s
    if run.draws.days == 1:
        for h in helper.tolist():
            _revise(run, review, 3 + 2 * review, h, int(state.end[0, h]) - 1 - count)


def _move(order: Array, end: Array, day: Array, giver: Array, helper: Array, count: int) -> None:
    day, giver, helper, each = day[:, None], giver[:, None], helper[:, None], np.arange(count)
    last, to = end[day, giver] - 1, end[day, helper] - 1
    depots = order[day, giver, last], order[day, helper, to]
    order[day, helper, to + each] = order[day, giver, last - count + each]
    order[day, giver, last - count], order[day, helper, to + count] = depots
    end[day, giver] -= count
    end[day, helper] += count


def _revise(run: Run, review: int, version: int, route: int, first: int) -> None:
    """Plans the rest of a route of a single day again, and tells of its stops from a place on."""
    state, plan, at_s = run.state, run.plan, float(run.plan.review_s[review])
    place = np.arange(state.at[0, route], state.end[0, route] - 1)
    stop = state.order[0, route, place]
    waiting = state.outcome[0, stop] == Outcome.OPEN
    place, stop = place[waiting], stop[waiting]
    state.route[0, stop] = route
    here = int(state.under_way[0, route])
    here, still_s = (
        (plan.stops + route, 0.0)
        if here < 0
        else (here, float(plan.service_s[min(here, plan.stops - 1)]) / 2)
    )
    arrival_s, travel_s = plan.planner.times(
        np.array([route]), [stop], np.array([here]), np.array([at_s + still_s])
    )
    told = place >= first
    changed = stop[told]
    revision = Revision(at_s, version, route, changed, 1 + place[told], arrival_s[changed], travel_s[changed])
    run.revisions.append(revision)
    new = changed[changed >= plan.planned]
    new = new[np.isnan(run.promised_s[0, new])]
    width = plan.orders.level[new], plan.orders.booked_s[new]
    run.promised_s[:, new] = promise_s(run.world.parameters, *width, arrival_s[new], arrival_s[new] - at_s)


def _away_m(run: Run, here: Array, there: Array) -> Array:
    x_m, y_m = run.plan.place_x_m, run.plan.place_y_m
    return np.hypot(x_m[here] - x_m[there], y_m[here] - y_m[there])
