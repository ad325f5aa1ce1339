"""Who serves which part of the city: a beat for each vehicle, the same every day, and the order within it.

Couriers know their beat, so its zones follow each other in the same order every day, as drivers of real fleets
do; only which doors have an order changes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.simulation.noise import Array
from pipelines.simulation.parameters import Parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class Beats:
    """``route`` and ``rank`` : (sites,), whose beat a site is in and its place in it; ``depot`` : (routes,)."""

    route: Array
    rank: Array
    depot: Array


def vehicle_types(parameters: Parameters) -> tuple[str, ...]:
    """The type of each vehicle, one by one."""
    return tuple(name for name, count in parameters.size.vehicles.items() for _ in range(count))


def make_beats(parameters: Parameters, xy_m: Array, weight: Array, zone: Array, depot_xy_m: Array) -> Beats:
    """Vehicles that keep off the road serve the surroundings of a depot, vans share the rest; all by whole zones."""
    types = vehicle_types(parameters)
    share = np.array([parameters.vehicle[name].stops_share for name in types])
    on_road = np.array([parameters.vehicle[name].on_road for name in types])
    crowd = np.bincount(zone, weight, parameters.size.zones)
    of_zone = np.where(crowd > 0, -1, 0)
    middle_m = _zone_middles_m(parameters)
    for place, short in enumerate(sorted(np.flatnonzero(~on_road), key=lambda r: share[r])):
        free = np.flatnonzero(of_zone < 0)
        away_m = np.hypot(*(middle_m[:, free] - depot_xy_m[:, [place % depot_xy_m.shape[1]]]))
        near = free[np.argsort(away_m, kind="stable")]
        enough = np.searchsorted(np.cumsum(crowd[near]), crowd.sum() * share[short] / share.sum())
        of_zone[near[: max(1, int(enough))]] = short
    _split(np.flatnonzero(of_zone < 0), np.flatnonzero(on_road), of_zone, middle_m, crowd)
    route = of_zone[zone]
    middle_m = np.array([np.bincount(route, axis, len(types)) for axis in xy_m]) / np.bincount(route)
    away_m = np.hypot(*(middle_m[:, :, None] - depot_xy_m[:, None, :]))
    depot = away_m.argmin(axis=1)
    return Beats(route=route, rank=_ranks(parameters, xy_m, zone, route, depot_xy_m[:, depot]), depot=depot)


def neighbours(middle_m: Array, depot: Array, eligible: Array, count: int) -> Array:
    """(routes, count) the nearest other eligible routes of the same depot, nearest first; -1 where too few."""
    routes = len(depot)
    near = np.full((routes, count), -1)
    for route in np.flatnonzero(eligible):
        others = np.flatnonzero(eligible & (depot == depot[route]) & (np.arange(routes) != route))
        away_m = np.hypot(*(middle_m[:, others] - middle_m[:, [route]]))
        found = others[np.argsort(away_m, kind="stable")[:count]]
        near[route, : len(found)] = found
    return near


def _zone_middles_m(parameters: Parameters) -> Array:
    size = parameters.size
    row, column = np.divmod(np.arange(size.zones), size.grid)
    return (np.array([column, row]) + 0.5 - size.grid / 2) * size.zone_m


def _split(zones: Array, vehicles: Array, of_zone: Array, middle_m: Array, crowd: Array) -> None:
    """Halves the zones across their longer side until each vehicle has its part."""
    if len(vehicles) == 1:
        of_zone[zones] = vehicles[0]
        return
    axis = int(np.ptp(middle_m[:, zones], axis=1).argmax())
    zones = zones[np.lexsort((middle_m[1 - axis, zones], middle_m[axis, zones]))]
    half = len(vehicles) // 2
    done = np.cumsum(crowd[zones])
    cut = 1 + int(np.abs(done - done[-1] * half / len(vehicles)).argmin())
    cut = min(max(cut, half), len(zones) - (len(vehicles) - half))
    _split(zones[:cut], vehicles[:half], of_zone, middle_m, crowd)
    _split(zones[cut:], vehicles[half:], of_zone, middle_m, crowd)


def _ranks(parameters: Parameters, xy_m: Array, zone: Array, route: Array, start_m: Array) -> Array:
    """Zone after zone, each in strips whose width suits the stops of a day (Daganzo 1984: about sqrt(3 / density))."""
    size = parameters.size
    types = vehicle_types(parameters)
    stops = size.van_stops * sum(parameters.vehicle[name].stops_share for name in types)
    strip_m = size.grid * size.zone_m * np.sqrt(3 / stops)
    key = route.astype(np.int64) * size.zones + zone
    cells, cell = np.unique(key, return_inverse=True)
    middle_m = np.array([np.bincount(cell, axis) for axis in xy_m]) / np.bincount(cell)
    place = np.zeros(len(cells))
    of_route = cells // size.zones
    for r in range(len(types)):
        place[of_route == r] = _nearest_first(middle_m[:, of_route == r], start_m[:, r])
    strip = np.floor(xy_m[0] / strip_m).astype(int)
    along_m = np.where(strip % 2 == 0, xy_m[1], -xy_m[1])
    order = np.lexsort((along_m, strip, place[cell], route))
    rank = np.empty(len(route), int)
    rank[order] = np.arange(len(route))
    return rank


def _nearest_first(xy_m: Array, start_m: Array) -> Array:
    """The place of each point in a tour that always goes on to the nearest point left."""
    left, here_m, place = np.ones(xy_m.shape[1], bool), start_m, np.empty(xy_m.shape[1])
    for number in range(xy_m.shape[1]):
        nearest = int(np.where(left, np.hypot(*(xy_m - here_m[:, None])), np.inf).argmin())
        left[nearest], place[nearest], here_m = False, number, xy_m[:, nearest]
    return place
