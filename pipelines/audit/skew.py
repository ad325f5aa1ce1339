"""Whether two feeds' clocks agree: by how soon their rows are received, and by where a vehicle stood when it served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import polars as pl

from features.observations import EARTH_RADIUS_M
from pipelines.audit.profile import TableFigures

Frames = Mapping[str, pl.DataFrame]
NEAR_M = 75.0
AROUND = timedelta(minutes=30)
VISITS = 2_000
FEWEST_VISITS = 30
WORTH_SAYING_S = 60.0
_HALF_HOUR_S = 1_800.0
_CLOSE_S = 180.0
SEED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Skew:
    """How far a feed's clock runs ahead of that of the stop events; negative when behind.

    how : ``by receipt`` compares the quickest rows of both, so it holds the difference of their networks too;
        ``at the door`` compares pings beside a stop with the time that the courier was there
    """

    feed: str
    ahead_s: float
    rows: int
    how: str

    @property
    def remark(self) -> str:
        """What to do about it; empty when it is small."""
        size = abs(self.ahead_s)
        if size < WORTH_SAYING_S:
            return ""
        halves = round(size / _HALF_HOUR_S)
        side = "ahead of" if self.ahead_s > 0 else "behind"
        zone = halves and abs(size - halves * _HALF_HOUR_S) <= _CLOSE_S
        return f"{self.feed} run {size:,.0f} s {side} the stop events" + (
            ", which looks like a time zone" if zone else ""
        )


def skews(good: Frames, figures: Sequence[TableFigures]) -> list[Skew]:
    """Every skew that the data can show."""
    lags = {one.table: one.lateness.quickest_s for one in figures if one.lateness is not None}
    base = lags.get("stop_events")
    found = [
        Skew(feed=name, ahead_s=base - lag, rows=good[name].height, how="by receipt")
        for name, lag in lags.items()
        if base is not None and name in ("pings", "traffic", "depots")
    ]
    at_door = _at_the_door(good)
    return [*found, at_door] if at_door is not None else found


def _at_the_door(good: Frames) -> Skew | None:
    """Pings within ``NEAR_M`` of a stop, against the middle of the visit."""
    if any(name not in good or good[name].is_empty() for name in ("routes", "stops", "stop_events", "pings")):
        return None
    visits = _visits(good)
    pings = good["pings"].select(
        "vehicle_id", "lat", "lon", "occurred_at", day=pl.col("occurred_at").dt.date()
    )
    north = (pl.col("lat") - pl.col("stop_lat")).radians()
    east = (pl.col("lon") - pl.col("stop_lon")).radians() * pl.col("lat").radians().cos()
    apart_m = EARTH_RADIUS_M * (north.pow(2) + east.pow(2)).sqrt()
    after = pl.col("occurred_at") - pl.col("middle_at")
    near = visits.join(pings, on=["vehicle_id", "day"]).filter(
        (apart_m <= NEAR_M) & (after >= -AROUND) & (after <= AROUND)
    )
    each = near.group_by("stop_id").agg(ahead_s=(after.dt.total_microseconds() / 1e6).mean())
    if each.height < FEWEST_VISITS:
        return None
    return Skew(feed="pings", ahead_s=float(each["ahead_s"].median()), rows=each.height, how="at the door")  # type: ignore[arg-type]


def _visits(good: Frames) -> pl.DataFrame:
    """A bounded sample of stops with a position, an arrival and a completion."""
    events = good["stop_events"].drop_nulls("stop_id")
    times = {
        kind: events.filter(pl.col("kind") == kind).group_by("stop_id").agg(at=pl.col("occurred_at").min())
        for kind in ("arrived", "completed")
    }
    both = times["arrived"].join(times["completed"], on="stop_id", suffix="_end").sort("stop_id")
    stops = good["stops"].unique("stop_id", keep="first").drop_nulls(["lat", "lon"])
    routes = good["routes"].unique("route_id", keep="last").select("route_id", "vehicle_id")
    middle = pl.col("at") + (pl.col("at_end") - pl.col("at")) / 2
    visits = (
        both.select("stop_id", middle_at=middle, day=middle.dt.date())
        .join(stops.select("stop_id", "route_id", stop_lat="lat", stop_lon="lon"), on="stop_id")
        .join(routes, on="route_id")
        .drop_nulls()
        .sort("stop_id")
    )
    return visits.sample(min(visits.height, VISITS), seed=SEED)
