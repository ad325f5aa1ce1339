"""When rows happened and when they were known: lateness, order, silences."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

#: Whose rows make one stream; a row is out of order when a later one of its stream was known before it.
SUBJECTS: dict[str, tuple[str, ...]] = {
    "routes": ("route_id",),
    "stops": ("stop_id",),
    "stop_events": ("route_id",),
    "pings": ("vehicle_id",),
    "traffic": ("zone_id",),
    "weather": ("area_id", "kind"),
    "customers": ("customer_id",),
    "depots": ("depot_id",),
    "promises": ("stop_id",),
}
#: Feeds whose every subject should be heard of at a steady pace; a vehicle only while it is on a route.
PACED: dict[str, tuple[str, ...]] = {
    "pings": ("vehicle_id", "tour"),
    "traffic": ("zone_id",),
    "weather": ("area_id", "kind"),
    "depots": ("depot_id",),
}
Frame = pl.DataFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class Lateness:
    """How long after it happened a row was known.

    quickest_s : the lag that one row in a hundred stays under; network and queue at their best, plus clock skew
    ahead_share : rows that were known before they happened: a clock runs ahead
    """

    quickest_s: float
    usual_s: float
    slow_s: float
    late_share: float
    ahead_share: float
    out_of_order_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """The longest time without a row, beside the usual time between two."""

    longest_s: float
    usual_s: float
    began_at: datetime
    subject: str


def tells_receipt(rows: Frame) -> bool:
    """Whether rows were received at another time than they happened; else the one was copied from the other."""
    return rows.select((pl.col("received_at") != pl.col("occurred_at")).any()).item() is True


def lateness(rows: Frame, table: str, allowed: timedelta) -> Lateness | None:
    """Lateness of a table's rows; None where they do not tell when they were received."""
    timed = rows.drop_nulls(["occurred_at", "received_at"])
    if timed.is_empty() or not tells_receipt(timed):
        return None
    lag = pl.col("received_at") - pl.col("occurred_at")
    lag_s = lag.dt.total_microseconds() / 1e6
    found = timed.select(
        quickest=lag_s.quantile(0.01, "linear"),
        usual=lag_s.median(),
        slow=lag_s.quantile(0.95, "linear"),
        late=(lag > allowed).mean(),
        ahead=(lag < timedelta(0)).mean(),
    ).row(0, named=True)
    return Lateness(
        quickest_s=found["quickest"],
        usual_s=found["usual"],
        slow_s=found["slow"],
        late_share=found["late"],
        ahead_share=found["ahead"],
        out_of_order_share=out_of_order_share(timed, SUBJECTS[table]),
    )


def out_of_order_share(rows: Frame, subject: tuple[str, ...]) -> float:
    """Share of rows that happened before a row of their subject that was known earlier."""
    latest_before = pl.col("occurred_at").cum_max().shift(1).over(subject)
    behind = (pl.col("occurred_at") < latest_before).fill_null(False)
    return float(rows.sort("received_at", "occurred_at").select(behind.mean()).item() or 0.0)


def longest_silence(rows: Frame, table: str) -> Silence | None:
    """The longest silence of the table, or of one subject of a paced feed."""
    subject = PACED.get(table, ())
    timed = rows.drop_nulls("occurred_at")
    if table == "pings":
        day = pl.col("occurred_at").dt.date().cast(pl.String)
        timed = timed.with_columns(tour=pl.coalesce("route_id", day))
    name = pl.concat_str(pl.lit(""), *subject, separator=" ", ignore_nulls=True)
    instants = timed.select("occurred_at", subject=name).unique().sort("subject", "occurred_at")
    until_next = (pl.col("occurred_at").shift(-1) - pl.col("occurred_at")).over("subject")
    silences = instants.with_columns(silence_s=until_next.dt.total_microseconds() / 1e6).drop_nulls(
        "silence_s"
    )
    if silences.is_empty():
        return None
    longest = silences.sort("silence_s", "occurred_at", descending=[True, False]).row(0, named=True)
    return Silence(
        longest_s=longest["silence_s"],
        usual_s=float(silences["silence_s"].median()),  # type: ignore[arg-type]
        began_at=longest["occurred_at"],
        subject=longest["subject"].strip(),
    )


def rows_per_day(rows: Frame) -> dict[str, int]:
    """Rows of each UTC day on which something happened."""
    days = rows.drop_nulls("occurred_at").group_by(day=pl.col("occurred_at").dt.date()).len().sort("day")
    return {str(day): count for day, count in days.iter_rows()}
