"""Sets whose files cannot say when an outcome was known: no calendar (Sendy), no end time (Delhivery).

Their adapters *seal* what they load: every outcome is told at one instant after everything else of the files, so
that none of it is ever live state. A past that is to teach is *opened* (an outcome is known when it happens) and
*moved before* the first forecast that it may serve, by whole weeks, so that weekdays and hours stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import polars as pl
import pyarrow as pa

from data_contracts.errors import SourceError
from data_contracts.tables import TABLES, Dtype

Tables = Mapping[str, pa.Table]
OUTCOMES = ("arrived", "completed", "failed", "skipped")


def sealed(tables: Tables) -> dict[str, pa.Table]:
    """Tables whose outcomes become known together, at the first midnight UTC after everything else."""
    latest = _latest(tables)
    closed_at = latest.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return _with_outcomes_known(tables, pl.lit(closed_at, pl.Datetime("us", "UTC")))


def opened(tables: Tables) -> dict[str, pa.Table]:
    """Tables whose outcomes are known when they happen."""
    return _with_outcomes_known(tables, pl.col("occurred_at"))


def moved_before(tables: Tables, instant: datetime) -> dict[str, pa.Table]:
    """Tables as many whole weeks earlier as it takes for all of them to be known before an instant."""
    weeks = max(0, (_latest(tables) - instant) // timedelta(weeks=1) + 1)
    frames = {name: pl.DataFrame(table) for name, table in tables.items()}
    return {name: _earlier(name, frame, timedelta(weeks=weeks)).to_arrow() for name, frame in frames.items()}


def _latest(tables: Tables) -> datetime:
    """The last instant at which anything happened or was known."""
    columns = [pl.Series(t[name]) for t in tables.values() for name in ("occurred_at", "received_at")]
    instants = [last for column in columns if isinstance(last := column.max(), datetime)]
    if not instants:
        what = "not one row has a time that can be read"
        raise SourceError(what, where=", ".join(tables), next_step="name files in the published format")
    return max(instants)


def _with_outcomes_known(tables: Tables, at: pl.Expr) -> dict[str, pa.Table]:
    events = pl.DataFrame(tables["stop_events"])
    known = pl.when(pl.col("kind").is_in(OUTCOMES)).then(at).otherwise("received_at")
    return {**tables, "stop_events": events.with_columns(received_at=known).to_arrow()}


def _earlier(name: str, frame: pl.DataFrame, by: timedelta) -> pl.DataFrame:
    times = [c.name for c in TABLES[name].columns if c.dtype is Dtype.TIMESTAMP and c.name in frame.columns]
    frame = frame.with_columns(pl.col(times) - by)
    if "service_date" in frame.columns:
        day = pl.col("service_date").str.to_date() - by
        frame = frame.with_columns(service_date=day.dt.to_string("%Y-%m-%d"))
    return frame
