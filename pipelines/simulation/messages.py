"""What the outside world gets to hear of a day: the canonical tables, a builder each."""

from __future__ import annotations

from dataclasses import fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pipelines.simulation.disruptions import HOUR_S, Cause
from pipelines.simulation.envelope import Envelope, Messages, as_table, empty, joined_id, named, timestamps
from pipelines.simulation.noise import Array, Noise, autoregressive
from pipelines.simulation.pings import pings
from pipelines.simulation.plan import SERVICE_LEVELS, Plan, service_day_start
from pipelines.simulation.streets import TICK_S
from pipelines.simulation.truth import Outcome
from pipelines.simulation.weather import HOURS
from pipelines.simulation.world import World

if TYPE_CHECKING:
    from datetime import date

    from pipelines.simulation.city import City

_REPORTED_AFTER_S = 600.0


def messages_between(city: City, from_s: float, until_s: float) -> Messages:
    """Messages about what happened from ``from_s`` until just before ``until_s``, by table."""
    envelope = Envelope(city.plan.start, city.noise, city.world.parameters.messages)
    told_s = city.world.parameters.plan.told_h * HOUR_S
    told = from_s <= told_s < until_s
    return {
        "routes": routes(city, envelope) if told else empty("routes"),
        "stops": stops(city, envelope) if told else empty("stops"),
        "stop_events": stop_events(city, envelope, from_s, until_s),
        "pings": pings(city, envelope, from_s, until_s),
        "traffic": traffic(city, envelope, from_s, until_s),
        "weather": weather(city, envelope, from_s, until_s),
        "customers": empty("customers"),
        "depots": depots(city, envelope, from_s, until_s),
        "promises": promises(city, envelope) if told else empty("promises"),
    }


def routes(city: City, envelope: Envelope) -> pa.Table:
    world, plan, p = city.world, city.plan, city.world.parameters
    count = len(plan.route_ids)
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
        "vehicle_type": ["van"] * count,
        "timezone": [p.place.timezone] * count,
        "service_date": [plan.day.isoformat()] * count,
        "planned_departure_at": timestamps(plan.start, plan.departure_s),
    }
    return _told(city, envelope, "routes", columns)


def stops(city: City, envelope: Envelope) -> pa.Table:
    world, plan = city.world, city.plan
    count, products = plan.stops, tuple(world.parameters.service.product_share)
    columns = {
        "event_id": joined_id("ST", named(plan.stop_ids, np.arange(count))),
        "stop_id": plan.stop_ids,
        "route_id": named(plan.route_ids, plan.place_route[:count]),
        "plan_version": np.ones(count, int),
        "sequence": plan.sequence,
        "zone_id": named(world.zone_ids, plan.place_zone[:count]),
        "lat": np.round(world.lat(plan.place_y_m[:count]), 6),
        "lon": np.round(world.lon(plan.place_x_m[:count]), 6),
        "site_id": named(world.site_ids, plan.site),
        "customer_id": named(world.customer_ids, plan.customer),
        "parcels": plan.parcels,
        "product_type": named(products, plan.product),
        "service_level": named(SERVICE_LEVELS, plan.level),
        "value": plan.value_eur,
        "planned_arrival_at": timestamps(plan.start, plan.arrival_s),
        "planned_travel_s": np.round(plan.travel_s, 1),
        "planned_service_s": np.round(plan.service_s, 1),
        **_promised(plan),
    }
    return _told(city, envelope, "stops", columns)


def promises(city: City, envelope: Envelope) -> pa.Table:
    plan = city.plan
    columns = {
        "event_id": joined_id("PR", named(plan.stop_ids, np.arange(plan.stops))),
        "stop_id": plan.stop_ids,
        "promise_version": np.ones(plan.stops, int),
        **_promised(plan),
    }
    return _told(city, envelope, "promises", columns)


def stop_events(city: City, envelope: Envelope, from_s: float, until_s: float) -> pa.Table:
    plan, count = city.plan, city.plan.stops
    stop, route = np.arange(count), np.arange(len(plan.route_ids))
    visited = city.outcome[:count] != Outcome.SKIPPED
    ended = np.array(["", "completed", "failed", "skipped"])[city.outcome[:count]]
    moved_s, moved, place = (
        (np.array(c) for c in zip(*city.resequenced, strict=True)) if city.resequenced else _NONE
    )
    kind = np.concatenate(
        [["departed_depot"] * len(route), ["arrived"] * count, ended, ["resequenced"] * len(moved)]
    )
    occurred_s = np.concatenate(
        [city.departed_s, np.where(visited, city.arrived_s[:count], np.inf), city.done_s[:count], moved_s]
    )
    subject = np.concatenate([-1 - route, stop, stop, moved.astype(int)])
    sequence = np.concatenate([np.zeros(len(route) + 2 * count, int), place.astype(int)])
    slot = np.concatenate(
        [route, len(route) + np.arange(2 * count), len(route) + 2 * count + moved.astype(int)]
    )
    now = np.flatnonzero((occurred_s >= from_s) & (occurred_s < until_s))
    kind, occurred_s, subject, sequence, slot = (a[now] for a in (kind, occurred_s, subject, sequence, slot))
    of_route = np.where(subject < 0, -1 - subject, plan.place_route[np.maximum(subject, 0)])
    ids = [plan.stop_ids[s] if s >= 0 else plan.route_ids[-1 - s] for s in subject]
    columns = {
        "event_id": joined_id(
            "E", pa.array(ids, pa.string()), pa.array(kind), np.rint(occurred_s * 1e3).astype(int)
        ),
        "route_id": named(plan.route_ids, of_route),
        "stop_id": named(plan.stop_ids, subject),
        "kind": pa.array(kind),
        "sequence": pa.array(sequence, pa.int64(), mask=sequence == 0),
    }
    return envelope.seal("stop_events", columns, occurred_s, slot, len(route) + 3 * count)


