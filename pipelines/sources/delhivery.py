"""Delhivery's line-haul legs: a leg between two hubs is a route of one stop, planned by OSRM.

A leg is asked about at ``od_start_time`` and its target is ``actual_time`` minutes later. No row says when a leg
ended, so outcomes are sealed (`pipelines.sources.frozen`): they are told together after everything else of the files
and are never live state. The trip, which the file numbers, stands for the vehicle and is the unit of splits.

- Times are UTC: the digits of a ``trip_uuid`` are the epoch of its creation, and agree with the clock as UTC. Hours
  and days are those of India.
- ``M0`` to ``M3`` and ``q50``, ``q80``, ``q90`` are other people's predictions of these very legs: never read.
- ``corridors.csv``, beside the legs, sums up 12 to 26 September 2018, before every leg. It becomes context: a
  corridor of n earlier legs is told as n legs that took its median time against its median OSRM time, known when
  the 26th was over, their hours spread evenly since the file gives none. ``hubs.csv`` has no canonical place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pyarrow as pa

from data_contracts.errors import SourceError
from pipelines.sources.frozen import sealed
from pipelines.sources.reading import Columns, read_csv
from pipelines.sources.shape import fit, one_stop_events
from pipelines.sources.source import History, Loaded, files, without
from training.instants import Instants

TIMEZONE = "Asia/Kolkata"
AREA = "India"
CORRIDORS = "corridors.csv"
SIDE_FILES = (CORRIDORS, "hubs.csv", "raw_sample.csv")
CORRIDORS_FROM = datetime(2018, 9, 12, tzinfo=UTC)
CORRIDORS_KNOWN_AT = datetime(2018, 9, 27, tzinfo=UTC)
COLUMNS: Columns = {
    "trip_uuid": pl.String,
    "source_center": pl.String,
    "destination_center": pl.String,
    "route_type": pl.String,
    "od_start_time": pl.String,
    "osrm_time": pl.Float64,
    "actual_time": pl.Float64,
}
CORRIDOR_COLUMNS: Columns = {
    "source_center": pl.String,
    "destination_center": pl.String,
    "n_legs": pl.Int64,
    "median_actual_min": pl.Float64,
    "median_osrm_min": pl.Float64,
    "median_osrm_km": pl.Float64,
    "major_route_type": pl.String,
}


class Delhivery:
    """Adapter of a leg file, with the corridor file that lies beside it."""

    name = "delhivery"
    instants = Instants.AT_DEPARTURE
    history = History.SEALED
    cluster = "vehicle_id"

    def load(self, paths: Sequence[Path], weather: Path | None = None) -> Loaded:
        if weather is not None:
            what = "the legs span a country, so no one place's weather fits them"
            raise SourceError(what, where=str(weather), next_step="leave --weather out")
        unreadable: Counter[str] = Counter()
        found = without(files(paths, "*.csv"), SIDE_FILES, "legs")
        legs = pl.concat([_legs(read_csv(file, COLUMNS, unreadable)) for file in found])
        return Loaded(
            sealed(_canonical(legs)), unreadable=unreadable, context=_context(found, paths, unreadable)
        )


def _legs(rows: pl.DataFrame) -> pl.DataFrame:
    started = pl.col("od_start_time").str.to_datetime(
        "%Y-%m-%d %H:%M:%S%.f", time_unit="us", time_zone="UTC", strict=False
    )
    leg = pl.format("{}:{}:{}", "trip_uuid", "source_center", "destination_center")
    return rows.select(
        "source_center",
        "destination_center",
        "route_type",
        trip="trip_uuid",
        leg=leg,
        left_at=started,
        arrived_at=started + _minutes("actual_time"),
        planned_min=pl.col("osrm_time"),
        planned_km=pl.lit(None, pl.Float64),
    )


def _context(found: Sequence[Path], paths: Sequence[Path], unreadable: Counter[str]) -> dict[str, pa.Table]:
    beside = [file.with_name(CORRIDORS) for file in found]
    named = [Path(path) for path in paths if Path(path).name == CORRIDORS]
    corridors = list(dict.fromkeys(file for file in [*named, *beside] if file.is_file()))
    if not corridors:
        return {}
    rows = pl.concat([read_csv(file, CORRIDOR_COLUMNS, unreadable) for file in corridors])
    legs = _earlier_legs(rows.unique(["source_center", "destination_center"], maintain_order=True))
    known_at = pl.lit(CORRIDORS_KNOWN_AT, pl.Datetime("us", "UTC"))
    told = {name: pl.DataFrame(table) for name, table in _canonical(legs).items()}
    return {name: rows.with_columns(received_at=known_at).to_arrow() for name, rows in told.items()}


def _earlier_legs(corridors: pl.DataFrame) -> pl.DataFrame:
    """Each corridor's n earlier legs at its medians; all were known at one instant, so none can be asked about."""
    each = (
        corridors.with_columns(number=pl.int_ranges(pl.col("n_legs"))).explode("number").drop_nulls("number")
    )
    hour = pl.col("number") * 24 // pl.col("n_legs")
    left_at = pl.lit(CORRIDORS_FROM, pl.Datetime("us", "UTC")) + pl.duration(hours=hour)
    return each.select(
        "source_center",
        "destination_center",
        route_type="major_route_type",
        trip=pl.lit(None, pl.String),
        leg=pl.format("earlier:{}:{}:{}", "source_center", "destination_center", "number"),
        left_at=left_at,
        arrived_at=left_at + _minutes("median_actual_min"),
        planned_min=pl.col("median_osrm_min"),
        planned_km=pl.col("median_osrm_km"),
    )


def _minutes(name: str) -> pl.Expr:
    return pl.duration(microseconds=(pl.col(name) * 60_000_000).round().cast(pl.Int64, strict=False))


def _canonical(legs: pl.DataFrame) -> dict[str, pa.Table]:
    legs = legs.with_columns(route_id=pl.format("R-{}", "leg"), stop_id=pl.format("S-{}", "leg"))
    known = {"occurred_at": pl.col("left_at"), "received_at": pl.col("left_at")}
    routes = legs.select(
        "route_id",
        event_id=pl.format("{}:plan", "route_id"),
        **known,
        vehicle_id=pl.col("trip"),
        area_id=pl.lit(AREA),
        origin_zone_id=pl.col("source_center"),
        vehicle_type=pl.lit("truck"),
        timezone=pl.lit(TIMEZONE),
        service_date=pl.col("left_at").dt.convert_time_zone(TIMEZONE).dt.strftime("%Y-%m-%d"),
    )
    stops = legs.select(
        "stop_id",
        "route_id",
        event_id=pl.format("{}:plan", "stop_id"),
        **known,
        plan_version=pl.lit(0, pl.Int64),
        sequence=pl.lit(1, pl.Int64),
        zone_id=pl.col("destination_center"),
        site_id=pl.col("destination_center"),
        product_type=pl.col("route_type"),
        planned_travel_s=pl.col("planned_min") * 60,
        planned_distance_m=pl.col("planned_km") * 1000,
    )
    return {
        "routes": fit(routes, "routes"),
        "stops": fit(stops, "stops"),
        "stop_events": fit(one_stop_events(legs), "stop_events"),
    }
