"""Sendy's motorbike orders in Nairobi: an order is a route of one stop, asked about when its parcel is picked up.

The file has weekdays and days of the month, but neither month nor year. Every order is therefore put into one
*pseudo-week*, Monday 2001-01-01 to Sunday 2001-01-07, by its weekday; orders of months apart stand side by side.
The order of that week means nothing, so it must never part training from test (orders are parted by their id), and
outcomes are sealed (`pipelines.sources.frozen`). Encodings are fitted out of fold on training orders and stay
frozen on the test; riders are the clusters of intervals.

- All ``Arrival at Destination`` columns and the label are the outcome, and nothing else.
- The order is ready to leave once its rider is at the pick-up: that is its ``planned_departure_at``, and what it leaves
  later than that is time spent waiting there. The route is known from then on.
- ``Distance (KM)`` is the road distance of the plan, known with the order: ``planned_distance_m``.
- Temperature and rain were measured at the order's placement. Each order brings its own weather row, told at its
  pick-up, nulls included, so that no order inherits the weather of another month.
- Riders.csv counts orders and ratings up to an unknown day, perhaps later than these orders: it is left out.
- Labels under a minute stay as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from hashlib import blake2b
from pathlib import Path

import polars as pl
import pyarrow as pa

from data_contracts.errors import SourceError
from pipelines.sources.frozen import sealed
from pipelines.sources.reading import Columns, read_csv
from pipelines.sources.shape import fit, grid_zone, one_stop_events, utc
from pipelines.sources.source import History, Loaded, files, without
from training.instants import Instants

TIMEZONE = "Africa/Nairobi"
AREA = "Nairobi"
SIDE_FILES = ("Riders.csv", "VariableDefinitions.csv")
FIRST_MONDAY = datetime(2001, 1, 1)  # noqa: DTZ001 - a clock time of Nairobi
TEST_FOLD_OF = 5
_STAGES = ("Placement", "Confirmation", "Arrival at Pickup", "Pickup")
_LABEL = "Time from Pickup to Arrival"
COLUMNS: Columns = {
    "Order No": pl.String,
    "User Id": pl.String,
    "Rider Id": pl.String,
    "Vehicle Type": pl.String,
    "Platform Type": pl.String,
    "Personal or Business": pl.String,
    **{f"{stage} - Weekday (Mo = 1)": pl.Int64 for stage in _STAGES},
    **{f"{stage} - Time": pl.String for stage in _STAGES},
    "Distance (KM)": pl.Float64,
    "Temperature": pl.Float64,
    "Precipitation in millimeters": pl.Float64,
    "Pickup Lat": pl.Float64,
    "Pickup Long": pl.Float64,
    "Destination Lat": pl.Float64,
    "Destination Long": pl.Float64,
    _LABEL: pl.Float64,
}


class Sendy:
    """Adapter of the order file of Zindi's "Sendy Logistics Challenge"."""

    name = "sendy"
    instants = Instants.AT_DEPARTURE
    history = History.UNDATED
    cluster = "courier_id"

    def load(self, paths: Sequence[Path], weather: Path | None = None) -> Loaded:
        if weather is not None:
            raise SourceError(
                "the orders have no calendar, so no weather can be joined to them",
                where=str(weather),
                next_step="leave --weather out",
            )
        unreadable: Counter[str] = Counter()
        found = without(files(paths, "*.csv"), SIDE_FILES, "orders")
        orders = _dated(pl.concat([read_csv(file, COLUMNS, unreadable) for file in found]))
        return Loaded(sealed(_canonical(orders)), unreadable=unreadable)


def held_out(order_id: str, seed: int) -> bool:
    """Whether an order falls into the test fifth of a seeded hash."""
    return _hashed(f"{seed}:{order_id}") % TEST_FOLD_OF == 0


def _hashed(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest())


