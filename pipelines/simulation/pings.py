"""Where the vehicles are, every half minute, as their receivers say."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pipelines.simulation.disruptions import HOUR_S
from pipelines.simulation.engine import leg_parts
from pipelines.simulation.envelope import Envelope, joined_id, named
from pipelines.simulation.noise import Array
from pipelines.simulation.service_day import ServiceDay

STATUSES = ("parked", "driving", "serving", "stopped")
PARKED, DRIVING, SERVING, STOPPED = range(4)

_ROUTE_S = 1e6
_DAY_S = 30 * HOUR_S


def pings(day: ServiceDay, envelope: Envelope, from_s: float, until_s: float) -> pa.Table:
    """The pings of an interval, without those lost in a gap."""
    p, plan, noise = day.world.parameters.messages, day.plan, day.noise
    routes, slots = len(plan.route_ids), int(_DAY_S / p.ping_s)
    route, slot, at_s = _instants(day, from_s, until_s, slots)
    x_m, y_m, speed_mps, status = _positions(day, route, at_s)
    number = route * slots + slot
    east_m, north_m = p.ping_sd_m * noise.normal("ping error", 2, routes * slots)[:, number]
    speed_mps = speed_mps * np.exp(0.15 * noise.normal("ping speed", routes * slots)[number])
    columns = {
        "event_id": joined_id("P", f"{plan.day:%Y%m%d}", route + 1, slot),
        "vehicle_id": named(day.world.vehicle_ids, route),
        "route_id": named(plan.route_ids, route),
        "lat": np.round(day.world.lat(y_m + north_m), 6),
        "lon": np.round(day.world.lon(x_m + east_m), 6),
        "speed_mps": np.round(np.clip(speed_mps, 0, 60), 2),
        "status": named(STATUSES, status),
    }
    return envelope.seal("pings", columns, at_s, number, routes * slots)


def _instants(day: ServiceDay, from_s: float, until_s: float, slots: int) -> tuple[Array, Array, Array]:
    p, plan = day.world.parameters.messages, day.plan
    routes = np.arange(len(plan.route_ids))
    first, last = (int(np.clip(s / p.ping_s + more, 0, slots)) for s, more in ((from_s, -1), (until_s, 1)))
    route, slot = (grid.ravel() for grid in np.meshgrid(routes, np.arange(first, last), indexing="ij"))
    phase_s = p.ping_s * day.noise.uniform("ping phase", len(routes))
    at_s = slot * p.ping_s + phase_s[route]
    gaps = int(_DAY_S / p.gap_s)
    lost = day.noise.uniform("gap", len(routes), gaps) < p.gap_share
    gap = np.minimum((at_s / p.gap_s).astype(int), gaps - 1)
    on_s = plan.departure_s - p.pings_before_departure_s
    off_s = day.done_s[plan.stops :]
    kept = (at_s >= from_s) & (at_s < until_s) & (at_s >= on_s[route]) & (at_s <= off_s[route])
    kept &= ~lost[route, gap]
    return route[kept], slot[kept], at_s[kept]


def _positions(day: ServiceDay, route: Array, at_s: Array) -> tuple[Array, Array, Array, Array]:
    plan = day.plan
    begun = np.flatnonzero(np.isfinite(day.left_s))
    begun = begun[np.argsort(day.route[begun] * _ROUTE_S + day.left_s[begun], kind="stable")]
    keys = day.route[begun] * _ROUTE_S + day.left_s[begun]
    place = np.append(begun, plan.stops)[np.searchsorted(keys, route * _ROUTE_S + at_s, side="right") - 1]
    away = (day.route[place] == route) & (day.left_s[place] <= at_s)
    place = np.where(away, place, plan.depot_place(route))
    before = np.where(away, day.came_from[place], place)
    share, speed_mps = np.zeros(len(at_s)), np.zeros(len(at_s))
    share[away], speed_mps[away] = _progress(day, route[away], place[away], at_s[away])
    x_m, y_m = (
        axis[before] + share * (axis[place] - axis[before]) for axis in (plan.place_x_m, plan.place_y_m)
    )
    conditions = day.running.conditions
    stop_s, resume_s = conditions.stop_s[0, route], conditions.resume_s[0, route]
    driving, stopped = away & (at_s < day.arrived_s[place]), away & (at_s >= stop_s) & (at_s < resume_s)
    status = np.select([stopped, driving, away], [STOPPED, DRIVING, SERVING], PARKED)
    return x_m, y_m, np.where(status == DRIVING, speed_mps, 0.0), status


def _progress(day: ServiceDay, route: Array, place: Array, at_s: Array) -> tuple[Array, Array]:
    """Share of the leg that is driven, and the speed, from the same rates that timed the leg."""
    plan, rates, c = day.plan, day.rates, day.running.conditions
    out_lane, out_work, in_lane, in_work = leg_parts(day.running, np.zeros(len(place), int), route, place)
    second = at_s >= day.middle_s[place]
    lane = np.where(second, in_lane, out_lane)
    since_s = np.where(second, day.middle_s[place], day.left_s[place])
    stop_s, resume_s = (np.clip(at[0, route], since_s, at_s) for at in (c.stop_s, c.resume_s))
    done = rates.work(lane, since_s, at_s) - rates.work(lane, stop_s, resume_s)
    pace = plan.route_pace[route] / day.running.draws.leg[0, place]
    zone = plan.place_zone[np.where(second, place, day.came_from[place])]
    on_road = day.world.on_road[route]
    pace = pace * np.where(on_road, day.world.free_flow_mps[zone], day.world.off_road_mps[route])
    return np.clip(0.5 * second + done / (2 * np.where(second, in_work, out_work)), 0, 1), rates.at(
        lane, at_s
    ) * pace
