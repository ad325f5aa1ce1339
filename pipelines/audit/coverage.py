"""How many stops had a fresh row of each feed when the drive to them began."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import polars as pl

from data_contracts.tables import TABLES

Frames = Mapping[str, pl.DataFrame]
#: Feed -> its table and what a stop finds it by.
FEEDS = {
    "telemetry": ("pings", "vehicle_id"),
    "traffic": ("traffic", "zone_id"),
    "weather": ("weather", "area_id"),
}
_HOUR = timedelta(hours=1)
_LEAVING = ("departed_depot", "completed", "failed", "skipped")
_REACHED = ("arrived", "completed", "failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Share of stops with a row that was known then and no older than ``limit_s``."""

    feed: str
    table: str
    present: bool
    stops: int
    share: float
    limit_s: float


def drives(good: Frames) -> pl.DataFrame:
    """Every stop that was reached: when the drive to it began, when it ended, and who, where and in which area."""
    if any(good.get(name) is None or good[name].is_empty() for name in ("routes", "stops", "stop_events")):
        return pl.DataFrame(schema=_SCHEMA)
    events = good["stop_events"]
    reached = (
        events.filter(pl.col("kind").is_in(_REACHED) & pl.col("stop_id").is_not_null())
        .sort("occurred_at")
        .unique("stop_id", keep="first", maintain_order=True)
        .select("stop_id", "route_id", reached_at="occurred_at")
    )
    left = events.filter(pl.col("kind").is_in(_LEAVING)).select("route_id", left_at="occurred_at")
    began = reached.sort("reached_at").join_asof(
        left.sort("left_at"),
        left_on="reached_at",
        right_on="left_at",
        by="route_id",
        strategy="backward",
        allow_exact_matches=False,
        check_sortedness=False,
    )
    routes = good["routes"].sort("received_at").unique("route_id", keep="last").select("route_id", *_ROUTE)
    stops = good["stops"].sort("received_at").unique("stop_id", keep="first").select("stop_id", *_STOP)
    joined = began.join(routes, on="route_id", how="left").join(stops, on="stop_id", how="left")
    return joined.select(pl.coalesce("left_at", "reached_at").alias("began_at"), *_SCHEMA.names()[1:])


def coverage(good: Frames) -> list[Coverage]:
    """Coverage by each feed."""
    asked = drives(good)
    found = []
    for feed, (table, subject) in FEEDS.items():
        rows = good.get(table)
        limit = TABLES[table].freshness or timedelta(0)
        present = rows is not None and rows.height > 0
        covered = _covered(asked, table, rows, subject, limit) if present and rows is not None else 0
        share = covered / asked.height if asked.height else 0.0
        found.append(
            Coverage(
                feed=feed,
                table=table,
                present=present,
                stops=asked.height,
                share=share,
                limit_s=limit.total_seconds(),
            )
        )
    return found


def _covered(asked: pl.DataFrame, table: str, rows: pl.DataFrame, subject: str, limit: timedelta) -> int:
    if table != "weather":
        return len(_with_fresh(asked, rows, subject, limit))
    observed = rows.filter(pl.col("kind") == "observed").with_columns(occurred_at=pl.col("valid_at"))
    now = _with_fresh(asked, observed, subject, limit)
    return pl.concat([now, _with_this_hour(asked, rows)]).n_unique()


def _with_fresh(asked: pl.DataFrame, rows: pl.DataFrame, subject: str, limit: timedelta) -> pl.Series:
    """Stops for which the newest thing known then had happened within ``limit``."""
    known = (
        rows.sort("received_at")
        .select(subject, "received_at", newest=pl.col("occurred_at").cum_max().over(subject))
        .drop_nulls()
    )
    found = (
        asked.drop_nulls(subject)
        .sort("began_at")
        .join_asof(
            known,
            left_on="began_at",
            right_on="received_at",
            by=subject,
            strategy="backward",
            check_sortedness=False,
        )
    )
    return found.filter(pl.col("began_at") - pl.col("newest") <= limit)["stop_id"]


def _with_this_hour(asked: pl.DataFrame, weather: pl.DataFrame) -> pl.Series:
    """Stops for whose hour something had been said before, such as a forecast."""
    told = weather.group_by("area_id", hour=pl.col("valid_at").dt.truncate("1h")).agg(
        told_at=pl.col("received_at").min()
    )
    found = asked.with_columns(hour=pl.col("began_at").dt.truncate("1h")).join(told, on=["area_id", "hour"])
    return found.filter(pl.col("told_at") <= pl.col("began_at"))["stop_id"]


_TIME = pl.Datetime("us", "UTC")
_ROUTE = ("vehicle_id", "area_id", "service_date")
_STOP = ("zone_id", "lat", "lon", "promised_end_at", "planned_arrival_at")
_SCHEMA = pl.Schema(
    {
        "began_at": _TIME,
        "reached_at": _TIME,
        "stop_id": pl.String(),
        "route_id": pl.String(),
        "vehicle_id": pl.String(),
        "area_id": pl.String(),
        "service_date": pl.String(),
        "zone_id": pl.String(),
        "lat": pl.Float64(),
        "lon": pl.Float64(),
        "promised_end_at": _TIME,
        "planned_arrival_at": _TIME,
    }
)
