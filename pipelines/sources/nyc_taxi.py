"""New York green taxi trips: a trip is a route of one stop, its zones are the taxi zones.

A trip is asked about at its pick-up and its outcome is known at its drop-off. Distance, duration, fares and totals
are recorded when the trip is over, so they are left behind. Clock times are local.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa

from data_contracts.errors import SourceError
from pipelines.sources.open_meteo import weather_of
from pipelines.sources.reading import Columns
from pipelines.sources.shape import fit, utc
from pipelines.sources.source import History, Loaded, files
from training.instants import Instants

TIMEZONE = "America/New_York"
AREA = "NYC"
SHORTEST_MIN, LONGEST_MIN = 1, 60
COLUMNS: Columns = {
    "lpep_pickup_datetime": pl.Datetime("us"),
    "lpep_dropoff_datetime": pl.Datetime("us"),
    "PULocationID": pl.Int64,
    "DOLocationID": pl.Int64,
    "VendorID": pl.Int64,
    "trip_type": pl.Int64,
    "passenger_count": pl.Int64,
}


class NycTaxi:
    """Adapter of the TLC's green-taxi trip files, with hourly weather in Open-Meteo's column names."""

    name = "nyc_taxi"
    instants = Instants.AT_DEPARTURE
    history = History.LIVE
    cluster = "service_date"

    def load(self, paths: Sequence[Path], weather: Path | None = None) -> Loaded:
        excluded: Counter[str] = Counter()
        trips = pl.concat([_trips(file, excluded) for file in files(paths, "*.parquet")])
        tables = _canonical(trips)
        if weather is not None:
            tables["weather"] = weather_of(files([weather], "*.csv"), AREA)
        return Loaded(tables, excluded)


def _trips(file: Path, excluded: Counter[str]) -> pl.DataFrame:
    """Trips of one file inside its month and between 1 and 60 minutes; the rest is counted."""
    try:
        raw = pl.read_parquet(file)
    except Exception as error:
        raise SourceError(
            f"not a readable Parquet file ({type(error).__name__})",
            where=str(file),
            next_step="fetch it again",
        ) from error
    missing = [name for name in COLUMNS if name not in raw.columns]
    if missing:
        raise SourceError(
            f"lacks the columns {', '.join(missing)}",
            where=str(file),
            next_step="name a green-taxi trip file",
        )
    trips = raw.select(pl.col(name).cast(dtype, strict=False) for name, dtype in COLUMNS.items())
    if trips.is_empty():
        raise SourceError("holds no rows", where=str(file), next_step="fetch it again")
    trips = trips.with_columns(
        picked_up_at=utc(pl.col("lpep_pickup_datetime"), TIMEZONE),
        dropped_off_at=utc(pl.col("lpep_dropoff_datetime"), TIMEZONE),
    )
    month = trips["lpep_pickup_datetime"].dt.truncate("1mo").drop_nulls().mode().min()
    inside = pl.col("lpep_pickup_datetime").dt.truncate("1mo") == month
    minutes = (pl.col("dropped_off_at") - pl.col("picked_up_at")).dt.total_seconds() / 60
    in_range = minutes.is_between(SHORTEST_MIN, LONGEST_MIN)
    excluded["outside_month"] += trips.filter(~inside).height
    excluded["duration_out_of_range"] += trips.filter(inside & ~in_range).height
    return trips.filter(inside.fill_null(True) & in_range.fill_null(True))


def _canonical(trips: pl.DataFrame) -> dict[str, pa.Table]:
    asked = ["lpep_pickup_datetime", "PULocationID", "DOLocationID"]
    trips = trips.sort(*asked, "VendorID", "lpep_dropoff_datetime").with_columns(
        trip=pl.format(
            "{}-{}-{}-{}",
            pl.col("lpep_pickup_datetime").dt.epoch("s"),
            pl.col("PULocationID"),
            pl.col("DOLocationID"),
            pl.int_range(pl.len()).over(asked),
        ),
        service_date=pl.col("lpep_pickup_datetime").dt.strftime("%Y-%m-%d"),
    )
    known = {"occurred_at": pl.col("picked_up_at"), "received_at": pl.col("picked_up_at")}
    routes = trips.select(
        event_id=pl.format("route-{}", "trip"),
        **known,
        route_id=pl.format("R-{}", "trip"),
        area_id=pl.lit(AREA),
        origin_zone_id=pl.col("PULocationID").cast(pl.String),
        timezone=pl.lit(TIMEZONE),
        service_date=pl.col("service_date"),
        vehicle_type=pl.lit("taxi"),
    )
    stops = trips.select(
        event_id=pl.format("stop-{}", "trip"),
        **known,
        stop_id=pl.format("S-{}", "trip"),
        route_id=pl.format("R-{}", "trip"),
        plan_version=pl.lit(0, pl.Int64),
        sequence=pl.lit(1, pl.Int64),
        zone_id=pl.col("DOLocationID").cast(pl.String),
        parcels=pl.col("passenger_count"),
        product_type=pl.col("VendorID").cast(pl.String),
        service_level=pl.col("trip_type").cast(pl.String),
    )
    events = {
        "departed_depot": ("picked_up_at", pl.lit(None, pl.String)),
        "arrived": ("dropped_off_at", pl.format("S-{}", "trip")),
        "completed": ("dropped_off_at", pl.format("S-{}", "trip")),
    }
    stop_events = pl.concat(
        trips.select(
            event_id=pl.format("{}-{}", pl.lit(kind), "trip"),
            occurred_at=pl.col(at),
            received_at=pl.col(at),
            route_id=pl.format("R-{}", "trip"),
            stop_id=stop_id,
            kind=pl.lit(kind),
        )
        for kind, (at, stop_id) in events.items()
    )
    return {
        "routes": fit(routes, "routes"),
        "stops": fit(stops, "stops"),
        "stop_events": fit(stop_events, "stop_events"),
    }
