"""How far some days have come that are simulated side by side."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum

import numpy as np

from pipelines.simulation.disruptions import HOUR_S
from pipelines.simulation.noise import Array
from pipelines.simulation.plan import Plan
from pipelines.simulation.streets import NEVER_S
from pipelines.simulation.world import World


class Outcome(IntEnum):
    OPEN = 0
    COMPLETED = 1
    FAILED = 2
    SKIPPED = 3


@dataclass(slots=True, kw_only=True)
class State:
    """Times are inf until they are known; what has begun is worked out to its end, also beyond now.

    The days lie side by side in memory, since they are asked for together.

    left_s, middle_s, arrived_s, done_s, came_from, outcome, route : (days, places)
    joined_s : (days, stops), when a stop joined the day
    departed_s, slip_s, under_way, at, end : (days, routes); ``at`` is the next place in ``order``
    order : (days, routes, width) places, the depot last, before ``end``
    """

    now_s: float
    left_s: Array
    middle_s: Array
    arrived_s: Array
    done_s: Array
    came_from: Array
    outcome: Array
    route: Array
    joined_s: Array
    departed_s: Array
    slip_s: Array
    under_way: Array
    at: Array
    end: Array
    order: Array

    @classmethod
    def evening_before(cls, world: World, plan: Plan) -> State:
        """One day, with its plan told and nothing done yet."""
        places, routes = len(plan.place_route), plan.routes
        left_s, middle_s, arrived_s, done_s = (np.full((1, places), np.inf) for _ in range(4))
        told_s = world.parameters.plan.told_h * HOUR_S
        length = np.diff(plan.tour_first)
        place = np.arange(plan.order_width)
        order = np.where(place < length[:, None], plan.tour_first[:-1, None] + place, -1)
        order[np.arange(routes), length] = plan.depot_place(np.arange(routes))
        return cls(
            now_s=told_s,
            left_s=left_s,
            middle_s=middle_s,
            arrived_s=arrived_s,
            done_s=done_s,
            came_from=np.full((1, places), -1),
            outcome=np.zeros((1, places), int),
            route=plan.place_route[None].copy(),
            joined_s=np.where(np.arange(plan.stops) < plan.planned, told_s, np.inf)[None],
            departed_s=np.full((1, routes), np.inf),
            slip_s=np.zeros((1, routes)),
            under_way=np.full((1, routes), -1),
            at=np.zeros((1, routes), int),
            end=1 + length[None],
            order=order[None],
        )

    def spread(self, days: int) -> State:
        """The state of one day, for each of many days."""
        columns = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "now_s"}
        return State(
            now_s=self.now_s, **{name: np.repeat(a.T, days, axis=-1).T for name, a in columns.items()}
        )

    def free_s(self, plan: Plan) -> Array:
        """(days, routes) when each vehicle is free for its next place; never where it has none."""
        day = np.arange(len(self.at))[:, None]
        busy_s = np.where(self.under_way >= 0, self.done_s[day, self.under_way], self.departed_s)
        return np.where(self.at < self.end, busy_s, NEVER_S)

    def waiting(self) -> Array:
        """(days, stops) stops that have joined their route and are neither begun nor dropped."""
        stops = self.joined_s.shape[1]
        return (self.joined_s < np.inf) & np.isinf(self.left_s[:, :stops]) & (self.outcome[:, :stops] == 0)
