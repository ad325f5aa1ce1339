"""LaDe deliveries in the published CSV format: a courier's day is a route, its stops are what was accepted.

Times are month, day and clock without a year; the year is an argument (2022 unless given), and a delivery dated
before its acceptance lies in the year after. An order becomes known when it is accepted, and the place of a stop in
its route is the order of acceptance: the order of delivery is an outcome. GPS fixes become pings when they were made;
``nan`` means that there was none. Clock times are those of China.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa

from data_contracts.errors import SourceError
from pipelines.sources.open_meteo import weather_of
from pipelines.sources.reading import Columns, read_csv
from pipelines.sources.shape import fit, grid_zone, stop_event, utc
from pipelines.sources.source import History, Loaded, files
from training.instants import Instants

TIMEZONE = "Asia/Shanghai"
DEFAULT_YEAR = 2022
COLUMNS: Columns = {
    "order_id": pl.Int64,
    "region_id": pl.Int64,
    "city": pl.String,
    "courier_id": pl.Int64,
    "lng": pl.Float64,
    "lat": pl.Float64,
    "aoi_id": pl.Int64,
    "aoi_type": pl.String,
    "accept_time": pl.String,
    "accept_gps_time": pl.String,
    "accept_gps_lng": pl.Float64,
    "accept_gps_lat": pl.Float64,
    "delivery_time": pl.String,
    "delivery_gps_time": pl.String,
    "delivery_gps_lng": pl.Float64,
    "delivery_gps_lat": pl.Float64,
    "ds": pl.Int64,
}


class Lade:
    """Adapter of LaDe's delivery files."""

    name = "lade"
    instants = Instants.ALONG_ROUTE
    history = History.LIVE
    cluster = "service_date"

    def __init__(self, year: int = DEFAULT_YEAR) -> None:
        self.year = year

    def load(self, paths: Sequence[Path], weather: Path | None = None) -> Loaded:
        unreadable: Counter[str] = Counter()
        found = files(paths, "*.csv")
        orders = _timed(pl.concat([read_csv(file, COLUMNS, unreadable) for file in found]), self.year)
        tables = _canonical(orders)
        if weather is not None:
            tables["weather"] = weather_of(files([weather], "*.csv"), _one_city(orders, weather))
        return Loaded(tables, unreadable=unreadable)


def _timed(orders: pl.DataFrame, year: int) -> pl.DataFrame:
    """Orders with instants, ids and their place in the courier's day, by acceptance."""
    accepted, delivered = _clock("accept_time", year), _clock("delivery_time", year)
    after = pl.when(delivered < accepted).then(_clock("delivery_time", year + 1)).otherwise(delivered)
    gps = pl.when(_clock("delivery_gps_time", year) < accepted)
    route = ["city", "courier_id", "ds"]
    return (
        orders.with_columns(
            accepted_at=utc(accepted, TIMEZONE),
            delivered_at=utc(after, TIMEZONE),
            accept_fix_at=utc(_clock("accept_gps_time", year), TIMEZONE),
            delivery_fix_at=utc(
                gps.then(_clock("delivery_gps_time", year + 1)).otherwise(_clock("delivery_gps_time", year)),
                TIMEZONE,
            ),
            month_day=pl.col("ds").cast(pl.String).str.zfill(4),
        )
        .sort(*route, "accepted_at", "order_id")
        .with_columns(
            route_id=pl.format("R-{}-{}-{}", "city", "courier_id", "month_day"),
            stop_id=pl.format("S-{}-{}", "city", "order_id"),
            courier=pl.format("{}-{}", "city", "courier_id"),
            sequence=pl.int_range(1, pl.len() + 1).over(route),
            started_at=pl.col("accepted_at").min().over(route),
            service_date=pl.format(
                f"{year}-{{}}-{{}}", pl.col("month_day").str.head(2), pl.col("month_day").str.tail(2)
            ),
        )
    )


def _clock(name: str, year: int) -> pl.Expr:
    text = pl.concat_str(pl.lit(f"{year}-"), name)
    return text.str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us", strict=False)


def _canonical(orders: pl.DataFrame) -> dict[str, pa.Table]:
    first = orders.filter(pl.col("sequence") == 1)
    start = grid_zone(pl.col("accept_gps_lat"), pl.col("accept_gps_lng"))
    routes = first.select(
        "route_id",
        "service_date",
        event_id=pl.format("{}:plan", "route_id"),
        occurred_at=pl.col("started_at"),
        received_at=pl.col("started_at"),
        vehicle_id=pl.col("courier"),
        courier_id=pl.col("courier"),
        area_id=pl.col("city"),
        origin_zone_id=pl.coalesce(start, pl.format("region:{}", "region_id")),
        origin_lat=pl.col("accept_gps_lat"),
        origin_lon=pl.col("accept_gps_lng"),
        timezone=pl.lit(TIMEZONE),
    )
    stops = orders.select(
        "stop_id",
        "route_id",
        "sequence",
        "lat",
        event_id=pl.format("{}:plan", "stop_id"),
        occurred_at=pl.col("accepted_at"),
        received_at=pl.col("accepted_at"),
        plan_version=pl.lit(0, pl.Int64),
        zone_id=pl.format("aoi:{}", "aoi_id"),
        lon=pl.col("lng"),
        product_type=pl.col("aoi_type"),
    )
    stop = pl.col("stop_id")
    delivered = orders.filter(pl.col("delivery_time").is_not_null())
    events = pl.concat(
        [
            stop_event(first, "departed_depot", place=0, at="started_at"),
            stop_event(delivered, "arrived", place=1, at="delivered_at", stop_id=stop),
            stop_event(delivered, "completed", place=2, at="delivered_at", stop_id=stop),
        ]
    )
    pings = pl.concat([_fixes(orders, "accept"), _fixes(orders, "delivery")])
    return {
        "routes": fit(routes, "routes"),
        "stops": fit(stops, "stops"),
        "stop_events": fit(events, "stop_events"),
        "pings": fit(pings, "pings"),
    }


def _fixes(orders: pl.DataFrame, moment: str) -> pl.DataFrame:
    """Where the courier stood; the position counts as known when it was taken."""
    fixed = orders.drop_nulls([f"{moment}_gps_lat", f"{moment}_gps_lng", f"{moment}_gps_time"])
    return fixed.select(
        "route_id",
        event_id=pl.format("{}:ping:{}", "stop_id", pl.lit(moment)),
        occurred_at=pl.col(f"{moment}_fix_at"),
        received_at=pl.col(f"{moment}_fix_at"),
        vehicle_id=pl.col("courier"),
        lat=pl.col(f"{moment}_gps_lat"),
        lon=pl.col(f"{moment}_gps_lng"),
    )


def _one_city(orders: pl.DataFrame, weather: Path) -> str:
    cities = orders["city"].drop_nulls().unique().sort().to_list()
    if len(cities) != 1:
        what = f"weather of one place was given, and orders of {len(cities)} cities"
        raise SourceError(what, where=str(weather), next_step="load one city at a time")
    return str(cities[0])
