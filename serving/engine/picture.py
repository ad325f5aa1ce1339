"""What an ops room looks at: plans with their progress, the last that was seen of the world, and what happened.

The engine keeps it beside the forecasts, in the same transaction; nothing that it decides reads it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import orjson

from data_contracts.record import Record
from features.route_book import RouteBook
from features.routes import Route, StopPlan
from serving.engine.ops import OutboxEvent, StoredForecast
from serving.storage.database import statements

#: How long before an arrival a window is judged, in minutes.
JUDGED_AHEAD_MIN = (30, 60, 120)
#: Left out of what the timeline keeps of an event: the forecast has a history of its own.
_NOT_TOLD_AGAIN = ("forecast", "quantiles")

Row = tuple[Any, ...]


@dataclass(slots=True)
class Sightings:
    """What the records of one micro-batch show; of each thing the newest by when it happened."""

    vehicles: dict[str, Row] = field(default_factory=dict)
    zones: dict[str, Row] = field(default_factory=dict)
    weather: dict[tuple[str, str, int], Row] = field(default_factory=dict)
    feeds: dict[str, int] = field(default_factory=dict)
    happened: list[Row] = field(default_factory=list)
    arrivals: list[tuple[str, int]] = field(default_factory=list)
    withdrawn: list[str] = field(default_factory=list)

    def see(self, record: Record, route_ids: Sequence[str]) -> None:
        """Take one record in."""
        look = _LOOKS.get(record.type)
        if look is not None:
            look(self, record, route_ids)
        if "occurred_at" in record.body:
            self.feeds[record.type] = record.received_us

    def _ping(self, record: Record, route_ids: Sequence[str]) -> None:
        body = record.body
        route_id = body.get("route_id") or (route_ids[0] if route_ids else None)
        place = (body["lat"], body["lon"], body.get("speed_mps"), body.get("status"), body["occurred_at"])
        _newest(self.vehicles, body["vehicle_id"], (body["vehicle_id"], route_id, *place))

    def _traffic(self, record: Record, _: Sequence[str]) -> None:
        body = record.body
        row = (body["speed_mps"], body["free_flow_mps"], body.get("incidents"), body["occurred_at"])
        _newest(self.zones, body["zone_id"], (body["zone_id"], *row))

    def _weather(self, record: Record, _: Sequence[str]) -> None:
        body = record.body
        measured = (body.get(name) for name in ("temperature_c", "precipitation_mm", "snow_cm", "wind_mps"))
        key = (body["area_id"], body["kind"], body["valid_at"])
        _newest(self.weather, key, (*key[:2], *measured, body["valid_at"], body["issued_at"]))

    def _stop_event(self, record: Record, _: Sequence[str]) -> None:
        body = record.body
        stop_id, kind, occurred_us = body.get("stop_id"), body["kind"], body["occurred_at"]
        self.happened.append((body["route_id"], stop_id, kind, occurred_us, record.received_us, None))
        if kind == "arrived" and stop_id is not None:
            self.arrivals.append((stop_id, occurred_us))
        elif kind == "withdrawn" and stop_id is not None:
            self.withdrawn.append(stop_id)
            self.arrivals = [arrival for arrival in self.arrivals if arrival[0] != stop_id]

    def _stop(self, record: Record, route_ids: Sequence[str]) -> None:
        body = record.body
        if body["plan_version"] > 1 and route_ids:
            told = orjson.dumps({"plan_version": body["plan_version"], "sequence": body["sequence"]})
            row = (body.get("occurred_at", record.received_us), record.received_us)
            self.happened.append((body["route_id"], body["stop_id"], "replanned", *row, told))


_LOOKS = {
    "pings": Sightings._ping,
    "traffic": Sightings._traffic,
    "weather": Sightings._weather,
    "stop_events": Sightings._stop_event,
    "stops": Sightings._stop,
}


class PictureWriter:
    """Writes what changed since it was last written."""

    def __init__(self) -> None:
        self._sql = statements("picture")
        self._plans: dict[str, dict[str, Row]] = {}
        self._has_begun = False

    def write(
        self,
        connection: sqlite3.Connection,
        book: RouteBook,
        changed: Iterable[str],
        seen: Sightings,
        latest: Iterable[StoredForecast],
        told: Iterable[OutboxEvent],
    ) -> None:
        """Everything of one micro-batch; ``changed`` names the routes whose plan or progress moved.

        The first time, every route is written: an engine that starts does not know what was written before.
        """
        for route_id in changed if self._has_begun else book.all_route_ids():
            if (route := book.route(route_id)) is not None:
                self._write_route(connection, route)
        self._has_begun = True
        many = connection.executemany
        many(self._sql["save_risk"], ((f.eta_us, f.late_probability, f.stop_id) for f in latest))
        many(self._sql["save_vehicle"], seen.vehicles.values())
        many(self._sql["save_zone"], seen.zones.values())
        many(self._sql["save_weather"], seen.weather.values())
        many(self._sql["save_feed"], seen.feeds.items())
        lines: list[Row] = [*seen.happened, *(line for event in told if (line := _told(event)) is not None)]
        many(self._sql["save_timeline"], sorted(lines, key=itemgetter(4)))
        many(self._sql["withdraw_outcomes"], ((stop_id,) for stop_id in seen.withdrawn))
        judged = ((stop, ahead, us) for stop, us in seen.arrivals for ahead in JUDGED_AHEAD_MIN)
        many(self._sql["save_outcome"], judged)

    def forget(self, connection: sqlite3.Connection, route_ids: Sequence[str], before_us: int | None) -> None:
        """Drop routes that are over, and what is older than the history that is kept."""
        rows = [(route_id,) for route_id in route_ids]
        for route_id in route_ids:
            self._plans.pop(route_id, None)
        connection.executemany(self._sql["forget_route"], rows)
        connection.executemany(self._sql["forget_stops"], rows)
        if before_us is not None:
            for name in ("forget_timeline", "forget_outcomes", "forget_weather"):
                connection.execute(self._sql[name], (before_us,))

    def _write_route(self, connection: sqlite3.Connection, route: Route) -> None:
        """Only rows that differ from what was written before."""
        before = self._plans.get(route.route_id, {})
        now = {stop.stop_id: _stop_row(stop, route) for stop in route.stops.values()} if route.planned else {}
        rows = [row for stop_id, row in now.items() if before.get(stop_id) != row]
        if route.planned:
            connection.execute(self._sql["save_route"], _route_row(route))
        connection.executemany(self._sql["save_stop"], rows)
        self._plans[route.route_id] = now


def stop_state(route: Route, stop_id: str) -> str:
    """``ahead``, ``at_door``, or how the visit ended."""
    done = route.progress
    if stop_id in done.closed:
        return done.closed[stop_id]
    return "at_door" if stop_id in done.visited else "ahead"


def _route_row(route: Route) -> Row:
    return (
        *(route.route_id, route.vehicle_id, route.courier_id, route.depot_id, route.area_id),
        *(route.timezone, route.service_date, *(route.origin_position or (None, None))),
        *(route.planned_departure_us, int(route.progress.departed)),
    )


def _stop_row(stop: StopPlan, route: Route) -> Row:
    return (
        *(stop.stop_id, route.route_id, stop.plan_version, stop.sequence, stop.zone_id, stop.site_id),
        *(stop.customer_id, stop.service_level, stop.parcels, stop.lat, stop.lon),
        *(stop.promised_start_us, stop.promised_end_us, stop.planned_arrival_us),
        *(stop_state(route, stop.stop_id), route.progress.visited.get(stop.stop_id)),
    )


def _told(event: OutboxEvent) -> Row | None:
    """A line of the timeline for what left through the outbox."""
    data = orjson.loads(event.body)["data"]
    route_id = data.get("route_id")
    if route_id is None:
        return None
    kept: dict[str, Any] = {name: value for name, value in data.items() if name not in _NOT_TOLD_AGAIN}
    forecast: Mapping[str, Any] = data.get("forecast") or {}
    kept |= {name: forecast[name] for name in ("reasons", "window", "late") if name in forecast}
    return (route_id, data.get("stop_id"), event.type, event.at_us, event.at_us, orjson.dumps(kept))


def _newest(rows: dict[Any, Row], key: Any, row: Row) -> None:
    """Keep a row unless a later one is known; its last column is when it happened."""
    if key not in rows or rows[key][-1] <= row[-1]:
        rows[key] = row
