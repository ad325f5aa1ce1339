"""The city of one service day as a state machine: step it, fork it, act on it.

A visit (drive, then serve) is worked out when it begins. What has happened by ``now_s`` never changes; a fork
or an action only works out again what is still to come, from rates that are unchanged up to ``now_s``.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta

import numpy as np

from pipelines.simulation.actions import Action, CancelStop, Resequence, SlowZone
from pipelines.simulation.disruptions import HOUR_S, Cause, draw_upsets
from pipelines.simulation.draws import Draws, weather_draws
from pipelines.simulation.envelope import Messages
from pipelines.simulation.messages import messages_between
from pipelines.simulation.noise import Array, Noise
from pipelines.simulation.plan import Plan, is_weekend, leg_m, make_plan
from pipelines.simulation.streets import NEVER, TICK_S, Rates, by_tick, ticks_from, true_speed_mps
from pipelines.simulation.truth import Outcome, Truth, truth_of
from pipelines.simulation.weather import Weather, sky
from pipelines.simulation.world import World

END_S = 29 * HOUR_S
_DAY_NOISE = 1


class City:
    """A service day; all times inside are float seconds after ``plan.start``."""

    @classmethod
    def day(cls, world: World, day: date, seed: int) -> City:
        """The city on the evening before, with its plan told and nothing driven yet."""
        noise = Noise(seed, _DAY_NOISE, day.toordinal())
        plan = make_plan(world, day, noise)
        next_day = day + timedelta(days=1)
        later = Noise(seed, _DAY_NOISE, next_day.toordinal())
        tomorrow = sky(
            world.parameters.weather, next_day, weather_draws(later), draw_upsets(world.parameters, later)
        )
        return cls(world, plan, noise, tomorrow)

    def __init__(self, world: World, plan: Plan, noise: Noise, tomorrow: Weather) -> None:
        self.world, self.plan, self.noise, self.tomorrow = world, plan, noise, tomorrow
        self.draws = Draws.draw(world, plan, noise)
        self.now_s = world.parameters.plan.told_h * HOUR_S
        self.slowdowns: tuple[SlowZone, ...] = ()
        self.resequenced: tuple[tuple[float, int, int], ...] = ()
        places, routes = len(plan.place_route), len(plan.route_ids)
        self.left_s, self.middle_s, self.arrived_s, self.done_s = (np.full(places, np.inf) for _ in range(4))
        self.came_from = np.full(places, -1)
        self.outcome = np.zeros(places, int)
        self.under_way = [-1] * routes
        self.to_visit = [[*tour, plan.depot_place(route)] for route, tour in enumerate(plan.tours)]
        self.departed_s = np.full(routes, np.inf)
        self._work_out()

    @property
    def now(self) -> datetime:
        return self.instant(self.now_s)

    def instant(self, at_s: float) -> datetime:
        """The instant in UTC of a second of the service day."""
        return self.plan.start + timedelta(seconds=float(at_s))

    def step(self, step_s: float = TICK_S) -> Messages:
        """Moves on by one step, and gives the messages about what happened in it."""
        return self._run_until_s(self.now_s + step_s)

    def run_until(self, instant: datetime) -> Messages:
        """Moves on to an instant; what happens exactly then is still to come."""
        return self._run_until_s((instant - self.plan.start).total_seconds())

    def run(self) -> Messages:
        """Moves on to the end of the day."""
        return self._run_until_s(END_S)

    def finish(self) -> Truth:
        """Moves on to the end of the day without a message, for when only the truth is wanted."""
        self._advance(END_S)
        return self.truth()

    def fork(self, n: int, *, same_noise: bool = False) -> list[City]:
        """Copies of the true state; their futures are drawn anew, or with ``same_noise`` they are twins."""
        twins = [self._copy() for _ in range(n)]
        if not same_noise:
            for number, twin in enumerate(twins):
                twin._draw_future(self.noise.child(int((self.now_s + 2 * END_S) * 1e3), number))
        return twins

    def apply(self, action: Action) -> None:
        """Changes what is still to come."""
        match action:
            case SlowZone():
                self._zone(action.zone_id)
                self.slowdowns = (*self.slowdowns, replace(action, from_at=max(action.from_at, self.now)))
                self._work_out()
            case Resequence():
                self._resequence(self._route(action.route_id), [self._stop(s) for s in action.stop_ids])
            case CancelStop():
                self._skip(self._open_stop(action.stop_id), self.now_s)

    def truth(self) -> Truth:
        """What truly happened before now, and what was injected, also later on."""
        return truth_of(self)

    def _run_until_s(self, until_s: float) -> Messages:
        from_s = self.now_s
        self._advance(until_s)
        return messages_between(self, from_s, self.now_s)

    def _advance(self, until_s: float) -> None:
        self.now_s = max(self.now_s, until_s)
        for route in range(len(self.to_visit)):
            while self.to_visit[route] and self._free_s(route) < self.now_s:
                self._begin(route)

    def _copy(self) -> City:
        twin = copy.copy(self)
        for name in ("left_s", "middle_s", "arrived_s", "done_s", "came_from", "outcome", "under_way"):
            setattr(twin, name, getattr(self, name).copy())
        twin.to_visit = [list(places) for places in self.to_visit]
        return twin

    def _draw_future(self, noise: Noise) -> None:
        fresh = Draws.draw(self.world, self.plan, noise)
        self.draws = self.draws.then(
            fresh,
            self.now_s,
            begun=self.left_s < self.now_s,
            serving=self.arrived_s < self.now_s,
            departed=self.departed_s < self.now_s,
            settled=(self.left_s < self.now_s) | (self.outcome == Outcome.SKIPPED),
        )
        self.noise = noise
        self._work_out()

    def _work_out(self) -> None:
        """Rates, departures and the visits under way, from the draws and the actions so far."""
        p, upsets = self.world.parameters, self.draws.upsets
        self.weather = sky(p.weather, self.plan.day, self.draws.weather, upsets).then(self.tomorrow)
        weekend = is_weekend(self.plan.day)
        speed_mps = true_speed_mps(self.world, weekend, self.weather, self.draws.congestion, upsets)
        for slow in self.slowdowns:
            ticks = slice(*(ticks_from(self._second(at)) for at in (slow.from_at, slow.to_at)))
            speed_mps[self._zone(slow.zone_id), ticks] *= slow.factor
        self.rates = Rates(np.vstack([speed_mps, by_tick(self.weather.service_rate(p.weather))]))
        self.pauses = [NEVER] * len(self.plan.route_ids)
        for upset in upsets:
            if upset.cause is Cause.BREAKDOWN:
                self.pauses[upset.subject] = (upset.onset_s, upset.end_s)
        self.departed_s = self._departures_s()
        for place in self.under_way:
            if place >= 0:
                self._drive_and_serve(place)

    def _departures_s(self) -> Array:
        plan = self.plan
        start_s = plan.departure_s + self.sort_delay_s()[plan.route_depot] + self.draws.loading_s
        to_come = np.maximum(start_s, self.now_s)
        return np.where(self.departed_s < self.now_s, self.departed_s, to_come)

    def sort_delay_s(self) -> Array:
        """(depots,) how far sorting is behind its plan when the vehicles should leave."""
        delay_s = self.draws.depot_s.copy()
        for upset in self.draws.upsets:
            if upset.cause is Cause.SORT_DELAY:
                delay_s[upset.subject] += upset.severity
        return delay_s

    def _free_s(self, route: int) -> float:
        place = self.under_way[route]
        return float(self.done_s[place] if place >= 0 else self.departed_s[route])

    def _begin(self, route: int) -> None:
        left_s = self._free_s(route)
        place = self.to_visit[route][0]
        if place < self.plan.stops and self.draws.skip[place]:
            self._skip(place, left_s)
            return
        before = self.under_way[route]
        self.to_visit[route].pop(0)
        self.came_from[place] = before if before >= 0 else self.plan.depot_place(route)
        self.left_s[place], self.under_way[route] = left_s, place
        self._drive_and_serve(place)

    def _drive_and_serve(self, place: int) -> None:
        plan, route, before = self.plan, int(self.plan.place_route[place]), int(self.came_from[place])
        pause, work_m = self.pauses[route], float(self.leg_work_m(place)) / 2
        left_s = float(self.left_s[place])
        self.middle_s[place] = self.rates.finish_s(int(plan.place_zone[before]), left_s, work_m, pause)
        self.arrived_s[place] = self.rates.finish_s(
            int(plan.place_zone[place]), float(self.middle_s[place]), work_m, pause
        )
        self.done_s[place] = self.arrived_s[place]
        if place < plan.stops:
            self.outcome[place] = Outcome.COMPLETED if self.draws.home[place] else Outcome.FAILED
            self.done_s[place] = self.rates.finish_s(
                -1, float(self.arrived_s[place]), self._service_work_s(place), pause
            )

    def leg_work_m(self, place: Array | int) -> Array:
        """Metres that an average courier would drive in the time of the leg to a place that has begun."""
        plan, courier = self.plan, self.plan.route_courier[self.plan.place_route[place]]
        start = self.came_from[place]
        metres = leg_m(self.world.parameters, plan.place_x_m, plan.place_y_m, start, place)
        return metres * self.draws.leg[place] / self.world.courier_pace[courier]

    def _service_work_s(self, stop: int) -> float:
        world, plan = self.world, self.plan
        courier = plan.route_courier[plan.place_route[stop]]
        habit = world.site_service[plan.site[stop]] * world.courier_service[courier]
        usual_s = plan.service_s[stop] / world.parameters.plan.service_share
        share = 1.0 if self.draws.home[stop] else world.parameters.people.failed_service_share
        return float(usual_s * habit * self.draws.service[stop] * share)

    def _skip(self, stop: int, at_s: float) -> None:
        self.to_visit[int(self.plan.place_route[stop])].remove(stop)
        self.done_s[stop], self.outcome[stop] = at_s, Outcome.SKIPPED

    def _resequence(self, route: int, stops: Sequence[int]) -> None:
        *left, depot = self.to_visit[route] or [-1]
        if sorted(left) != sorted(stops):
            ids = [self.plan.stop_ids[stop] for stop in left]
            raise ValueError(f"{self.plan.route_ids[route]}: name each stop still to begin once: {ids}")
        self.to_visit[route] = [*stops, depot]
        first = 1 + len(self.plan.tours[route]) - len(stops)
        moved = tuple((self.now_s, stop, first + place) for place, stop in enumerate(stops))
        self.resequenced = (*self.resequenced, *moved)

    def _open_stop(self, stop_id: str) -> int:
        stop = self._stop(stop_id)
        if stop not in self.to_visit[int(self.plan.place_route[stop])]:
            raise ValueError(f"{stop_id}: under way, served or skipped; only an open stop can be cancelled")
        return stop

    def _stop(self, stop_id: str) -> int:
        return _place(self.plan.stop_ids, stop_id)

    def _route(self, route_id: str) -> int:
        return _place(self.plan.route_ids, route_id)

    def _zone(self, zone_id: str) -> int:
        return _place(self.world.zone_ids, zone_id)

    def _second(self, at: datetime) -> float:
        return (at - self.plan.start).total_seconds()


def _place(ids: Sequence[str], wanted: str) -> int:
    if wanted not in ids:
        raise ValueError(f"{wanted}: not in this city today")
    return ids.index(wanted)
