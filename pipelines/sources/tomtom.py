"""TomTom's flow segment answers: a segment's speed against its free flow becomes the traffic of a zone.

An answer holds no time, so when it was fetched must be given, with the call or as ``fetched_at`` beside
``flowSegmentData``. ``zone_id`` may stand there too; else the zone is the grid cell of the segment's middle point.
Speeds are in the unit that was asked for, km/h unless the adapter is told otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from data_contracts.errors import SourceError
from data_contracts.events import deterministic_event_id
from data_contracts.tables import TRAFFIC
from pipelines.sources.fields import instant, number, required, text
from pipelines.sources.reading import Columns, json_objects
from pipelines.sources.shape import fit, grid_zone_of
from pipelines.sources.source import Loaded, files
from pipelines.sources.units import convert

SCHEMA: Columns = {
    "event_id": pl.String,
    "occurred_at": pl.Datetime("us", "UTC"),
    "received_at": pl.Datetime("us", "UTC"),
    "zone_id": pl.String,
    "speed_mps": pl.Float64,
    "free_flow_mps": pl.Float64,
    "incidents": pl.Int64,
}


class TomTom:
    """Adapter of answers of the flow segment service, one object a file, a list, or one a line."""

    name = "tomtom"

    def __init__(self, unit: str = "km/h") -> None:
        self.unit = unit

    def load(self, paths: Sequence[Path], received_at: datetime | None = None) -> Loaded:
        rows = [
            _traffic(answer, received_at, f"{file}: answer {place}")
            for file in files(paths, "*.json*")
            for place, answer in enumerate(json_objects(file), start=1)
        ]
        frame = pl.DataFrame(rows, schema=SCHEMA, orient="row").with_columns(
            convert(pl.col(name), self.unit, "m/s", where=self.name)
            for name in ("speed_mps", "free_flow_mps")
        )
        return Loaded({"traffic": fit(frame, "traffic")})


def _traffic(answer: Mapping[str, Any], received_at: datetime | None, where: str) -> tuple[object, ...]:
    segment = required(answer, "flowSegmentData", where)
    if not isinstance(segment, dict):
        raise SourceError("flowSegmentData is not an object", where=where, next_step="fetch it again")
    at = _fetched_at(answer, received_at, where)
    zone_id = text(answer.get("zone_id"), "zone_id", where) or _zone(segment, where)
    closed = segment.get("roadClosure") is True
    return (
        deterministic_event_id(TRAFFIC, (zone_id, at)),
        at,
        at,
        zone_id,
        0.0 if closed else number(required(segment, "currentSpeed", where), "currentSpeed", where),
        number(required(segment, "freeFlowSpeed", where), "freeFlowSpeed", where),
        int(closed),
    )


def _fetched_at(answer: Mapping[str, Any], received_at: datetime | None, where: str) -> datetime:
    if answer.get("fetched_at") is not None:
        return instant(answer["fetched_at"], "fetched_at", where)
    if received_at is None:
        raise SourceError(
            "says neither when it was measured nor when it was fetched",
            where=where,
            next_step="give received_at, or fetched_at beside flowSegmentData",
        )
    return received_at


def _zone(segment: Mapping[str, Any], where: str) -> str:
    shape = segment.get("coordinates")
    points = shape.get("coordinate") if isinstance(shape, dict) else None
    if not isinstance(points, list) or not points or not isinstance(points[len(points) // 2], dict):
        raise SourceError(
            "has no coordinates", where=where, next_step="give a zone_id beside flowSegmentData"
        )
    middle = points[len(points) // 2]
    lat, lon = (number(required(middle, name, where), name, where) for name in ("latitude", "longitude"))
    assert lat is not None and lon is not None
    return grid_zone_of(lat, lon)
