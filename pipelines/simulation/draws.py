"""All that is random in the physics of a day, drawn before it starts; a fork draws the part to come anew."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.simulation.disruptions import HOUR_S, Upset, draw_upsets, struck_once
from pipelines.simulation.noise import Array, Noise, lognormal
from pipelines.simulation.plan import Plan
from pipelines.simulation.streets import TICK_S, TICKS
from pipelines.simulation.weather import HOURS
from pipelines.simulation.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """Normals by zone and tick, and by hour; factors, outcomes and seconds by place, route and depot."""

    congestion: Array
    weather: Array
    leg: Array
    service: Array
    home: Array
    skip: Array
    loading_s: Array
    depot_s: Array
    upsets: tuple[Upset, ...]
    sort_starts_s: float

    @classmethod
    def draw(cls, world: World, plan: Plan, noise: Noise) -> Draws:
        p, stops, places = world.parameters, plan.stops, len(plan.place_route)
        evening = plan.arrival_s > 15 * HOUR_S
        home_share = world.site_home_share[plan.site] + p.people.evening_home_gain * evening
        sorting = noise.normal("sorting", p.size.depots)
        return cls(
            congestion=noise.normal("congestion", p.size.zones + 1, TICKS),
            weather=weather_draws(noise),
            leg=lognormal(noise.normal("leg", places), p.streets.leg_sd),
            service=lognormal(noise.normal("service", stops), p.service.noise_sd),
            home=noise.uniform("home", stops) < home_share,
            skip=noise.uniform("skip", stops) < p.people.skip_share,
            loading_s=p.depot.loading_s
            * lognormal(noise.normal("loading", len(plan.route_ids)), p.depot.loading_sd),
            depot_s=world.depot_habit_s * np.exp(0.4 * sorting),
            upsets=draw_upsets(p, noise),
            sort_starts_s=p.depot.sort_starts_h * HOUR_S,
        )

    def then(
        self, fresh: Draws, now_s: float, *, begun: Array, serving: Array, departed: Array, settled: Array
    ) -> Draws:
        """These draws for what has begun by ``now_s``, and fresh ones for all that has not."""
        stops = len(self.home)
        tick, hour = np.arange(TICKS) * TICK_S <= now_s, np.arange(HOURS) * HOUR_S <= now_s
        sorted_s = self.depot_s if now_s >= self.sort_starts_s else fresh.depot_s
        struck = [u for u in self.upsets if u.onset_s <= now_s]
        to_come = [u for u in fresh.upsets if u.onset_s > now_s]
        return Draws(
            congestion=np.where(tick, self.congestion, fresh.congestion),
            weather=np.where(hour, self.weather, fresh.weather),
            leg=np.where(begun, self.leg, fresh.leg),
            service=np.where(serving[:stops], self.service, fresh.service),
            home=np.where(serving[:stops], self.home, fresh.home),
            skip=np.where(settled[:stops], self.skip, fresh.skip),
            loading_s=np.where(departed, self.loading_s, fresh.loading_s),
            depot_s=sorted_s,
            upsets=struck_once([*struck, *to_come]),
            sort_starts_s=self.sort_starts_s,
        )


def weather_draws(noise: Noise) -> Array:
    """(3, 24) standard normals: wetness, wind and temperature by hour."""
    return noise.normal("weather", 3, HOURS)
