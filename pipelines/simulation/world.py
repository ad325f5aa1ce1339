"""What stays the same from day to day: zones, sites, beats, couriers and depots with their habits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.simulation.beats import Beats, make_beats, vehicle_types
from pipelines.simulation.noise import Array, Noise, between, lognormal
from pipelines.simulation.parameters import ZONES_PER_DISTRICT, Parameters

_M_PER_DEG = 111_320.0


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The static city, drawn from a seed; positions in metres east and north of the centre.

    Habits are factors around one: pace multiplies speed, service habits multiply seconds at the door. A vehicle
    drives the same beat every day, so that route r of a day is that of vehicle r.
    """

    parameters: Parameters
    seed: int
    zone_ids: tuple[str, ...]
    zone_district: Array
    district_zone: Array
    free_flow_mps: Array
    peak_depth: Array
    site_ids: tuple[str, ...]
    site_x_m: Array
    site_y_m: Array
    site_zone: Array
    site_weight: Array
    site_service: Array
    site_home_share: Array
    beats: Beats
    customer_ids: tuple[str, ...]
    courier_ids: tuple[str, ...]
    courier_pace: Array
    courier_service: Array
    vehicle_ids: tuple[str, ...]
    vehicle_type: tuple[str, ...]
    on_road: Array
    off_road_mps: Array
    vehicle_service: Array
    vehicle_wave: Array
    depot_ids: tuple[str, ...]
    depot_x_m: Array
    depot_y_m: Array
    depot_zone: Array
    depot_habit_s: Array

    @classmethod
    def draw(cls, parameters: Parameters, seed: int) -> World:
        """The world of a seed."""
        size, people, place = parameters.size, parameters.people, parameters.place
        noise, vehicle, types = (
            Noise(seed, parameters.stream, 0),
            parameters.vehicle,
            vehicle_types(parameters),
        )
        half_m = size.grid * size.zone_m / 2
        zone_district, district_zone = _districts(size.grid)
        site_xy = _site_places(parameters, noise)
        turn = 2 * np.pi * (np.arange(size.depots) + noise.uniform("depot place", size.depots)) / size.depots
        depot_xy = half_m * place.depot_radius_share * np.array([np.cos(turn), np.sin(turn)])
        site_zone = _zone_of(size.grid, size.zone_m, site_xy)
        site_weight = noise.habits("site weight", size.sites, place.site_weight_sd)
        homes = noise.uniform("home share", size.sites) ** 0.6
        return cls(
            parameters=parameters,
            seed=seed,
            zone_ids=_ids("Z", size.zones, 2),
            zone_district=zone_district,
            district_zone=district_zone,
            free_flow_mps=between(noise.uniform("free flow", size.zones), parameters.streets.free_flow_mps),
            peak_depth=between(noise.uniform("peak depth", size.districts), parameters.streets.peak_depth),
            site_ids=_ids("B", size.sites, 4),
            site_x_m=site_xy[0],
            site_y_m=site_xy[1],
            site_zone=site_zone,
            site_weight=site_weight,
            site_service=noise.habits("site service", size.sites, people.site_service_sd),
            site_home_share=between(homes, people.home_share),
            beats=make_beats(parameters, site_xy, site_weight, site_zone, depot_xy),
            customer_ids=_ids("CU", 2 * size.sites, 5),
            courier_ids=_ids("C", size.couriers, 2),
            courier_pace=noise.habits("pace", size.couriers, people.pace_sd),
            courier_service=noise.habits("courier service", size.couriers, people.courier_service_sd),
            vehicle_ids=_ids("V", size.routes, 2),
            vehicle_type=types,
            on_road=np.array([vehicle[name].on_road for name in types]),
            off_road_mps=np.array([vehicle[name].speed_mps for name in types]),
            vehicle_service=np.array([vehicle[name].service_share for name in types]),
            vehicle_wave=np.floor(parameters.plan.waves * noise.uniform("wave", size.routes)).astype(int),
            depot_ids=_ids("D", size.depots, 1),
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

    def zones_of_district(self, district: int) -> Array:
        return np.flatnonzero(self.zone_district == district)


def _ids(letter: str, count: int, digits: int) -> tuple[str, ...]:
    return tuple(f"{letter}-{number + 1:0{digits}d}" for number in range(count))


def _districts(grid: int) -> tuple[Array, Array]:
    """The district of each zone, and the zone in the middle of each district."""
    row, column = np.divmod(np.arange(grid**2), grid)
    across = -(-grid // ZONES_PER_DISTRICT)
    of_zone = row // ZONES_PER_DISTRICT * across + column // ZONES_PER_DISTRICT
    middle = np.minimum(ZONES_PER_DISTRICT * np.arange(across) + 1, grid - 1)
    return of_zone, (middle[:, None] * grid + middle).ravel()


def _site_places(parameters: Parameters, noise: Noise) -> Array:
    """(2, sites) metres: even within a zone, with more sites in some zones than in others."""
    size = parameters.size
    crowd = lognormal(noise.normal("neighbourhood", size.zones), parameters.place.neighbourhood_sd)
    upto = np.cumsum(crowd) / crowd.sum()
    zone = np.searchsorted(upto, noise.uniform("site zone", size.sites)).clip(0, size.zones - 1)
    corner = np.array([zone % size.grid, zone // size.grid]) - size.grid / 2
    return (corner + noise.uniform("site place", 2, size.sites)) * size.zone_m


def _zone_of(grid: int, zone_m: float, xy_m: Array) -> Array:
    column, row = np.clip((xy_m / zone_m + grid / 2).astype(int), 0, grid - 1)
    return row * grid + column