def _dated(orders: pl.DataFrame) -> pl.DataFrame:
    """Orders with their instants in the pseudo-week.

    The file's seconds are whole; microseconds drawn from the order's id keep orders of the same second apart.
    """
    drawn = pl.Series("drawn_us", [_hashed(order or "") % 1_000_000 for order in orders["Order No"]])
    apart = pl.duration(microseconds=pl.col("drawn_us"))
    picked_up = _clock("Pickup", pl.col("Pickup - Weekday (Mo = 1)") - 1) + apart
    label = pl.duration(microseconds=(pl.col(_LABEL) * 1_000_000).cast(pl.Int64, strict=False))
    return (
        orders.with_columns(drawn)
        .with_columns(
            left_at=utc(picked_up, TIMEZONE),
            ready_at=_by("Arrival at Pickup", picked_up),
            confirmed_at=_by("Confirmation", picked_up),
            placed_at=_by("Placement", picked_up),
            service_date=picked_up.dt.strftime("%Y-%m-%d"),
            route_id=pl.format("R-{}", "Order No"),
            stop_id=pl.format("S-{}", "Order No"),
        )
        .with_columns(arrived_at=pl.col("left_at") + label)
    )


def _by(stage: str, latest: pl.Expr) -> pl.Expr:
    """Instant of a stage; no stage is later than the pick-up."""
    return utc(pl.min_horizontal(_clock(stage, _day(stage)), latest), TIMEZONE)


def _day(stage: str) -> pl.Expr:
    """Day of the pseudo-week; a stage on another weekday lies in the days before the pick-up."""
    pickup = pl.col("Pickup - Weekday (Mo = 1)")
    return pickup - 1 - (pickup - pl.col(f"{stage} - Weekday (Mo = 1)")) % 7


def _clock(stage: str, day: pl.Expr) -> pl.Expr:
    time = pl.col(f"{stage} - Time").str.to_time("%I:%M:%S %p", strict=False)
    of_day = pl.duration(nanoseconds=time.cast(pl.Int64))
    return pl.lit(FIRST_MONDAY, pl.Datetime("us")) + pl.duration(days=day) + of_day


def _canonical(orders: pl.DataFrame) -> dict[str, pa.Table]:
    planned = {"occurred_at": pl.col("placed_at"), "received_at": pl.col("confirmed_at")}
    routes = orders.select(
        "route_id",
        "service_date",
        event_id=pl.format("{}:plan", "route_id"),
        occurred_at=pl.col("placed_at"),
        received_at=pl.col("ready_at"),
        planned_departure_at=pl.col("ready_at"),
        courier_id=pl.col("Rider Id"),
        area_id=pl.lit(AREA),
        origin_zone_id=grid_zone(pl.col("Pickup Lat"), pl.col("Pickup Long")),
        origin_lat=pl.col("Pickup Lat"),
        origin_lon=pl.col("Pickup Long"),
        vehicle_type=pl.col("Vehicle Type").str.to_lowercase(),
        timezone=pl.lit(TIMEZONE),
    )
    stops = orders.select(
        "stop_id",
        "route_id",
        event_id=pl.format("{}:plan", "stop_id"),
        **planned,
        plan_version=pl.lit(0, pl.Int64),
        sequence=pl.lit(1, pl.Int64),
        zone_id=grid_zone(pl.col("Destination Lat"), pl.col("Destination Long")),
        lat=pl.col("Destination Lat"),
        lon=pl.col("Destination Long"),
        customer_id=pl.col("User Id"),
        product_type=pl.col("Personal or Business"),
        service_level=pl.col("Platform Type"),
        planned_distance_m=pl.col("Distance (KM)") * 1000,
    )
    return {
        "routes": fit(routes, "routes"),
        "stops": fit(stops, "stops"),
        "stop_events": fit(one_stop_events(orders), "stop_events"),
        "weather": fit(_weather(orders), "weather"),
    }


def _weather(orders: pl.DataFrame) -> pl.DataFrame:
    """What was measured for each order; the file measures every three hours, so it holds for the pick-up's hour."""
    return orders.select(
        event_id=pl.format("{}:weather", "route_id"),
        occurred_at=pl.col("placed_at"),
        received_at=pl.col("left_at"),
        area_id=pl.lit(AREA),
        kind=pl.lit("observed"),
        valid_at=pl.col("left_at").dt.truncate("1h"),
        issued_at=pl.col("placed_at"),
        temperature_c=pl.col("Temperature"),
        precipitation_mm=pl.col("Precipitation in millimeters"),
    )
