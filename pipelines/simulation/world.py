"""What stays the same from day to day: zones, sites, couriers and depots with their habits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.simulation.noise import Array, Noise, between
from pipelines.simulation.parameters import Parameters

_M_PER_DEG = 111_320.0


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The static city, drawn from a seed; positions in metres east and north of the centre.

    Habits are factors around one: pace multiplies speed, service habits multiply seconds at the door.
    """

    parameters: Parameters
    seed: int
    zone_ids: tuple[str, ...]
    zone_x_m: Array
    zone_y_m: Array
    free_flow_mps: Array
    peak_depth: Array
    site_ids: tuple[str, ...]
    site_x_m: Array
    site_y_m: Array
    site_zone: Array
    site_weight: Array
    site_service: Array
    site_home_share: Array
    customer_ids: tuple[str, ...]
    courier_ids: tuple[str, ...]
    courier_pace: Array
    courier_service: Array
    vehicle_ids: tuple[str, ...]
    depot_ids: tuple[str, ...]
    depot_x_m: Array
    depot_y_m: Array
    depot_zone: Array
    depot_habit_s: Array

    @classmethod
    def draw(cls, parameters: Parameters, seed: int) -> World:
        """The world of a seed."""
        size, people, noise = parameters.size, parameters.people, Noise(seed, 0)
        half_m = size.grid * size.zone_m / 2
        centres_m = (np.arange(size.grid) + 0.5) * size.zone_m - half_m
        zone_y_m, zone_x_m = (axis.ravel() for axis in np.meshgrid(centres_m, centres_m, indexing="ij"))
        site_xy = between(noise.uniform("site place", 2, size.sites), (-half_m, half_m))
        turn = 2 * np.pi * (np.arange(size.depots) + noise.uniform("depot place", size.depots)) / size.depots
        depot_xy = half_m * parameters.depot.radius_share * np.array([np.cos(turn), np.sin(turn)])
        homes = noise.uniform("home share", size.sites) ** 0.6
        return cls(
            parameters=parameters,
            seed=seed,
            zone_ids=tuple(f"Z-{i + 1:02d}" for i in range(size.zones)),
            zone_x_m=zone_x_m,
            zone_y_m=zone_y_m,
            free_flow_mps=between(noise.uniform("free flow", size.zones), parameters.streets.free_flow_mps),
            peak_depth=between(noise.uniform("peak depth", size.zones), parameters.streets.peak_depth),
            site_ids=tuple(f"B-{i + 1:04d}" for i in range(size.sites)),
            site_x_m=site_xy[0],
            site_y_m=site_xy[1],
            site_zone=_zone_of(size.grid, size.zone_m, site_xy),
            site_weight=noise.habits("site weight", size.sites, 0.6),
            site_service=noise.habits("site service", size.sites, people.site_service_sd),
            site_home_share=between(homes, people.home_share),
            customer_ids=tuple(f"CU-{i + 1:05d}" for i in range(2 * size.sites)),
            courier_ids=tuple(f"C-{i + 1:02d}" for i in range(size.couriers)),
            courier_pace=noise.habits("pace", size.couriers, people.pace_sd),
            courier_service=noise.habits("courier service", size.couriers, people.courier_service_sd),
            vehicle_ids=tuple(f"V-{i + 1:02d}" for i in range(size.vehicles)),
            depot_ids=tuple(f"D-{i + 1}" for i in range(size.depots)),
            depot_x_m=depot_xy[0],
            depot_y_m=depot_xy[1],
            depot_zone=_zone_of(size.grid, size.zone_m, depot_xy),
            depot_habit_s=between(noise.uniform("depot habit", size.depots), parameters.depot.habit_s),
        )

    def lat(self, y_m: Array) -> Array:
        return self.parameters.place.lat + y_m / _M_PER_DEG

    def lon(self, x_m: Array) -> Array:
        place = self.parameters.place
        return place.lon + x_m / (_M_PER_DEG * np.cos(np.radians(place.lat)))


def _zone_of(grid: int, zone_m: float, xy_m: Array) -> Array:
    column, row = np.clip((xy_m / zone_m + grid / 2).astype(int), 0, grid - 1)
    return row * grid + column
