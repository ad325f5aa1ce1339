"""One service day as it stands: what its messages, its truth and the city itself read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from pipelines.simulation.disruptions import Upsets
from pipelines.simulation.engine import Move, Revision, Run
from pipelines.simulation.noise import Array, Noise
from pipelines.simulation.plan import Plan
from pipelines.simulation.state import Outcome
from pipelines.simulation.streets import Rates
from pipelines.simulation.weather import Weather
from pipelines.simulation.world import World


class ServiceDay:
    """A service day; all times inside are float seconds after ``plan.start``."""

    def __init__(self, world: World, plan: Plan, noise: Noise, tomorrow: Weather, running: Run) -> None:
        self.world, self.plan, self.noise, self.tomorrow = world, plan, noise, tomorrow
        self.running = running

    @property
    def now_s(self) -> float:
        return self.running.state.now_s

    @property
    def now(self) -> datetime:
        return self.instant(self.now_s)

    @property
    def left_s(self) -> Array:
        return self.running.state.left_s[0]

    @property
    def middle_s(self) -> Array:
        return self.running.state.middle_s[0]

    @property
    def arrived_s(self) -> Array:
        """(places,) arrivals, also those to come of visits that are under way; inf where not begun."""
        return self.running.state.arrived_s[0]

    @property
    def done_s(self) -> Array:
        return self.running.state.done_s[0]

    @property
    def departed_s(self) -> Array:
        return self.running.state.departed_s[0]

    @property
    def joined_s(self) -> Array:
        return self.running.state.joined_s[0]

    @property
    def came_from(self) -> Array:
        return self.running.state.came_from[0]

    @property
    def outcome(self) -> Array:
        return self.running.state.outcome[0]

    @property
    def route(self) -> Array:
        """(places,) the route of each place, as it stands."""
        return self.running.state.route[0]

    @property
    def under_way(self) -> Array:
        """(routes,) the place that each vehicle drives to or is at; -1 before it leaves."""
        return self.running.state.under_way[0]

    @property
    def promised_end_s(self) -> Array:
        """(stops,) end of the window first told; nan for a stop that has not been added."""
        return self.running.promised_s[1]

    @property
    def moves(self) -> Sequence[Move]:
        return self.running.moves

    @property
    def revisions(self) -> Sequence[Revision]:
        return self.running.revisions

    @property
    def rates(self) -> Rates:
        return self.running.conditions.rates

    @property
    def upsets(self) -> Upsets:
        return self.running.draws.upsets

    @property
    def weather(self) -> Weather:
        """The weather of the day and of the next."""
        return self.running.conditions.weather.then(self.tomorrow)

    def to_visit(self, route: int) -> list[int]:
        """Stops of a route that have not begun and are not dropped, in their order."""
        state = self.running.state
        ahead = state.order[0, route, state.at[0, route] : max(0, state.end[0, route] - 1)]
        return [stop for stop in ahead.tolist() if self.outcome[stop] == Outcome.OPEN]

    def instant(self, at_s: float) -> datetime:
        """The instant in UTC of a second of the service day."""
        return self.plan.start + timedelta(seconds=float(at_s))
