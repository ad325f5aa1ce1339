"""What is told of plans: routes, stops and promises on the evening before, and every change of the day."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.simulation.disruptions import HOUR_S
from pipelines.simulation.envelope import Envelope, empty, joined_id, named, timestamps
from pipelines.simulation.noise import Array
from pipelines.simulation.orders import SERVICE_LEVELS
from pipelines.simulation.service_day import ServiceDay


def routes(day: ServiceDay, envelope: Envelope, from_s: float, until_s: float) -> pa.Table:
    world, plan, p = day.world, day.plan, day.world.parameters
    told_s = p.plan.told_h * HOUR_S
    if not from_s <= told_s < until_s:
        return empty("routes")
    count = plan.routes
    columns = {
        "event_id": joined_id("RT", named(plan.route_ids, np.arange(count))),
        "route_id": plan.route_ids,
        "vehicle_id": world.vehicle_ids,
        "courier_id": named(world.courier_ids, plan.route_courier),
        "depot_id": named(world.depot_ids, plan.route_depot),
        "area_id": [p.place.area_id] * count,
        "origin_zone_id": named(world.zone_ids, plan.place_zone[plan.stops :]),
        "origin_lat": np.round(world.lat(plan.place_y_m[plan.stops :]), 6),
        "origin_lon": np.round(world.lon(plan.place_x_m[plan.stops :]), 6),
        "vehicle_type": world.vehicle_type,
        "timezone": [p.place.timezone] * count,
        "service_date": [plan.day.isoformat()] * count,
        "planned_departure_at": timestamps(plan.start, plan.departure_s),
    }
    return envelope.seal("routes", columns, np.full(count, told_s), np.arange(count), count)


def stops(day: ServiceDay, envelope: Envelope, from_s: float, until_s: float) -> pa.Table:
    """The plan of the evening before, and each revision of it as a new version."""
    plan, told = day.plan, [empty("stops")]
    first = np.arange(plan.planned)
    told_s = day.world.parameters.plan.told_h * HOUR_S
    route, arrival_s, travel_s = plan.place_route[first], plan.arrival_s[first], plan.travel_s[first]
    evening = (first, route, plan.sequence[first], arrival_s, travel_s)
    if from_s <= told_s < until_s:
        told.append(_stops(day, envelope, told_s, 1, *evening))
    for r in day.revisions:
        if from_s <= r.at_s < until_s:
            changed = (r.stop, r.route, r.sequence, r.arrival_s, r.travel_s)
            told.append(_stops(day, envelope, r.at_s, r.version, *changed))
    return pa.concat_tables(told).combine_chunks()


def promises(day: ServiceDay, envelope: Envelope, from_s: float, until_s: float) -> pa.Table:
    """The first window told to each customer; the simulated fleet never tells a second."""
    plan = day.plan
    stop = np.flatnonzero((day.joined_s >= from_s) & (day.joined_s < until_s))
    columns = {
        "event_id": joined_id("PR", named(plan.stop_ids, stop)),
        "stop_id": named(plan.stop_ids, stop),
        "promise_version": np.ones(len(stop), int),
        **_promised(day, stop),
    }
    return envelope.seal("promises", columns, day.joined_s[stop], stop, plan.stops)


def _stops(
    day: ServiceDay,
    envelope: Envelope,
    at_s: float,
    version: int,
    stop: Array,
    route: Array,
    sequence: Array,
    arrival_s: Array,
    travel_s: Array,
) -> pa.Table:
    world, plan, orders = day.world, day.plan, day.plan.orders
    products = tuple(world.parameters.service.product_share)
    columns = {
        "event_id": joined_id("ST", named(plan.stop_ids, stop), f"V{version}"),
        "stop_id": named(plan.stop_ids, stop),
        "route_id": named(plan.route_ids, route),
        "plan_version": np.full(len(stop), version),
        "sequence": sequence,
        "zone_id": named(world.zone_ids, plan.place_zone[stop]),
        "lat": np.round(world.lat(plan.place_y_m[stop]), 6),
        "lon": np.round(world.lon(plan.place_x_m[stop]), 6),
        "site_id": named(world.site_ids, orders.site[stop]),
        "customer_id": named(world.customer_ids, orders.customer[stop]),
        "parcels": orders.parcels[stop],
        "product_type": named(products, orders.product[stop]),
        "service_level": named(SERVICE_LEVELS, orders.level[stop]),
        "value": orders.value_eur[stop],
        "planned_arrival_at": timestamps(plan.start, arrival_s),
        "planned_travel_s": np.round(travel_s, 1),
        "planned_service_s": np.round(plan.service_s[stop], 1),
        **_promised(day, stop),
    }
    topic = f" {version}" if version > 1 else ""
    return envelope.seal("stops", columns, np.full(len(stop), at_s), stop, plan.stops, topic=topic)


def _promised(day: ServiceDay, stop: Array) -> dict[str, Any]:
    start_s, end_s = day.running.promised_s[:, stop]
    return {
        "promised_start_at": timestamps(day.plan.start, start_s),
        "promised_end_at": timestamps(day.plan.start, end_s),
    }