def traffic(city: City, envelope: Envelope, from_s: float, until_s: float) -> pa.Table:
    """Zone speeds as a feed tells them: noisy, some missing, incidents known after ten minutes."""
    world, p = city.world, city.world.parameters.messages
    zones, slots = world.parameters.size.zones, int(30 * HOUR_S / p.traffic_s)
    low_s, high_s = (hour * HOUR_S for hour in p.traffic_hours)
    at_s = np.arange(slots) * p.traffic_s
    slot = np.flatnonzero((at_s >= max(low_s, from_s)) & (at_s < min(high_s, until_s)))
    zone, slot = (grid.ravel() for grid in np.meshgrid(np.arange(zones), slot, indexing="ij"))
    number = zone * slots + slot
    told = city.noise.uniform("traffic gap", zones * slots)[number] >= p.traffic_gap_share
    zone, slot, number = zone[told], slot[told], number[told]
    at_s = slot * p.traffic_s
    speed_mps = city.rates.rate[zone, (at_s / TICK_S).astype(int)]
    speed_mps = speed_mps * np.exp(p.traffic_sd * city.noise.normal("traffic error", zones * slots)[number])
    incidents = np.zeros(len(zone), int)
    for upset in city.draws.upsets:
        if upset.cause in (Cause.SLOW_ZONE, Cause.INCIDENT):
            known = (at_s >= upset.onset_s + _REPORTED_AFTER_S) & (at_s < upset.end_s)
            incidents += known & (zone == upset.subject)
    columns = {
        "event_id": joined_id("T", f"{city.plan.day:%Y%m%d}", zone + 1, slot),
        "zone_id": named(world.zone_ids, zone),
        "speed_mps": np.round(np.clip(speed_mps, 0, 69), 2),
        "free_flow_mps": np.round(world.free_flow_mps[zone], 2),
        "incidents": incidents,
    }
    return envelope.seal("traffic", columns, at_s.astype(float), number, zones * slots)


def weather(city: City, envelope: Envelope, from_s: float, until_s: float) -> pa.Table:
    """Each hour as observed once it is over, and forecasts whose error grows with the lead."""
    p, plan = city.world.parameters.messages, city.plan
    issues = np.arange(0, HOURS, p.forecast_every_h)
    issue, lead = (g.ravel() for g in np.meshgrid(issues, np.arange(p.forecast_hours), indexing="ij"))
    issued_h = np.concatenate([np.arange(HOURS) + 1, issue])
    valid_h = np.concatenate([np.arange(HOURS), issue + lead])
    lead_h = np.concatenate([np.full(HOURS, -1), lead])
    told = _forecast(city, valid_h, lead_h, len(issues))
    row = np.flatnonzero((issued_h * HOUR_S >= from_s) & (issued_h * HOUR_S < until_s))
    kind = np.where(lead_h < 0, "observed", "forecast")[row]
    columns = {
        "event_id": joined_id("W", f"{plan.day:%Y%m%d}", pa.array(kind), issued_h[row], valid_h[row]),
        "area_id": [city.world.parameters.place.area_id] * len(row),
        "kind": pa.array(kind),
        "valid_at": timestamps(plan.start, valid_h[row] * HOUR_S),
        "issued_at": timestamps(plan.start, issued_h[row] * HOUR_S),
        **{name: np.round(values[row], 2) for name, values in told.items()},
    }
    return envelope.seal("weather", columns, issued_h[row] * HOUR_S, row, len(issued_h), p.weather_delay_s)


