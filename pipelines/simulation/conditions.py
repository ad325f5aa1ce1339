"""What the day does to those who work in it: weather, rates, sort delays and breakdowns, from the draws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.simulation.actions import SlowZone
from pipelines.simulation.disruptions import Cause
from pipelines.simulation.draws import Draws
from pipelines.simulation.noise import Array
from pipelines.simulation.plan import Plan
from pipelines.simulation.streets import NEVER_S, TICKS, Rates, tick_from, true_rates
from pipelines.simulation.weather import Weather, sky
from pipelines.simulation.world import World


@dataclass(frozen=True, slots=True)
class Conditions:
    """``sort_delay_s`` : (days, depots); ``stop_s``, ``resume_s`` : (days, routes), never where none breaks down."""

    weather: Weather
    rates: Rates
    sort_delay_s: Array
    stop_s: Array
    resume_s: Array

    @classmethod
    def of(
        cls, world: World, plan: Plan, draws: Draws, slowdowns: tuple[SlowZone, ...] = (), from_tick: int = 0
    ) -> Conditions:
        """The conditions of the ticks that start at ``from_tick`` or later."""
        weather = sky(world.parameters.weather, plan.day, draws.weather, draws.upsets)
        rate = true_rates(world, plan.usual_flow, weather, draws.congestion[:, :, from_tick:], draws.upsets)
        for slow in slowdowns:
            seconds = ((at - plan.start).total_seconds() for at in (slow.from_at, slow.to_at))
            first, last = (max(0, int(tick_from(s)) - from_tick) for s in seconds)
            rate[:, world.zone_district[world.zone_ids.index(slow.zone_id)], first:last] *= slow.factor
        stop_s, resume_s = np.full((2, draws.days, plan.routes), NEVER_S)
        broken = draws.upsets.of(Cause.BREAKDOWN)
        stop_s[broken.day, broken.subject] = broken.onset_s
        resume_s[broken.day, broken.subject] = broken.end_s
        sort_delay_s = draws.depot_s.copy()
        behind = draws.upsets.of(Cause.SORT_DELAY)
        sort_delay_s[behind.day, behind.subject] += behind.severity
        return cls(weather, Rates(rate, from_tick), sort_delay_s, stop_s, resume_s)


def first_tick_needed(at_s: float) -> int:
    """The tick that an instant lies in."""
    return int(np.clip(tick_from(at_s) - 1, 0, TICKS - 1))
