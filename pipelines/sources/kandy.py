"""Bus runs on one line in Kandy: a trip is a route of 15 stops, and stop k is the end of segment k.

A trip is asked about at the end of each segment. Its arrival at stop k is the end of segment k, its departure from
there the start of segment k + 1. Every event is known when it happens, so other buses' runs that have ended are live
state. Trips that lack a segment are left out. ``weather`` is derived from the label and is never read; run times and
the columns made of a segment's own start are outcomes as well. Clock times are local.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa

from pipelines.sources.open_meteo import weather_of
from pipelines.sources.reading import Columns, read_csv
from pipelines.sources.shape import fit, stop_event, utc
from pipelines.sources.source import History, Loaded, files
from training.instants import Instants

TIMEZONE = "Asia/Colombo"
AREA = "Kandy"
SEGMENTS = 15
COLUMNS: Columns = {
    "trip_id": pl.Int64,
    "deviceid": pl.Int64,
    "direction": pl.Int64,
    "segment": pl.Int64,
    "date": pl.String,
    "start_time": pl.String,
    "end_time": pl.String,
    "length": pl.Float64,
}


class Kandy:
    """Adapter of the 15 segment files of the Kandy bus set."""

    name = "kandy"
    instants = Instants.AT_EACH_ARRIVAL
    history = History.LIVE
    cluster = "service_date"

    def load(self, paths: Sequence[Path], weather: Path | None = None) -> Loaded:
        excluded: Counter[str] = Counter()
        unreadable: Counter[str] = Counter()
        found = files(paths, "*.csv")
        runs = _timed(pl.concat([read_csv(file, COLUMNS, unreadable) for file in found]))
        tables = _canonical(_complete(runs, excluded))
        if weather is not None:
            tables["weather"] = weather_of(files([weather], "*.csv"), AREA)
        return Loaded(tables, excluded, unreadable)


def _timed(runs: pl.DataFrame) -> pl.DataFrame:
    """Runs with instants; one that passes midnight ends on the day after its date."""

    def at(name: str) -> pl.Expr:
        return pl.concat_str("date", pl.lit(" "), name).str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False)

    ended = at("end_time") + pl.when(at("end_time") < at("start_time")).then(pl.duration(days=1)).otherwise(
        pl.duration(days=0)
    )
    return runs.with_columns(started_at=utc(at("start_time"), TIMEZONE), ended_at=utc(ended, TIMEZONE))


def _complete(runs: pl.DataFrame, excluded: Counter[str]) -> pl.DataFrame:
    """Trips that have each segment once, in order; rows of the others are counted."""
    trip = ["trip_id", "direction"]
    runs = runs.unique([*trip, "segment", "started_at"], maintain_order=True).sort(*trip, "segment")
    whole = (pl.len() == SEGMENTS) & (pl.col("segment") == pl.int_range(1, pl.len() + 1)).all()
    kept = runs.filter(whole.over(trip))
    excluded["trip_lacks_segments"] += runs.height - kept.height
    forward = (pl.col("started_at") >= pl.col("ended_at").shift(1)).fill_null(True).all().over(trip)
    ordered = kept.filter(forward)
    excluded["trip_runs_backwards"] += kept.height - ordered.height
    return ordered


def _canonical(runs: pl.DataFrame) -> dict[str, pa.Table]:
    trip = ["trip_id", "direction"]
    runs = runs.with_columns(
        route_id=pl.format("R-{}-{}", *trip),
        stop_id=pl.format("S-{}-{}-{}", *trip, pl.col("segment")),
        zone_id=_zone(pl.col("segment")),
        left_at=pl.col("started_at").first().over(trip),
        # The last stop is left as soon as it is reached.
        next_started_at=pl.col("started_at").shift(-1).over(trip).fill_null(pl.col("ended_at")),
    )
    known = {"occurred_at": pl.col("left_at"), "received_at": pl.col("left_at")}
    first = runs.filter(pl.col("segment") == 1)
    routes = first.select(
        "route_id",
        event_id=pl.format("{}:plan", "route_id"),
        **known,
        vehicle_id=pl.format("bus-{}", "deviceid"),
        area_id=pl.lit(AREA),
        origin_zone_id=_zone(pl.lit(0)),
        vehicle_type=pl.lit("bus"),
        timezone=pl.lit(TIMEZONE),
        service_date=pl.col("date"),
    )
    stops = runs.select(
        "stop_id",
        "route_id",
        "zone_id",
        event_id=pl.format("{}:plan", "stop_id"),
        **known,
        plan_version=pl.lit(0, pl.Int64),
        sequence=pl.col("segment"),
        site_id=pl.col("zone_id"),
        planned_distance_m=pl.col("length") * 1000,
    )
    stop = pl.col("stop_id")
    events = pl.concat(
        [
            stop_event(first, "departed_depot", place=0, at="left_at"),
            stop_event(runs, "arrived", place=1, at="ended_at", stop_id=stop),
            stop_event(runs, "completed", place=2, at="next_started_at", stop_id=stop),
        ]
    )
    return {
        "routes": fit(routes, "routes"),
        "stops": fit(stops, "stops"),
        "stop_events": fit(events, "stop_events"),
    }


def _zone(segment: pl.Expr) -> pl.Expr:
    """A stop is another place in each direction."""
    return pl.format("{}-{}", pl.col("direction"), segment)
