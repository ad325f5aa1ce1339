"""What feeds say, folded as columns: pings of vehicles, traffic of zones, weather of areas, depots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from data_contracts.record import Record
from features.history import RollingSums, newest
from features.keys import Keys
from features.local_time import HOUR_US
from features.observations import area_valid_hour_key
from features.online import Versions
from features.views import DEPOT_STATE, VEHICLE_MOTION, WEATHER_NOW, WEATHER_THEN, ZONE_TRAFFIC, View

Int = NDArray[np.int64]
Float = NDArray[np.float64]
MINUTE_US = 60_000_000
MOVING_MPS = 0.7
#: What a vehicle says of itself that can go no further.
STOPPED = "stopped"
STALE_PING_US = 5 * MINUTE_US
MILLIONTH = 1e-6

#: Columns of a feed in log order: keys as ``Keys``, times int64, numbers float64 (NaN where missing).
Columns = Mapping[str, Any]

#: What the folds read of each feed.
FEED_COLUMNS: dict[str, dict[str, type]] = {
    "pings": {
        "vehicle_id": str,
        "occurred_at": int,
        "lat": float,
        "lon": float,
        "speed_mps": float,
        "status": str,
    },
    "traffic": {
        "zone_id": str,
        "occurred_at": int,
        "speed_mps": float,
        "free_flow_mps": float,
        "incidents": float,
    },
    "weather": {
        "area_id": str,
        "kind": str,
        "valid_at": int,
        "issued_at": int,
        "temperature_c": float,
        "precipitation_mm": float,
        "snow_cm": float,
        "wind_mps": float,
    },
    "depots": {
        "depot_id": str,
        "occurred_at": int,
        "parcels_ready_share": float,
        "sort_delay_s": float,
    },
}
FEEDS = tuple(FEED_COLUMNS)
_RECORD = {"seq": int, "received_at": int}
_POLARS = {int: pl.Int64, float: pl.Float64}
_NUMPY = {int: np.int64, float: np.float64}


class Feeds:
    """State of the views that feeds move."""

    def __init__(self) -> None:
        speed, moving = RollingSums(MINUTE_US, 5), RollingSums(MINUTE_US, 15)
        self.sums: dict[str, tuple[RollingSums, ...]] = {
            VEHICLE_MOTION.name: (speed, moving),
            ZONE_TRAFFIC.name: (RollingSums(5 * MINUTE_US, 12),),
        }
        #: When what is known of an entity happened.
        self.happened: dict[str, dict[str, int]] = {
            view.name: {} for view in (VEHICLE_MOTION, ZONE_TRAFFIC, WEATHER_NOW, WEATHER_THEN, DEPOT_STATE)
        }

    def observe(self, table: str, columns: Columns) -> list[Versions]:
        """Fold rows of one feed; give what became known."""
        fold = {
            "pings": self._pings,
            "traffic": self._traffic,
            "weather": self._weather,
            "depots": self._depots,
        }[table]
        return [versions for versions in fold(columns) if len(versions.ids)]

    def _newest(self, view: View, key: str, order: str, rows: Columns) -> dict[str, Any]:
        """Rows that are as new as anything known of their entity."""
        return _select(rows, newest(rows[key], rows[order], self.happened[view.name]))

    def _pings(self, rows: Columns) -> list[Versions]:
        rows = _select(rows, rows["received_at"] - rows["occurred_at"] <= STALE_PING_US)
        rows = self._newest(VEHICLE_MOTION, "vehicle_id", "occurred_at", rows)
        ids, received_us = rows["vehicle_id"], rows["received_at"]
        speeds, moves = self.sums[VEHICLE_MOTION.name]
        speed = np.nan_to_num(rows["speed_mps"])
        speed_mmps, moved = np.rint(speed * 1000).astype(np.int64), (speed > MOVING_MPS).astype(np.int64)
        mean_mmps = _mean(speeds.advance_totals(ids, received_us, speed_mmps), 0.001)
        share = _mean(moves.advance_totals(ids, received_us, moved), 1.0)
        lag_s = (received_us - rows["occurred_at"]) / 1e6
        says = np.array([status == STOPPED for status in rows["status"].names] + [False], np.float64)
        stopped = says[rows["status"].codes]
        values = rows["lat"], rows["lon"], lag_s, mean_mmps, share, stopped
        return [_versions(VEHICLE_MOTION, ids, values, rows)]

    def _traffic(self, rows: Columns) -> list[Versions]:
        rows = self._newest(ZONE_TRAFFIC, "zone_id", "occurred_at", rows)
        (jams,) = self.sums[ZONE_TRAFFIC.name]
        jam = np.clip(1.0 - rows["speed_mps"] / rows["free_flow_mps"], -1.0, 1.0)
        millionths = np.rint(jam / MILLIONTH).astype(np.int64)
        hour = _mean(jams.advance_totals(rows["zone_id"], rows["received_at"], millionths), MILLIONTH)
        return [_versions(ZONE_TRAFFIC, rows["zone_id"], (jam, hour, rows["incidents"]), rows)]

    def _weather(self, rows: Columns) -> list[Versions]:
        observed = np.array([kind == "observed" for kind in rows["kind"].names], np.bool_)
        seen = _select(rows, observed[rows["kind"].codes])
        seen = self._newest(WEATHER_NOW, "area_id", "valid_at", seen)
        then = self._newest(
            WEATHER_THEN, "area_valid_hour", "issued_at", {**rows, "area_valid_hour": _hours(rows)}
        )
        return [
            _versions(WEATHER_NOW, seen["area_id"], _fields(WEATHER_NOW, seen), seen),
            _versions(WEATHER_THEN, then["area_valid_hour"], _fields(WEATHER_THEN, then), then),
        ]

    def _depots(self, rows: Columns) -> list[Versions]:
        rows = self._newest(DEPOT_STATE, "depot_id", "occurred_at", rows)
        values = rows["parcels_ready_share"], rows["sort_delay_s"]
        return [_versions(DEPOT_STATE, rows["depot_id"], values, rows)]


def record_columns(table: str, records: Sequence[Record]) -> dict[str, Any]:
    """Columns of records of one feed."""
    columns: dict[str, Any] = {"seq": np.array([record.seq for record in records], np.int64)}
    columns["received_at"] = np.array([record.received_us for record in records], np.int64)
    for name, kind in FEED_COLUMNS[table].items():
        values = [record.body.get(name) for record in records]
        columns[name] = Keys.of(values) if kind is str else np.array(values, _NUMPY[kind])
    return columns


def columns_read(table: str) -> tuple[str, ...]:
    """Columns of a history's rows that a feed's fold reads."""
    return (*_RECORD, *FEED_COLUMNS[table])


def frame_columns(table: str, frame: pl.DataFrame) -> dict[str, Any]:
    """Columns of a history's rows of one feed."""
    return {
        name: Keys.of(frame[name]) if kind is str else frame[name].cast(_POLARS[kind]).to_numpy()
        for name, kind in (_RECORD | FEED_COLUMNS[table]).items()
    }


def _hours(rows: Columns) -> Keys:
    """Area and hour that rows of weather speak of."""
    hour = rows["valid_at"] // HOUR_US
    first = int(hour.min(initial=0))
    return rows["area_id"].with_numbers(
        hour - first, lambda area_id, since: area_valid_hour_key(area_id, (since + first) * HOUR_US)
    )


def _mean(totals: tuple[Int, Int], unit: float) -> Float:
    """Plain mean of whole sums; a row's own observation is always in it."""
    sums, counts = totals
    return np.divide(sums, counts) * unit


def _fields(view: View, rows: Columns) -> tuple[Float, ...]:
    return tuple(rows[name] for name in view.field_names)


def _versions(view: View, ids: Keys, columns: Sequence[Float], rows: Columns) -> Versions:
    values = np.empty((len(ids), len(columns)), np.float32)
    for place, column in enumerate(columns):
        values[:, place] = column
    return Versions(view=view, ids=ids, values=values, known_us=rows["received_at"], created_us=rows["seq"])


def _select(rows: Columns, keep: NDArray[np.bool_]) -> dict[str, Any]:
    if keep.all():
        return dict(rows)
    return {
        name: column.take(keep) if isinstance(column, Keys) else column[keep] for name, column in rows.items()
    }
