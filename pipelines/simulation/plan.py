"""The plan of a service day: who visits which doors in which order, and what the customers were told."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np

from pipelines.simulation.disruptions import HOUR_S
from pipelines.simulation.noise import Array, Noise
from pipelines.simulation.parameters import Parameters
from pipelines.simulation.streets import TICKS, Rates, usual_speed_mps
from pipelines.simulation.world import World

SERVICE_LEVELS = ("standard", "express", "white_glove")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Stops are numbered through the tours; places add one more per route, its depot, behind the stops.

    Seconds count from the start of the service day: local noon minus twelve hours, which is midnight but on
    the two days a year when clocks change.
    """

    day: date
    start: datetime
    route_ids: tuple[str, ...]
    stop_ids: tuple[str, ...]
    tours: tuple[tuple[int, ...], ...]
    route_depot: Array
    route_courier: Array
    departure_s: Array
    place_route: Array
    place_x_m: Array
    place_y_m: Array
    place_zone: Array
    sequence: Array
    site: Array
    customer: Array
    parcels: Array
    product: Array
    level: Array
    value_eur: Array
    arrival_s: Array
    travel_s: Array
    service_s: Array
    promised_start_s: Array
    promised_end_s: Array

    @property
    def stops(self) -> int:
        return len(self.stop_ids)

    def depot_place(self, route: int) -> int:
        return self.stops + route


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What was ordered for a day; each field is (stops,)."""

    site: Array
    customer: Array
    parcels: Array
    product: Array
    level: Array
    value_eur: Array
    service_s: Array


def make_plan(world: World, day: date, noise: Noise) -> Plan:
    """Sweeps the day's sites around the centre into routes, then always drives to the nearest site left."""
    size, p = world.parameters.size, world.parameters.plan
    route_depot = np.arange(size.vehicles) * size.depots // size.vehicles
    tours = _tours(world, day, noise, route_depot)
    site, lengths = np.concatenate(tours), [len(tour) for tour in tours]
    stops, route = len(site), np.repeat(np.arange(size.vehicles), lengths)
    orders = _orders(world, noise, site)
    usual = Rates(np.vstack([usual_speed_mps(world, is_weekend(day)) * p.speed_share, np.ones((1, TICKS))]))
    place_x_m = np.concatenate([world.site_x_m[site], world.depot_x_m[route_depot]])
    place_y_m = np.concatenate([world.site_y_m[site], world.depot_y_m[route_depot]])
    place_zone = np.concatenate([world.site_zone[site], world.depot_zone[route_depot]])
    wave = noise.generator("wave").integers(p.waves, size=size.vehicles)
    departure_s = p.first_departure_h * HOUR_S + wave * p.wave_s
    arrival_s, travel_s = np.zeros(stops), np.zeros(stops)
    late_start_s = world.depot_habit_s.mean() + world.parameters.depot.loading_s
    at_s = departure_s + p.departure_share * late_start_s
    before, starts = stops + np.arange(size.vehicles), np.cumsum([0, *lengths])
    for stop in range(stops):
        r = route[stop]
        metres = float(leg_m(world.parameters, place_x_m, place_y_m, before[r], stop))
        middle_s = usual.finish_s(place_zone[before[r]], at_s[r], metres / 2)
        arrival_s[stop] = usual.finish_s(place_zone[stop], middle_s, metres / 2)
        travel_s[stop] = arrival_s[stop] - at_s[r]
        at_s[r], before[r] = arrival_s[stop] + orders.service_s[stop], stop
    width_s = np.where(orders.level == 1, p.express_width_s, p.standard_width_s)
    promised_start_s = arrival_s - p.promise_lead_share * width_s
    promised_start_s = np.floor(promised_start_s / p.promise_grid_s) * p.promise_grid_s
    sequence = np.arange(stops) - starts[route] + 1
    return Plan(
        day=day,
        start=service_day_start(world.parameters, day),
        route_ids=tuple(f"R-{day:%Y%m%d}-{r + 1:02d}" for r in range(size.vehicles)),
        stop_ids=tuple(f"S-{day:%Y%m%d}-{r + 1:02d}-{s:03d}" for r, s in zip(route, sequence, strict=True)),
        tours=tuple(tuple(range(a, b)) for a, b in pairwise(starts)),
        route_depot=route_depot,
        route_courier=noise.generator("roster").permutation(size.couriers)[: size.vehicles],
        departure_s=departure_s,
        place_route=np.concatenate([route, np.arange(size.vehicles)]),
        place_x_m=place_x_m,
        place_y_m=place_y_m,
        place_zone=place_zone,
        sequence=sequence,
        site=orders.site,
        customer=orders.customer,
        parcels=orders.parcels,
        product=orders.product,
        level=orders.level,
        value_eur=orders.value_eur,
        arrival_s=arrival_s,
        travel_s=travel_s,
        service_s=orders.service_s,
        promised_start_s=promised_start_s,
        promised_end_s=promised_start_s + width_s,
    )