def depots(city: City, envelope: Envelope, from_s: float, until_s: float) -> pa.Table:
    """How far each depot is with sorting, until its last vehicle has left."""
    world, plan, p = city.world, city.plan, city.world.parameters.messages
    count, slots = len(world.depot_ids), int(30 * HOUR_S / p.depot_s)
    depot, slot = (g.ravel() for g in np.meshgrid(np.arange(count), np.arange(slots), indexing="ij"))
    at_s, number = slot * p.depot_s, depot * slots + slot
    planned_s, gone_s = (
        np.array([at[plan.route_depot == d].max() for d in range(count)])
        for at in (plan.departure_s, city.departed_s)
    )
    delay_s, begin_s = city.sort_delay_s(), city.draws.sort_starts_s
    ready_share = (at_s - begin_s) / (planned_s + delay_s - begin_s)[depot]
    told_s = delay_s[depot] + p.depot_sd_s * city.noise.normal("depot error", count * slots)
    now = (at_s >= max(from_s, p.depot_from_h * HOUR_S)) & (at_s < np.minimum(until_s, gone_s[depot]))
    columns = {
        "event_id": joined_id("DP", f"{plan.day:%Y%m%d}", depot[now] + 1, slot[now]),
        "depot_id": named(world.depot_ids, depot[now]),
        "parcels_ready_share": np.round(np.clip(ready_share[now], 0, 1), 3),
        "sort_delay_s": np.round(told_s[now], 0),
        "inventory_share": np.round(0.95 + 0.05 * city.noise.uniform("inventory", count)[depot[now]], 3),
    }
    return envelope.seal("depots", columns, at_s[now], number[now], count * slots)


def customers(world: World, first_day: date) -> pa.Table:
    """What every customer prefers, told once at noon of the day before the history begins."""
    noise, ids = Noise(world.seed, 2), world.customer_ids
    count, site = len(ids), np.arange(len(ids)) // 2
    share = noise.uniform("channel", count)
    visits = 5 + np.floor(20 * noise.uniform("past visits", count))
    home = noise.generator("past homes").binomial(visits.astype(int), world.site_home_share[site]) / visits
    at_s = np.full(count, 12 * HOUR_S)
    start = service_day_start(world.parameters, first_day - timedelta(days=1))
    quiet = noise.uniform("quiet", count) < 0.4
    columns = {
        "event_id": joined_id("CP", named(ids, np.arange(count))),
        "occurred_at": timestamps(start, at_s),
        "received_at": timestamps(start, at_s + 1),
        "customer_id": ids,
        "channel": named(("email", "sms", "push", "none"), np.searchsorted([0.4, 0.7, 0.95], share)),
        "notice_minutes": np.array([15, 30, 60])[(3 * noise.uniform("notice", count)).astype(int)],
        "quiet_from_hour": pa.array(np.full(count, 21), mask=~quiet),
        "quiet_to_hour": pa.array(np.full(count, 8), mask=~quiet),
        "safe_place": named(
            ("shed", "neighbour"), np.floor(5 * noise.uniform("safe", count)).astype(int) - 3
        ),
        "home_share": np.round(home, 3),
    }
    return as_table("customers", columns)


_NONE = (np.zeros(0), np.zeros(0, int), np.zeros(0, int))


def _promised(plan: Plan) -> dict[str, pa.Array]:
    return {
        "promised_start_at": timestamps(plan.start, plan.promised_start_s),
        "promised_end_at": timestamps(plan.start, plan.promised_end_s),
    }


def _told(city: City, envelope: Envelope, table: str, columns: dict[str, Any]) -> pa.Table:
    count = len(columns["event_id"])
    occurred_s = np.full(count, city.world.parameters.plan.told_h * HOUR_S)
    return envelope.seal(table, columns, occurred_s, np.arange(count), count)


def _forecast(city: City, valid_h: Array, lead_h: Array, issues: int) -> dict[str, Array]:
    """Truth where the lead is negative; else truth with errors that persist from hour to hour of an issue."""
    p = city.world.parameters.messages
    drawn = city.noise.normal("forecast error", 3, issues, p.forecast_hours)
    wet, wind, warm = autoregressive(drawn, 0.8).reshape(3, -1)
    observed = np.zeros(HOURS)
    wet, wind, warm = (np.concatenate([observed, error]) for error in (wet, wind, warm))
    hours = np.maximum(lead_h + 1, 0)
    truth = {f.name: getattr(city.weather, f.name)[valid_h] for f in fields(city.weather)}
    rain_mm = truth["precipitation_mm"] * np.exp(0.06 * np.sqrt(hours) * 2 * wet)
    rain_mm = rain_mm + np.maximum(0, 0.12 * np.sqrt(hours) * wet - 0.4)
    temperature_c = truth["temperature_c"] + 0.3 * np.sqrt(hours) * warm
    return {
        "temperature_c": temperature_c,
        "precipitation_mm": np.clip(rain_mm, 0, 290),
        "snow_cm": np.where(temperature_c < 0.5, np.clip(rain_mm, 0, 90), 0.0),
        "wind_mps": np.clip(truth["wind_mps"] * np.exp(0.05 * np.sqrt(hours) * wind), 0, 100),
        "cloud_share": np.clip(truth["cloud_share"] + 0.05 * np.sqrt(hours) * wet, 0, 1),
    }
