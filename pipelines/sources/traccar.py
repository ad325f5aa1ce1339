"""Traccar's positions: a position is a ping; its speed is in knots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from data_contracts.events import deterministic_event_id
from data_contracts.tables import PINGS
from pipelines.sources.fields import instant, number, required, text
from pipelines.sources.reading import Columns, json_objects
from pipelines.sources.shape import fit
from pipelines.sources.source import Loaded, files
from pipelines.sources.units import KNOTS_TO_MPS


class Traccar:
    """Adapter of the answers of ``/api/positions``, one JSON list or one object a line.

    A position is received when Traccar's server had it; ``received_at`` serves where it does not say. Fixes that
    Traccar calls invalid are left out.
    """

    name = "traccar"

    def load(self, paths: Sequence[Path], received_at: datetime | None = None) -> Loaded:
        excluded: Counter[str] = Counter()
        rows = []
        for file in files(paths, "*.json*"):
            for place, position in enumerate(json_objects(file, "positions"), start=1):
                if position.get("valid") is False:
                    excluded["invalid_fix"] += 1
                else:
                    rows.append(_ping(position, received_at, f"{file}: position {place}"))
        frame = pl.DataFrame(rows, schema=PING_SCHEMA, orient="row")
        return Loaded({"pings": fit(frame, "pings")}, excluded)


PING_SCHEMA: Columns = {
    "event_id": pl.String,
    "occurred_at": pl.Datetime("us", "UTC"),
    "received_at": pl.Datetime("us", "UTC"),
    "vehicle_id": pl.String,
    "lat": pl.Float64,
    "lon": pl.Float64,
    "speed_mps": pl.Float64,
    "status": pl.String,
}


def _ping(position: Mapping[str, Any], received_at: datetime | None, where: str) -> tuple[object, ...]:
    occurred_at = instant(required(position, "fixTime", where), "fixTime", where)
    received = position.get("serverTime")
    vehicle_id = text(required(position, "deviceId", where), "deviceId", where)
    speed_kn = number(position.get("speed"), "speed", where)
    return (
        f"traccar:{text(position['id'], 'id', where)}"
        if position.get("id")
        else deterministic_event_id(PINGS, (vehicle_id, occurred_at)),
        occurred_at,
        instant(received, "serverTime", where) if received else received_at or occurred_at,
        vehicle_id,
        number(required(position, "latitude", where), "latitude", where),
        number(required(position, "longitude", where), "longitude", where),
        None if speed_kn is None else speed_kn * KNOTS_TO_MPS,
        _status(position),
    )


def _status(position: Mapping[str, Any]) -> str | None:
    attributes = position.get("attributes")
    motion = attributes.get("motion") if isinstance(attributes, dict) else None
    return None if motion is None else "moving" if motion else "standing"
