"""The plan of a service day: who visits which doors in which order, and what the customers were told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np

from pipelines.simulation.beats import neighbours
from pipelines.simulation.disruptions import HOUR_S
from pipelines.simulation.noise import Array, Noise
from pipelines.simulation.orders import EXPRESS, Orders, is_weekend, make_orders, sites_added, sites_of_day
from pipelines.simulation.parameters import Parameters
from pipelines.simulation.streets import NEVER_S, TICKS, Rates, usual_flow
from pipelines.simulation.world import World

ROBOT = "robot"
_EVENING_S = 15 * HOUR_S
#: Room for stops that others hand over, and for the depot.
SPARE_PLACES = 49


@dataclass(frozen=True, slots=True)
class Planner:
    """Times as a planner expects them: the speeds of the hour, the usual seconds at a door, no habits."""

    world: World
    usual: Rates
    x_m: Array
    y_m: Array
    zone: Array
    service_s: Array

    def times(
        self, routes: Array, tours: Sequence[Array], start: Array, start_s: Array
    ) -> tuple[Array, Array]:
        """(stops,) arrivals and drives of tours that leave the places ``start`` then; nan off the tours."""
        arrival_s, travel_s = np.full((2, len(self.service_s)), np.nan)
        before, at_s, never_s = start.copy(), start_s.astype(float), np.full(len(tours), NEVER_S)
        lengths = np.array([len(tour) for tour in tours])
        for place in range(lengths.max(initial=0)):
            on = np.flatnonzero(lengths > place)
            stop = np.array([tours[tour][place] for tour in on.tolist()])
            half = leg_m(self.world.parameters, self.x_m, self.y_m, before[on], stop) / 2
            reached_s = at_s[on]
            for end in (before[on], stop):
                row, work = leg_work(self.world, self.usual, 0, routes[on], self.zone[end], half)
                reached_s = self.usual.finish_s(row, reached_s, work, never_s[on], never_s[on])
            arrival_s[stop], travel_s[stop] = reached_s, reached_s - at_s[on]
            at_s[on], before[on] = reached_s + self.service_s[stop], stop
        return arrival_s, travel_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Places are the planned stops through the tours, then stops that may be added, then a depot per route.

    Seconds count from the start of the service day: local noon minus twelve hours, which is midnight but on
    the two days a year when clocks change. Arrivals and promises of stops that may be added are nan.
    What customers and couriers are like stands here too: ``door_s`` is seconds at a door that are usual there,
    ``route_pace`` and ``route_service`` are the factors of the courier and the vehicle.
    """

    day: date
    start: datetime
    planned: int
    route_ids: tuple[str, ...]
    stop_ids: tuple[str, ...]
    tour_first: Array
    route_depot: Array
    route_courier: Array
    route_neighbours: Array
    departure_s: Array
    late_start_s: Array
    place_route: Array
    place_x_m: Array
    place_y_m: Array
    place_zone: Array
    sequence: Array
    orders: Orders
    service_s: Array
    arrival_s: Array
    travel_s: Array
    promised_start_s: Array
    promised_end_s: Array
    review_s: Array
    planner: Planner
    usual_flow: Array
    route_pace: Array
    route_service: Array
    door_s: Array
    home_share: Array
    place_arrival_s: Array

    @property
    def stops(self) -> int:
        """Stops that are planned or may be added."""
        return len(self.stop_ids)

    @property
    def routes(self) -> int:
        return len(self.route_ids)

    @property
    def order_width(self) -> int:
        """Places that a route has room for, those of stops that it may be given included."""
        return int(np.diff(self.tour_first).max()) + len(self.review_s) + SPARE_PLACES

    def depot_place(self, route: Array) -> Array:
        return self.stops + route

    def added_place(self, review: int, route: Array) -> Array:
        """The stop that a route may be given at a review."""
        return self.planned + review * self.routes + route