def leg_m(parameters: Parameters, x_m: Array, y_m: Array, start: Array | int, end: Array | int) -> Array:
    """Metres driven between two places: the straight line with its detour, and the search for a kerb."""
    straight_m = np.hypot(x_m[end] - x_m[start], y_m[end] - y_m[start])
    return straight_m * parameters.streets.detour + parameters.streets.access_m


def is_weekend(day: date) -> bool:
    return day.weekday() >= 5


def service_day_start(parameters: Parameters, day: date) -> datetime:
    """Local noon minus twelve hours, in UTC."""
    noon = datetime.combine(day, time(12), tzinfo=ZoneInfo(parameters.place.timezone))
    return noon.astimezone(UTC) - timedelta(hours=12)


def _tours(world: World, day: date, noise: Noise, route_depot: Array) -> list[Array]:
    size, p = world.parameters.size, world.parameters.plan
    volume = (p.weekend_volume if is_weekend(day) else 1.0) * (1 + p.volume_sd * noise.normal("volume", 1)[0])
    wanted = int(np.clip(round(size.vehicles * size.stops_per_route * volume), size.vehicles, size.sites))
    gumbel = -np.log(-np.log(noise.uniform("which sites", size.sites) + 1e-12))
    sites = np.argsort(-(np.log(world.site_weight) + gumbel), kind="stable")[:wanted]
    angle = np.arctan2(world.site_y_m[sites], world.site_x_m[sites])
    astray = p.overlap_sectors * 2 * np.pi / size.vehicles * noise.normal("overlap", size.sites)[sites]
    sectors = np.array_split(sites[np.argsort((angle + astray) % (2 * np.pi), kind="stable")], size.vehicles)
    return [_nearest_first(world, *pair) for pair in zip(sectors, route_depot, strict=True)]


def _nearest_first(world: World, sites: Array, depot: int) -> Array:
    x_m, y_m = world.site_x_m[sites], world.site_y_m[sites]
    here_x_m, here_y_m = world.depot_x_m[depot], world.depot_y_m[depot]
    left, order = np.ones(len(sites), bool), []
    for _ in sites:
        away = np.where(left, (x_m - here_x_m) ** 2 + (y_m - here_y_m) ** 2, np.inf)
        nearest = int(away.argmin())
        left[nearest] = False
        order.append(nearest)
        here_x_m, here_y_m = x_m[nearest], y_m[nearest]
    return sites[order]


def _orders(world: World, noise: Noise, site: Array) -> Orders:
    p, sites = world.parameters, world.parameters.size.sites
    share = np.cumsum(list(p.service.product_share.values()))
    product = np.searchsorted(share[:-1], noise.uniform("product", sites)[site], side="right")
    parcels = 1 + np.floor(-1.1 * np.log1p(-noise.uniform("parcels", sites)[site])).astype(int)
    factor = np.array(list(p.service.product_factor.values()))[product]
    express = noise.uniform("express", sites)[site] < p.plan.express_share
    furniture = product == list(p.service.product_share).index("furniture")
    return Orders(
        site=site,
        customer=2 * site + (noise.uniform("customer", sites)[site] < 0.35),
        parcels=parcels,
        product=product,
        level=np.where(furniture, 2, np.where(express, 1, 0)),
        value_eur=np.round(np.exp(3.4 + 0.8 * noise.normal("value", sites)[site]) * factor**2, 2),
        service_s=(p.service.base_s + p.service.per_parcel_s * parcels) * factor * p.plan.service_share,
    )
