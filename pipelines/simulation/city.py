"""The city of one service day as a state machine: step it, fork it, act on it.

What has happened by ``now_s`` never changes; a fork or an action only works out again what is still to come.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta

import numpy as np

from pipelines.simulation.actions import Action, CancelStop, Resequence, SlowZone
from pipelines.simulation.conditions import Conditions
from pipelines.simulation.dispatch import advance
from pipelines.simulation.disruptions import HOUR_S, draw_upsets
from pipelines.simulation.draws import Draws, weather_draws
from pipelines.simulation.engine import Move, Run
from pipelines.simulation.envelope import Messages
from pipelines.simulation.futures import futures
from pipelines.simulation.messages import messages_between
from pipelines.simulation.noise import Array, Noise
from pipelines.simulation.plan import Plan, make_plan
from pipelines.simulation.service_day import ServiceDay
from pipelines.simulation.state import Outcome, State
from pipelines.simulation.streets import TICK_S
from pipelines.simulation.truth import Truth, truth_of
from pipelines.simulation.weather import Weather, sky
from pipelines.simulation.world import World

END_S = 29 * HOUR_S
_DAY_NOISE = 1


class City(ServiceDay):
    """A service day that moves on."""

    @classmethod
    def day(cls, world: World, day: date, seed: int) -> City:
        """The city on the evening before, with its plan told and nothing driven yet."""
        noise = _noise(world, seed, day)
        next_day = day + timedelta(days=1)
        later = _noise(world, seed, next_day)
        tomorrow = sky(
            world.parameters.weather, next_day, weather_draws(later), draw_upsets(world.parameters, later)
        )
        return cls(world, make_plan(world, day, noise), noise, tomorrow)

    def __init__(self, world: World, plan: Plan, noise: Noise, tomorrow: Weather) -> None:
        draws = Draws.draw(world, plan, noise)
        state = State.evening_before(world, plan)
        run = Run(world, plan, draws, Conditions.of(world, plan, draws), state, _promised(plan))
        super().__init__(world, plan, noise, tomorrow, run)
        self.slowdowns: tuple[SlowZone, ...] = ()

    def step(self, step_s: float = TICK_S) -> Messages:
        """Moves on by one step, and gives the messages about what happened in it."""
        return self._run_until_s(self.now_s + step_s)

    def run_until(self, instant: datetime) -> Messages:
        """Moves on to an instant; what happens exactly then is still to come."""
        return self._run_until_s((instant - self.plan.start).total_seconds())

    def advance(self, instant: datetime) -> None:
        """Moves on to an instant without a message, for when only the state is wanted."""
        advance(self.running, (instant - self.plan.start).total_seconds())

    def run(self) -> Messages:
        """Moves on to the end of the day."""
        return self._run_until_s(END_S)

    def finish(self) -> Truth:
        """Moves on to the end of the day without a message, for when only the truth is wanted."""
        advance(self.running, END_S)
        return self.truth()

    def fork(self, n: int, *, same_noise: bool = False) -> list[City]:
        """Copies of the true state; their futures are drawn anew, or with ``same_noise`` they are twins."""
        if same_noise:
            return [self._with(copy.deepcopy(self.running.state)) for _ in range(n)]
        return [
            self._redrawn(self.noise.child(int((self.now_s + 2 * END_S) * 1e3), each)) for each in range(n)
        ]

    def apply(self, action: Action) -> None:
        """Changes what is still to come."""
        match action:
            case SlowZone():
                _place(self.world.zone_ids, action.zone_id)
                self.slowdowns = (*self.slowdowns, replace(action, from_at=max(action.from_at, self.now)))
                run = self.running
                run.conditions = Conditions.of(self.world, self.plan, run.draws, self.slowdowns)
                run.resume()
            case Resequence():
                route = _place(self.plan.route_ids, action.route_id)
                self._resequence(route, [_place(self.plan.stop_ids, s) for s in action.stop_ids])
            case CancelStop():
                stop = self._open_stop(action.stop_id)
                self._cancel(stop)

    def truth(self) -> Truth:
        """What truly happened before now, and what was injected, also later on."""
        return truth_of(self)

    def _run_until_s(self, until_s: float) -> Messages:
        from_s = self.now_s
        advance(self.running, until_s)
        return messages_between(self, from_s, self.now_s)

    def _with(self, state: State) -> City:
        twin, run = copy.copy(self), self.running
        twin.running = copy.copy(run)
        twin.running.state = state
        twin.running.promised_s = run.promised_s.copy()
        twin.running.moves, twin.running.revisions = list(run.moves), list(run.revisions)
        return twin

    def _redrawn(self, noise: Noise) -> City:
        twin = copy.copy(self)
        twin.running, twin.noise = futures(self.running, noise, 1, self.slowdowns, whole=True), noise
        return twin

    def _resequence(self, route: int, stops: Sequence[int]) -> None:
        left = self.to_visit(route)
        if sorted(left) != sorted(stops):
            ids = [self.plan.stop_ids[stop] for stop in left]
            raise ValueError(f"{self.plan.route_ids[route]}: name each stop still to begin once: {ids}")
        state, run = self.running.state, self.running
        first, end = int(state.at[0, route]), int(state.end[0, route]) - 1
        dropped = [s for s in state.order[0, route, first:end].tolist() if s not in set(left)]
        state.order[0, route, first:end] = [*stops, *dropped]
        run.moves += [Move(self.now_s, stop, first + 1 + place) for place, stop in enumerate(stops)]

    def _cancel(self, stop: int) -> None:
        run = self.running
        cancelled_s = run.draws.cancelled_s.copy()
        cancelled_s[0, stop] = self.now_s
        run.draws = replace(run.draws, cancelled_s=cancelled_s)
        self.outcome[stop], self.done_s[stop] = Outcome.SKIPPED, self.now_s

    def _open_stop(self, stop_id: str) -> int:
        stop = _place(self.plan.stop_ids, stop_id)
        if stop not in self.to_visit(int(self.route[stop])):
            raise ValueError(f"{stop_id}: under way, served or skipped; only an open stop can be cancelled")
        return stop


def _promised(plan: Plan) -> Array:
    return np.array([plan.promised_start_s, plan.promised_end_s])


def _noise(world: World, seed: int, day: date) -> Noise:
    return Noise(seed, world.parameters.stream, _DAY_NOISE, day.toordinal())


def _place(ids: Sequence[str], wanted: str) -> int:
    if wanted not in ids:
        raise ValueError(f"{wanted}: not in this city today")
    return ids.index(wanted)
