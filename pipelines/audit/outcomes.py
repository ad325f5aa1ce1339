"""What became of the stops: how many were reached, and how late they were against what was promised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from pipelines.audit.coverage import drives

Frames = Mapping[str, pl.DataFrame]
BINS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """Counts of a source's outcomes.

    reached : stops with an arrival, completion or failure; ``days`` on which there were some
    timed_doors : stops whose arrival and completion differ, so that service can be told from driving
    against : what lateness is measured against: the promise told first, else the plan, else the start of the drive
    late_share : share of promised stops that were reached after the promise's end; None without promises
    edges_min, counts : distribution of minutes from ``against`` to the arrival; the outermost bins hold what lies
        beyond the 0.5 and 99.5 % quantiles
    """

    stops: int
    reached: int
    days: int
    stops_a_route: float
    timed_doors: int
    promised: int
    late_share: float | None
    against: str
    median_min: float | None
    edges_min: tuple[float, ...]
    counts: tuple[int, ...]


def outcomes(good: Frames) -> Outcomes:
    """The outcomes of the rows that keep their contract."""
    reached = _with_promise(drives(good), good)
    planned = good["stops"]["stop_id"].n_unique() if "stops" in good else 0
    routes = reached["route_id"].n_unique()
    promised = reached.drop_nulls("promise_end_at")
    late = promised.select((pl.col("reached_at") > pl.col("promise_end_at")).mean()).item()
    against, minutes = _lateness_min(reached)
    edges, counts = _histogram(minutes)
    return Outcomes(
        stops=planned,
        reached=reached.height,
        days=reached["service_date"].n_unique(),
        stops_a_route=reached.height / routes if routes else 0.0,
        timed_doors=_timed_doors(good),
        promised=promised.height,
        late_share=late,
        against=against,
        median_min=float(np.median(minutes)) if len(minutes) else None,
        edges_min=edges,
        counts=counts,
    )


def _with_promise(reached: pl.DataFrame, good: Frames) -> pl.DataFrame:
    """The end of the window told first, which may stand in the plan or among the promises."""
    rows = good.get("promises")
    if rows is None or rows.is_empty():
        return reached.with_columns(promise_end_at=pl.col("promised_end_at"))
    first = rows.sort("promise_version").unique("stop_id", keep="first")
    told = first.select("stop_id", told_end_at="promised_end_at")
    return reached.join(told, on="stop_id", how="left").with_columns(
        promise_end_at=pl.coalesce("told_end_at", "promised_end_at")
    )


def _lateness_min(reached: pl.DataFrame) -> tuple[str, np.ndarray]:
    for against, column in (
        ("the end of the promised window", "promise_end_at"),
        ("the planned arrival", "planned_arrival_at"),
        ("the start of the drive", "began_at"),
    ):
        rows = reached.drop_nulls(column)
        if 2 * rows.height > reached.height:
            apart = pl.col("reached_at") - pl.col(column)
            return against, rows.select(apart.dt.total_microseconds() / 60e6).to_series().to_numpy()
    return "the start of the drive", np.zeros(0)


def _histogram(minutes: np.ndarray) -> tuple[tuple[float, ...], tuple[int, ...]]:
    if not len(minutes):
        return (), ()
    low, high = np.quantile(minutes, [0.005, 0.995])
    counts, edges = np.histogram(
        np.clip(minutes, low, high), bins=BINS, range=(low, high if high > low else low + 1)
    )
    return tuple(map(float, edges)), tuple(map(int, counts))


def _timed_doors(good: Frames) -> int:
    events = good.get("stop_events")
    if events is None:
        return 0
    times = (
        events.drop_nulls("stop_id")
        .group_by("stop_id")
        .agg(
            arrived=pl.col("occurred_at").filter(pl.col("kind") == "arrived").min(),
            completed=pl.col("occurred_at").filter(pl.col("kind") == "completed").min(),
        )
    )
    return times.filter(pl.col("completed") > pl.col("arrived")).height
