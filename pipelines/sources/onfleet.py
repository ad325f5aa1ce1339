"""Onfleet's tasks: a task is a stop, a worker's day of tasks a route; its times are milliseconds of the epoch.

Without ``received_at`` a file is an export: a plan counts as known when the task was created, an event when it
happened. With it, the file is an answer fetched then, and nothing in it was known before. Places in a route are by
the earliest time of the task, since Onfleet's order is not in it. Names, phone numbers and notes are never read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from data_contracts.errors import SourceError
from pipelines.sources.fields import epoch_ms, number, required, text
from pipelines.sources.reading import Columns, json_objects
from pipelines.sources.shape import fit, grid_zone, known_timezone, stop_event
from pipelines.sources.source import Loaded, files

COMPLETED_STATE = 3
_TIME = pl.Datetime("us", "UTC")
SCHEMA: Columns = {
    "task": pl.String,
    "worker": pl.String,
    "created_at": _TIME,
    "modified_at": _TIME,
    "opens_at": _TIME,
    "closes_at": _TIME,
    "lat": pl.Float64,
    "lon": pl.Float64,
    "site_id": pl.String,
    "customer_id": pl.String,
    "parcels": pl.Float64,
    "service_min": pl.Float64,
    "started_at": _TIME,
    "arrived_at": _TIME,
    "closed_at": _TIME,
    "kind": pl.String,
}


class Onfleet:
    """Adapter of the answers of ``/tasks/all``; tasks without a worker or a pick-up only are left out."""

    name = "onfleet"

    def __init__(self, timezone: str = "UTC", area_id: str = "area") -> None:
        self.timezone = known_timezone(timezone, self.name)
        self.area_id = area_id

    def load(self, paths: Sequence[Path], received_at: datetime | None = None) -> Loaded:
        excluded: Counter[str] = Counter()
        rows = []
        for file in files(paths, "*.json*"):
            for place, task in enumerate(json_objects(file, "tasks"), start=1):
                reason = "pickup" if task.get("pickupTask") else "" if task.get("worker") else "unassigned"
                if reason:
                    excluded[reason] += 1
                else:
                    rows.append(_task(task, f"{file}: task {place}"))
        tasks = _routed(pl.DataFrame(rows, schema=SCHEMA, orient="row"), self.timezone)
        tables = {
            "routes": _routes(tasks, self.timezone, self.area_id),
            "stops": _stops(tasks),
            "stop_events": _events(tasks),
        }
        known = pl.lit(received_at, _TIME) if received_at else pl.col("received_at")
        return Loaded(
            {
                name: fit(rows.with_columns(received_at=pl.max_horizontal("received_at", known)), name)
                for name, rows in tables.items()
            },
            excluded,
        )


def _task(task: Mapping[str, Any], where: str) -> tuple[object, ...]:
    done = _object(task, "completionDetails")
    place = _object(task, "destination")
    lat, lon = _position(place, where)
    recipients = task.get("recipients")
    first = recipients[0] if isinstance(recipients, list) and recipients else None
    created_at = epoch_ms(required(task, "timeCreated", where), "timeCreated", where)
    modified_at = epoch_ms(task.get("timeLastModified"), "timeLastModified", where) or created_at
    return (
        text(required(task, "id", where), "id", where),
        text(task["worker"], "worker", where),
        created_at,
        modified_at,
        epoch_ms(task.get("completeAfter"), "completeAfter", where),
        epoch_ms(task.get("completeBefore"), "completeBefore", where),
        lat,
        lon,
        text(place.get("id"), "destination.id", where),
        text(first.get("id") if isinstance(first, dict) else first, "recipients[0].id", where),
        number(task.get("quantity"), "quantity", where) or None,
        number(task.get("serviceTime"), "serviceTime", where),
        next(_times(done, "start", where), None),
        next(_times(done, "arrival", where), None),
        epoch_ms(done.get("time"), "completionDetails.time", where),
        _outcome(task, done),
    )


def _outcome(task: Mapping[str, Any], done: Mapping[str, Any]) -> str | None:
    if task.get("state") != COMPLETED_STATE or done.get("success") is None:
        return None
    return "completed" if done["success"] is True else "failed"


def _object(task: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = task.get(name)
    return value if isinstance(value, dict) else {}


def _position(place: Mapping[str, Any], where: str) -> tuple[float | None, float | None]:
    """Latitude and longitude; Onfleet gives the longitude first."""
    location = place.get("location")
    if location is None:
        return None, None
    if not isinstance(location, list) or len(location) != 2:
        what = "destination.location is not [longitude, latitude]"
        raise SourceError(what, where=where, next_step="send the feed's own format")
    return number(location[1], "latitude", where), number(location[0], "longitude", where)


def _times(done: Mapping[str, Any], name: str, where: str) -> Iterator[datetime]:
    events = done.get("events")
    for event in events if isinstance(events, list) else []:
        if isinstance(event, dict) and event.get("name") == name:
            at = epoch_ms(event.get("time"), f"{name}.time", where)
            if at is not None:
                yield at


def _routed(tasks: pl.DataFrame, timezone: str) -> pl.DataFrame:
    """Tasks with their route, the worker's local day, and their place in it."""
    planned = pl.coalesce("opens_at", "closes_at", "created_at")
    day = planned.dt.convert_time_zone(timezone).dt.strftime("%Y-%m-%d")
    return (
        tasks.with_columns(planned_at=planned, service_date=day, stop_id=pl.format("S-{}", "task"))
        .with_columns(route_id=pl.format("R-{}-{}", "worker", "service_date"))
        .sort("route_id", "planned_at", "closes_at", "task")
        .with_columns(sequence=pl.int_range(1, pl.len() + 1).over("route_id"))
    )


