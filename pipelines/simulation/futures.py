"""Futures of a day: what has happened stays, what is still to come is drawn anew from its own law.

A service or a loading that is under way is drawn given that it has lasted so far; that is exact, so that the
truth is one more draw like the others.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.special import ndtr

from pipelines.simulation.actions import SlowZone
from pipelines.simulation.conditions import Conditions, first_tick_needed
from pipelines.simulation.disruptions import Cause
from pipelines.simulation.draws import Draws
from pipelines.simulation.engine import Run
from pipelines.simulation.noise import Array, Noise, normal_above
from pipelines.simulation.streets import DAWN_S


def futures(
    run: Run, noise: Noise, days: int, slowdowns: tuple[SlowZone, ...] = (), *, whole: bool = False
) -> Run:
    """Days that share the past of a single one; with ``whole`` their rates also cover that past."""
    now_s = run.state.now_s
    draws = run.draws.redrawn(run.world, run.plan, run.state, noise, days)
    draws = _services_under_way(run, _loadings_under_way(run, draws, noise), noise)
    from_tick = 0 if whole else first_tick_needed(max(DAWN_S, min(now_s, _since_s(run))))
    conditions = Conditions.of(run.world, run.plan, draws, slowdowns, from_tick)
    state = run.state.spread(days)
    told = run.promised_s.copy(), list(run.moves), list(run.revisions)
    return Run(run.world, run.plan, draws, conditions, state, *told)


def _under_way(run: Run) -> tuple[Array, Array]:
    """Routes and places of visits that are not over."""
    state = run.state
    route = np.flatnonzero(state.under_way[0] >= 0)
    place = state.under_way[0, route]
    open_ = state.done_s[0, place] >= state.now_s
    return route[open_], place[open_]


def _since_s(run: Run) -> float:
    _, place = _under_way(run)
    return float(run.state.left_s[0, place].min(initial=np.inf))


def _loadings_under_way(run: Run, draws: Draws, noise: Noise) -> Draws:
    """Loadings of vehicles that have left are known; others have lasted at least until now."""
    plan, p = run.plan, run.world.parameters.depot
    known = draws.depot_s + np.zeros((draws.days, 1))
    for day, subject, severity in _sort_delays(draws):
        known[day, subject] += severity
    so_far_s = run.state.now_s - plan.departure_s - known[:, plan.route_depot]
    with np.errstate(divide="ignore"):
        least = (np.log(np.maximum(so_far_s, 0) / p.loading_s) + p.loading_sd**2 / 2) / p.loading_sd
    fresh = normal_above(least, noise.by_day("uniform", "loading left", draws.days, plan.routes))
    return replace(draws, loading=np.where(run.state.departed_s < run.state.now_s, run.draws.loading, fresh))


def _sort_delays(draws: Draws) -> zip[tuple[int, int, float]]:
    behind = draws.upsets.of(Cause.SORT_DELAY)
    return zip(behind.day.tolist(), behind.subject.tolist(), behind.severity.tolist(), strict=True)


def _services_under_way(run: Run, draws: Draws, noise: Noise) -> Draws:
    """Whether somebody is home, and how long it takes, given that the courier is still at the door."""
    state, world, plan = run.state, run.world, run.plan
    route, stop = _under_way(run)
    serving = (stop < plan.stops) & (state.arrived_s[0, stop] < state.now_s)
    route, stop = route[serving], stop[serving]
    if not stop.size:
        return draws
    sd, share = world.parameters.service.noise_sd, world.parameters.people.failed_service_share
    usual_s, home = plan.door_s[stop] * plan.route_service[route], plan.home_share[stop]
    with np.errstate(divide="ignore"):
        done = np.log(_served_s(run, route, stop) / usual_s)
    least = np.array([(done - np.log(part)) / sd + sd / 2 for part in (1.0, share)])
    alive = ndtr(-least) * [home, 1 - home]
    is_home = noise.by_day("uniform", "home at door", draws.days, len(stop)) < alive[0] / alive.sum(axis=0)
    left = noise.by_day("uniform", "service left", draws.days, len(stop))
    service, homes = draws.service.copy(), draws.home.copy()
    service[:, stop] = normal_above(np.where(is_home, *least), left)
    homes[:, stop] = np.where(is_home, 0.0, 1.0)
    return replace(draws, service=service, home=homes)


def _served_s(run: Run, route: Array, stop: Array) -> Array:
    """Seconds of work done at the doors so far; none during a breakdown."""
    rates, c, now_s = run.conditions.rates, run.conditions, np.full(len(stop), run.state.now_s)
    door, arrived_s = np.full(len(stop), rates.lane(0, rates.doors)), run.state.arrived_s[0, stop]
    stop_s, resume_s = (np.clip(at[0, route], arrived_s, now_s) for at in (c.stop_s, c.resume_s))
    return np.maximum(rates.work(door, arrived_s, now_s) - rates.work(door, stop_s, resume_s), 0.0)
