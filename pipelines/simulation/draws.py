"""All that is random in the physics of a day, drawn before it starts; a fork draws the part to come anew.

Every array has a leading axis of days that are simulated side by side.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pipelines.simulation.disruptions import HOUR_S, Upsets, draw_upsets
from pipelines.simulation.noise import Array, Noise, autoregressive, lognormal
from pipelines.simulation.plan import Plan
from pipelines.simulation.state import State
from pipelines.simulation.streets import DAWN_S, TICK_S, TICKS
from pipelines.simulation.weather import HOURS
from pipelines.simulation.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """States by district and tick, normals by hour; normals, factors, shares and seconds by
    place, route and depot.
    """

    congestion: Array
    weather: Array
    leg: Array
    service: Array
    home: Array
    cancelled_s: Array
    swap: Array
    add: Array
    loading: Array
    depot_s: Array
    upsets: Upsets

    @property
    def days(self) -> int:
        return len(self.leg)

    @classmethod
    def draw(cls, world: World, plan: Plan, noise: Noise, days: int = 1, from_s: float = 0.0) -> Draws:
        """Draws of whole days; where ``from_s`` is after dawn, of congestion only the innovations after it."""
        p, stops = world.parameters, plan.stops
        begun = ticks_begun(from_s)
        normal = noise.by_day("normal", "congestion", days, p.size.districts + 1, TICKS - begun)
        return cls(
            congestion=normal if begun else autoregressive(normal, congestion_memory(world)),
            weather=weather_draws(noise, days),
            leg=lognormal(noise.by_day("normal", "leg", days, stops + plan.routes), p.streets.leg_sd),
            service=noise.by_day("normal", "service", days, stops),
            home=noise.by_day("uniform", "home", days, stops),
            cancelled_s=p.plan.told_h * HOUR_S + cancelled_after_s(world, plan, noise, days),
            swap=noise.by_day("uniform", "swap", days, plan.routes, plan.order_width),
            add=noise.by_day("uniform", "add", days, len(plan.review_s), plan.routes),
            loading=noise.by_day("normal", "loading", days, plan.routes),
            depot_s=world.depot_habit_s
            * np.exp(p.depot.habit_sd * noise.by_day("normal", "sorting", days, p.size.depots)),
            upsets=draw_upsets(p, noise, days),
        )

    def redrawn(self, world: World, plan: Plan, state: State, noise: Noise, days: int) -> Draws:
        """These draws of one day as far as ``state`` has revealed them, and each day's own beyond.

        A leg that has begun keeps its factor, since the positions of the vehicle reveal it.
        """
        now_s, stops = state.now_s, plan.stops
        fresh = Draws.draw(world, plan, noise, days, now_s)
        hour = np.arange(HOURS) * HOUR_S <= now_s
        sorted_s = self.depot_s if now_s >= world.parameters.depot.sort_starts_h * HOUR_S else fresh.depot_s
        known = replace(
            fresh,
            weather=np.where(hour, self.weather, fresh.weather),
            leg=np.where(state.left_s < now_s, self.leg, fresh.leg),
            cancelled_s=np.where(
                self.cancelled_s < now_s,
                self.cancelled_s,
                max(now_s, world.parameters.plan.told_h * HOUR_S)
                + cancelled_after_s(world, plan, noise, days),
            ),
            depot_s=np.broadcast_to(sorted_s, fresh.depot_s.shape),
            upsets=self.upsets.spread(days).then(fresh.upsets, now_s),
            service=np.where(state.arrived_s[:, :stops] < now_s, self.service, fresh.service),
            home=np.where(state.arrived_s[:, :stops] < now_s, self.home, fresh.home),
        )
        begun = ticks_begun(now_s)
        if begun == 0:
            return known
        past = np.repeat(self.congestion[:, :, :begun], days, axis=0)
        later = autoregressive(fresh.congestion, congestion_memory(world), past[:, :, -1])
        return replace(known, congestion=np.concatenate([past, later], axis=2))


def cancelled_after_s(world: World, plan: Plan, noise: Noise, days: int) -> Array:
    """(days, places) how long customers wait before they cancel: a constant hazard, so that waiting teaches nothing."""
    hazard = -np.log1p(-world.parameters.dispatch.cancelled_share) / (24 * HOUR_S)
    after_s = -np.log1p(-noise.by_day("uniform", "cancelled", days, len(plan.place_route))) / hazard
    after_s[:, plan.planned :] = np.inf
    return after_s


def ticks_begun(now_s: float) -> int:
    """How many ticks have begun by now, the present one included."""
    return int(np.clip(np.floor((now_s - DAWN_S) / TICK_S) + 1, 0, TICKS))


def congestion_memory(world: World) -> float:
    return float(np.exp(-TICK_S / world.parameters.streets.congestion_memory_s))


def weather_draws(noise: Noise, days: int = 1) -> Array:
    """(days, 3, 24) standard normals: wetness, wind and temperature by hour."""
    return noise.by_day("normal", "weather", days, 3, HOURS)