def _routes(tasks: pl.DataFrame, timezone: str, area_id: str) -> pl.DataFrame:
    first = tasks.group_by("route_id", maintain_order=True).agg(
        pl.col("worker", "service_date", "lat", "lon").first(), created_at=pl.col("created_at").min()
    )
    return first.select(
        "route_id",
        "service_date",
        event_id=pl.format("onfleet:{}", "route_id"),
        occurred_at=pl.col("created_at"),
        received_at=pl.col("created_at"),
        vehicle_id=pl.col("worker"),
        courier_id=pl.col("worker"),
        area_id=pl.lit(area_id),
        origin_zone_id=pl.lit("depot"),
        timezone=pl.lit(timezone),
    )


def _stops(tasks: pl.DataFrame) -> pl.DataFrame:
    return tasks.select(
        "stop_id",
        "route_id",
        "sequence",
        "lat",
        "lon",
        "site_id",
        "customer_id",
        "parcels",
        event_id=pl.format("onfleet:{}:{}", "task", pl.col("modified_at").dt.epoch("ms")),
        occurred_at=pl.col("created_at"),
        received_at=pl.col("created_at"),
        plan_version=pl.col("modified_at").dt.epoch("ms"),
        zone_id=pl.coalesce(grid_zone(pl.col("lat"), pl.col("lon")), pl.lit("unknown")),
        promised_start_at=pl.col("opens_at"),
        promised_end_at=pl.col("closes_at"),
        planned_service_s=pl.col("service_min") * 60,
    )


def _events(tasks: pl.DataFrame) -> pl.DataFrame:
    stop = pl.col("stop_id")
    left = tasks.drop_nulls("started_at").group_by("route_id", maintain_order=True)
    parts = [
        stop_event(left.agg(pl.col("started_at").min()), "departed_depot", place=0, at="started_at"),
        stop_event(tasks.drop_nulls("arrived_at"), "arrived", place=1, at="arrived_at", stop_id=stop),
    ]
    for kind in ("completed", "failed"):
        closed = tasks.filter(kind=kind).drop_nulls("closed_at")
        parts.append(stop_event(closed, kind, place=2, at="closed_at", stop_id=stop))
    return pl.concat(parts)