def make_plan(world: World, day: date, noise: Noise) -> Plan:
    """The day's orders along the beats, with the times that a planner would expect."""
    p, routes = world.parameters, world.parameters.size.routes
    reviews = np.arange(
        p.dispatch.review_h[0] * HOUR_S, p.dispatch.review_h[1] * HOUR_S + 1, p.dispatch.review_s
    )
    planned_site, planned_route = sites_of_day(world, day, noise)
    added_site, added_route = sites_added(world, noise, len(reviews))
    site, route = np.concatenate([planned_site, added_site]), np.concatenate([planned_route, added_route])
    orders = make_orders(world, noise, site)
    first = np.searchsorted(planned_route, np.arange(routes + 1))
    sequence = np.arange(len(planned_site)) - first[planned_route] + 1
    depot, stops = world.beats.depot, len(site)
    place_route = np.concatenate([route, np.arange(routes)])
    place_x_m = np.concatenate([world.site_x_m[site], world.depot_x_m[depot]])
    place_y_m = np.concatenate([world.site_y_m[site], world.depot_y_m[depot]])
    place_zone = np.concatenate([world.site_zone[site], world.depot_zone[depot]])
    service_s = orders.usual_service_s * world.vehicle_service[route] * p.plan.service_share
    flow = usual_flow(world, is_weekend(day))
    usual = Rates(np.vstack([flow * p.plan.speed_share, np.ones((2, TICKS))])[None])
    departure_s = p.plan.first_departure_h * HOUR_S + world.vehicle_wave * p.plan.wave_s
    late_start_s = p.plan.departure_share * (world.depot_habit_s[depot] + p.depot.loading_s)
    planner = Planner(world, usual, place_x_m, place_y_m, place_zone, service_s)
    tours = [np.arange(a, b) for a, b in pairwise(first)]
    every = np.arange(routes)
    arrival_s, travel_s = planner.times(every, tours, stops + every, departure_s + late_start_s)
    start_s, end_s = promise_s(p, orders.level, orders.booked_s, arrival_s, arrival_s - departure_s[route])
    courier = _roster(world, noise)
    names = _names(day, planned_route, sequence, len(reviews), routes)
    return Plan(
        day=day,
        start=service_day_start(p, day),
        planned=len(planned_site),
        route_ids=names[0],
        stop_ids=names[1],
        tour_first=first,
        route_depot=depot,
        route_courier=courier,
        route_neighbours=_neighbours(world),
        departure_s=departure_s,
        late_start_s=late_start_s,
        place_route=place_route,
        place_x_m=place_x_m,
        place_y_m=place_y_m,
        place_zone=place_zone,
        sequence=np.concatenate([sequence, np.zeros(len(added_site), int)]),
        orders=orders,
        service_s=service_s,
        arrival_s=arrival_s,
        travel_s=travel_s,
        promised_start_s=start_s,
        promised_end_s=end_s,
        review_s=reviews,
        planner=planner,
        usual_flow=flow,
        route_pace=np.where(courier < 0, 1.0, world.courier_pace[courier]),
        route_service=np.where(courier < 0, 1.0, world.courier_service[courier]) * world.vehicle_service,
        door_s=orders.usual_service_s * world.site_service[site],
        home_share=world.site_home_share[site] + p.people.evening_home_gain * (arrival_s > _EVENING_S),
        place_arrival_s=np.concatenate([arrival_s, np.full(routes, np.nan)]),
    )


def leg_m(parameters: Parameters, x_m: Array, y_m: Array, start: Array, end: Array) -> Array:
    """Metres driven between two places: the straight line with its detour, and the search for a kerb."""
    straight_m = np.hypot(x_m[end] - x_m[start], y_m[end] - y_m[start])
    return straight_m * parameters.streets.detour + parameters.streets.access_m


def leg_work(
    world: World, rates: Rates, day: Array | int, route: Array, zone: Array, metres: Array
) -> tuple[Array, Array]:
    """The lane of the rates that a vehicle moves by in a zone, and its work there for some metres."""
    on_road = world.on_road[route]
    row = np.where(on_road, world.zone_district[zone], rates.cycle_paths)
    return rates.lane(day, row), metres / np.where(
        on_road, world.free_flow_mps[zone], world.off_road_mps[route]
    )


def promise_s(
    p: Parameters, level: Array, booked_s: Array, arrival_s: Array, ahead_s: Array
) -> tuple[Array, Array]:
    """Start and end of the windows told; wider the further ahead, and as booked where one was booked."""
    plan = p.plan
    width_s = plan.width_s + plan.width_per_hour_s * np.maximum(ahead_s, 0) / HOUR_S
    width_s = width_s * np.where(level == EXPRESS, plan.express_width_share, 1.0)
    width_s = np.round(width_s / plan.promise_grid_s) * plan.promise_grid_s
    width_s = np.where(np.isnan(booked_s), width_s, booked_s)
    start_s = arrival_s - plan.promise_lead_share * width_s
    start_s = np.floor(start_s / plan.promise_grid_s) * plan.promise_grid_s
    return start_s, start_s + width_s


def service_day_start(parameters: Parameters, day: date) -> datetime:
    """Local noon minus twelve hours, in UTC."""
    noon = datetime.combine(day, time(12), tzinfo=ZoneInfo(parameters.place.timezone))
    return noon.astimezone(UTC) - timedelta(hours=12)


def _roster(world: World, noise: Noise) -> Array:
    """The courier of each route, mostly the one of the beat; -1 for a robot, which has none."""
    size, crewed = world.parameters.size, np.flatnonzero(np.array(world.vehicle_type) != ROBOT)
    courier = np.full(size.routes, -1)
    courier[crewed] = np.arange(len(crewed))
    away = crewed[noise.uniform("away", len(crewed)) < world.parameters.people.away_share]
    spare = np.concatenate([courier[away], np.arange(len(crewed), size.couriers)])
    courier[away] = noise.generator("roster").permutation(spare)[: len(away)]
    return courier


def _neighbours(world: World) -> Array:
    """(routes, count) the vans nearest to each van that start at the same depot."""
    beat, routes = world.beats.route, world.parameters.size.routes
    middle_m = np.array([np.bincount(beat, axis, routes) for axis in (world.site_x_m, world.site_y_m)])
    middle_m = middle_m / np.bincount(beat, minlength=routes)
    return neighbours(middle_m, world.beats.depot, world.on_road, world.parameters.dispatch.neighbours)


def _names(
    day: date, route: Array, sequence: Array, reviews: int, routes: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    stamp = f"{day:%Y%m%d}"
    planned = [
        f"S-{stamp}-{r + 1:02d}-{s:03d}" for r, s in zip(route.tolist(), sequence.tolist(), strict=True)
    ]
    added = [f"S-{stamp}-{r + 1:02d}-A{k + 1:02d}" for k in range(reviews) for r in range(routes)]
    return tuple(f"R-{stamp}-{r + 1:02d}" for r in range(routes)), (*planned, *added)
