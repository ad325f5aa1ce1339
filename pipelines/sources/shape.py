"""The shapes that adapters share: a contract's columns in order, stop events, local clock times, zones by grid."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import polars as pl
import pyarrow as pa

from data_contracts.errors import SourceError
from data_contracts.tables import TABLES

#: About 2 km north to south; as much east to west at the equator, less elsewhere.
CELL_DEG = 0.018


def fit(frame: pl.DataFrame, table: str) -> pa.Table:
    """A frame in the order of a contract's columns; columns that the source does not have are left to the contract."""
    return frame.select(name for name in TABLES[table].names if name in frame.columns).to_arrow()


def utc(local: pl.Expr, timezone: str) -> pl.Expr:
    """Naive clock times of a place as instants; of a doubled hour the first is taken, a skipped hour is null."""
    zoned = local.cast(pl.Datetime("us")).dt.replace_time_zone(
        timezone, ambiguous="earliest", non_existent="null"
    )
    return zoned.dt.convert_time_zone("UTC")


def known_timezone(name: str, where: str) -> str:
    """The name of an IANA time zone, or a `SourceError`."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise SourceError(
            f"time zone {name!r} is unknown", where=where, next_step="give an IANA name such as Europe/Berlin"
        ) from error
    return name


def grid_zone(lat: pl.Expr, lon: pl.Expr) -> pl.Expr:
    """A zone for a place that has none: its cell in a grid of ``CELL_DEG``; null without a position."""
    north, east = ((place / CELL_DEG).floor().cast(pl.Int64, strict=False) for place in (lat, lon))
    return pl.when(north.is_not_null() & east.is_not_null()).then(pl.format("grid:{}:{}", north, east))


def grid_zone_of(lat: float, lon: float) -> str:
    """``grid_zone`` of one position."""
    return f"grid:{lat // CELL_DEG:.0f}:{lon // CELL_DEG:.0f}"


def stop_event(
    frame: pl.DataFrame,
    kind: str,
    *,
    place: int,
    at: str,
    stop_id: pl.Expr | None = None,
    route_id: pl.Expr | None = None,
) -> pl.DataFrame:
    """One event a row of ``frame``; its id starts with ``place``, since a log orders ties by id."""
    route = pl.col("route_id") if route_id is None else route_id
    stop = pl.lit(None, pl.String) if stop_id is None else stop_id
    return frame.select(
        event_id=pl.concat_str(
            [route, pl.lit(f":{place}:{kind}")] if stop_id is None else [stop, pl.lit(f":{place}:{kind}")]
        ),
        occurred_at=pl.col(at),
        received_at=pl.col(at),
        route_id=route,
        stop_id=stop,
        kind=pl.lit(kind),
    )


def one_stop_events(trips: pl.DataFrame) -> pl.DataFrame:
    """Departure, arrival and completion of trips with ``route_id``, ``stop_id``, ``left_at`` and ``arrived_at``."""
    stop = pl.col("stop_id")
    return pl.concat(
        [
            stop_event(trips, "departed_depot", place=0, at="left_at"),
            stop_event(trips, "arrived", place=1, at="arrived_at", stop_id=stop),
            stop_event(trips, "completed", place=2, at="arrived_at", stop_id=stop),
        ]
    )
