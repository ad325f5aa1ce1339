"""Who serves which part of the city: a beat for each vehicle, the same every day, and the order within it.

Couriers know their beat, so its zones follow each other in the same order every day, as drivers of real fleets
do; only which doors have an order changes.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    """Vehicles that keep off the road serve the surroundings of a depot, vans share the rest."""
    types = vehicle_types(parameters)
    share = np.array([parameters.vehicle[name].stops_share for name in types])
    on_road = np.array([parameters.vehicle[name].on_road for name in types])
    route = np.full(len(weight), -1)
    for place, short in enumerate(sorted(np.flatnonzero(~on_road), key=lambda r: share[r])):
        _take_nearest(
            route, short, xy_m, depot_xy_m[:, place % depot_xy_m.shape[1]], share[short] / share.sum()
        )
    _split(np.flatnonzero(route < 0), np.flatnonzero(on_road), route, xy_m, weight)
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


def _take_nearest(route: Array, short: int, xy_m: Array, depot_m: Array, share: float) -> None:
    free = np.flatnonzero(route < 0)
    away_m = np.hypot(*(xy_m[:, free] - depot_m[:, None]))
    count = max(1, int(share * len(route)))
    route[free[np.argpartition(away_m, count)[:count]]] = short


def _split(sites: Array, vehicles: Sequence[int], route: Array, xy_m: Array, weight: Array) -> None:
    """Halves the sites across their longer side until each vehicle has its part."""
    if len(vehicles) == 1:
        route[sites] = vehicles[0]
        return
    spread_m = np.ptp(xy_m[:, sites], axis=1)
    sites = sites[np.argsort(xy_m[int(spread_m.argmax()), sites], kind="stable")]
    half = len(vehicles) // 2
    done = np.cumsum(weight[sites])
    cut = int(np.searchsorted(done, done[-1] * half / len(vehicles)))
    _split(sites[:cut], vehicles[:half], route, xy_m, weight)
    _split(sites[cut:], vehicles[half:], route, xy_m, weight)


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
