"""What is told of the surroundings: traffic, weather and its forecasts, and how ready the depots are."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pyarrow as pa

from pipelines.simulation.disruptions import HOUR_S, Cause
from pipelines.simulation.envelope import Envelope, joined_id, named, timestamps
from pipelines.simulation.noise import Array, autoregressive
from pipelines.simulation.service_day import ServiceDay
from pipelines.simulation.weather import HOURS

_FEEDS_END_S = 30 * HOUR_S


def traffic(day: ServiceDay, envelope: Envelope, from_s: float, until_s: float) -> pa.Table:
    """Zone speeds as a feed tells them: noisy, some missing, incidents known after ten minutes."""
    world, p = day.world, day.world.parameters.messages
    zones, slots = world.parameters.size.zones, int(_FEEDS_END_S / p.traffic_s)
    low_s, high_s = (hour * HOUR_S for hour in p.traffic_hours)
    at_s = np.arange(slots) * p.traffic_s
    slot = np.flatnonzero((at_s >= max(low_s, from_s)) & (at_s < min(high_s, until_s)))
    zone, slot = (grid.ravel() for grid in np.meshgrid(np.arange(zones), slot, indexing="ij"))
    number = zone * slots + slot
    told = day.noise.uniform("traffic gap", zones * slots)[number] >= p.traffic_gap_share
    zone, slot, number = zone[told], slot[told], number[told]
    at_s = slot * p.traffic_s
    speed_mps = world.free_flow_mps[zone] * day.rates.at(
        day.rates.lane(0, world.zone_district[zone]), at_s.astype(float)
    )
    speed_mps = speed_mps * np.exp(p.traffic_sd * day.noise.normal("traffic error", zones * slots)[number])
    incidents = _incidents(day, zone, slot, slots)
    columns = {
        "event_id": joined_id("T", f"{day.plan.day:%Y%m%d}", zone + 1, slot),
        "zone_id": named(world.zone_ids, zone),
        "speed_mps": np.round(np.clip(speed_mps, 0, 69), 2),
        "free_flow_mps": np.round(world.free_flow_mps[zone], 2),
        "incidents": incidents,
    }
    return envelope.seal("traffic", columns, at_s.astype(float), number, zones * slots)


def _incidents(day: ServiceDay, zone: Array, slot: Array, slots: int) -> Array:
    """How many incidents are reported in each zone; one is known some minutes after its onset."""
    world, p = day.world, day.world.parameters.messages
    count, at_s = np.zeros((world.parameters.size.districts, slots), int), np.arange(slots) * p.traffic_s
    struck = day.upsets.of(Cause.SLOW_ZONE, Cause.INCIDENT)
    for district, onset_s, end_s in zip(struck.subject, struck.onset_s, struck.end_s, strict=True):
        count[district] += (at_s >= onset_s + p.incident_known_s) & (at_s < end_s)
    return count[world.zone_district[zone], slot]


def weather(day: ServiceDay, envelope: Envelope, from_s: float, until_s: float) -> pa.Table:
    """Each hour as observed once it is over, and forecasts whose error grows with the lead."""
    p, plan = day.world.parameters.messages, day.plan
    issues = np.arange(0, HOURS, p.forecast_every_h)
    issue, lead = (g.ravel() for g in np.meshgrid(issues, np.arange(p.forecast_hours), indexing="ij"))
    issued_h = np.concatenate([np.arange(HOURS) + 1, issue])
    valid_h = np.concatenate([np.arange(HOURS), issue + lead])
    lead_h = np.concatenate([np.full(HOURS, -1), lead])
    told = _forecast(day, valid_h, lead_h, len(issues))
    row = np.flatnonzero((issued_h * HOUR_S >= from_s) & (issued_h * HOUR_S < until_s))
    kind = np.where(lead_h < 0, "observed", "forecast")[row]
    columns = {
        "event_id": joined_id("W", f"{plan.day:%Y%m%d}", pa.array(kind), issued_h[row], valid_h[row]),
        "area_id": [day.world.parameters.place.area_id] * len(row),
        "kind": pa.array(kind),
        "valid_at": timestamps(plan.start, valid_h[row] * HOUR_S),
        "issued_at": timestamps(plan.start, issued_h[row] * HOUR_S),
        **{name: np.round(values[row], 2) for name, values in told.items()},
    }
    return envelope.seal("weather", columns, issued_h[row] * HOUR_S, row, len(issued_h), p.weather_delay_s)


def depots(day: ServiceDay, envelope: Envelope, from_s: float, until_s: float) -> pa.Table:
    """How far each depot is with sorting, until its last vehicle has left."""
    world, plan, p = day.world, day.plan, day.world.parameters.messages
    count, slots = len(world.depot_ids), int(_FEEDS_END_S / p.depot_s)
    depot, slot = (g.ravel() for g in np.meshgrid(np.arange(count), np.arange(slots), indexing="ij"))
    at_s, number = slot * p.depot_s, depot * slots + slot
    planned_s, gone_s = np.zeros((2, count))
    np.maximum.at(planned_s, plan.route_depot, plan.departure_s)
    np.maximum.at(gone_s, plan.route_depot, day.departed_s)
    delay_s = day.running.conditions.sort_delay_s[0]
    begin_s = world.parameters.depot.sort_starts_h * HOUR_S
    ready_share = (at_s - begin_s) / np.maximum(planned_s + delay_s - begin_s, 1.0)[depot]
    told_s = delay_s[depot] + p.depot_sd_s * day.noise.normal("depot error", count * slots)
    now = (at_s >= max(from_s, p.depot_from_h * HOUR_S)) & (at_s < np.minimum(until_s, gone_s[depot]))
    columns = {
        "event_id": joined_id("DP", f"{plan.day:%Y%m%d}", depot[now] + 1, slot[now]),
        "depot_id": named(world.depot_ids, depot[now]),
        "parcels_ready_share": np.round(np.clip(ready_share[now], 0, 1), 3),
        "sort_delay_s": np.round(told_s[now], 0),
        "inventory_share": np.round(0.95 + 0.05 * day.noise.uniform("inventory", count)[depot[now]], 3),
    }
    return envelope.seal("depots", columns, at_s[now], number[now], count * slots)


def _forecast(day: ServiceDay, valid_h: Array, lead_h: Array, issues: int) -> dict[str, Array]:
    """Truth where the lead is negative; else truth with errors that persist from hour to hour of an issue."""
    p = day.world.parameters.messages
    drawn = day.noise.normal("forecast error", 3, issues, p.forecast_hours)
    wet, wind, warm = autoregressive(drawn, 0.8).reshape(3, -1)
    observed = np.zeros(HOURS)
    wet, wind, warm = (np.concatenate([observed, error]) for error in (wet, wind, warm))
    hours = np.maximum(lead_h + 1, 0)
    truth = {f.name: getattr(day.weather, f.name)[0, valid_h] for f in fields(day.weather)}
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
