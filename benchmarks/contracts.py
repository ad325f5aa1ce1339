"""Benchmarks of the data contracts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

from benchmarks.harness import Benchmark, Work
from data_contracts.checks import validate_rows
from data_contracts.quarantine import coerce, split
from data_contracts.tables import STOPS, Dtype

SEED = 7
ROWS = 1_000_000
STOPS_A_ROUTE = 100
#: The columns that the source gives; the suite holds the others to their contract as well, empty as they are.
GIVEN = (
    *("event_id", "occurred_at", "received_at", "stop_id", "route_id", "plan_version", "sequence", "zone_id"),
    *(
        "lat",
        "lon",
        "parcels",
        "promised_start_at",
        "promised_end_at",
        "planned_travel_s",
        "planned_service_s",
    ),
)
_TOLD_US = 1_767_571_200_000_000
_EARLIEST, _LATEST = pd.Timestamp("2000-01-01", tz="UTC"), pd.Timestamp("2100-01-01", tz="UTC")


def _stops(rng: np.random.Generator) -> pa.Table:
    """A good batch: routes of stops around a city, each with a promise of two hours."""
    number = np.arange(ROWS)
    told = pa.array(_TOLD_US + rng.integers(0, 3_600_000_000, ROWS)).cast(pa.timestamp("us", "UTC"))
    start_us = _TOLD_US + rng.integers(8, 18, ROWS) * 3_600_000_000
    columns = {
        "event_id": [f"stop-{i}" for i in number],
        "occurred_at": told,
        "received_at": told,
        "stop_id": [f"S-{i}" for i in number],
        "route_id": [f"R-{i}" for i in number // STOPS_A_ROUTE],
        "plan_version": np.ones(ROWS, np.int64),
        "sequence": number % STOPS_A_ROUTE + 1,
        "zone_id": [f"Z-{i}" for i in rng.integers(0, 500, ROWS)],
        "lat": 52.1 + rng.normal(0, 0.03, ROWS),
        "lon": 5.1 + rng.normal(0, 0.05, ROWS),
        "parcels": rng.integers(1, 6, ROWS),
        "promised_start_at": pa.array(start_us).cast(pa.timestamp("us", "UTC")),
        "promised_end_at": pa.array(start_us + 7_200_000_000).cast(pa.timestamp("us", "UTC")),
        "planned_travel_s": rng.exponential(300, ROWS),
        "planned_service_s": rng.exponential(120, ROWS),
    }
    return pa.table({name: columns[name] for name in GIVEN})


def _prepare(_: Path) -> tuple[Work, Work]:
    """All that landing does to rows short of the files, against the same checks written by hand in pandas."""
    rows = _stops(np.random.default_rng(SEED))
    routes = pl.Series([f"R-{i}" for i in range(ROWS // STOPS_A_ROUTE)])
    known = set(routes)

    def ours() -> Any:
        parts = split(STOPS, coerce(STOPS, rows), {"route_id": routes})
        assert (parts.good.num_rows, validate_rows(STOPS, parts.good)) == (ROWS, [])

    def peer() -> Any:
        assert not _broken(rows.to_pandas(), known).any()

    return ours, peer


def _prepare_suite(_: Path) -> tuple[Work, Work]:
    """The suite alone, against the same expectations written by hand in pandas."""
    coerced = coerce(STOPS, _stops(np.random.default_rng(SEED)))

    def ours() -> Any:
        assert validate_rows(STOPS, coerced) == []

    def peer() -> Any:
        assert not _broken_rows(coerced.to_pandas()).any()

    return ours, peer


def _broken(frame: pd.DataFrame, routes: set[str]) -> pd.Series[bool]:
    """Rows that break the contract of a single row, refer to no route, or repeat an id or a key."""
    repeated = frame.duplicated("event_id") | frame.duplicated(list(STOPS.key))
    return _broken_rows(frame) | _bad_cells(frame) | ~frame["route_id"].isin(routes) | repeated | _far(frame)


def _broken_rows(frame: pd.DataFrame) -> pd.Series[bool]:
    broken = pd.Series(False, index=frame.index)
    for column in (STOPS.column(name) for name in STOPS.names if name in frame):
        cells = frame[column.name]
        if column.required:
            broken |= cells.isna()
        if column.dtype is Dtype.TIMESTAMP:
            broken |= (cells < _EARLIEST) | (cells > _LATEST)
        if column.low is not None:
            broken |= cells < column.low
        if column.high is not None:
            broken |= cells > column.high
    broken |= (frame["lat"] == 0) & (frame["lon"] == 0)
    return broken | (frame["promised_start_at"] > frame["promised_end_at"])


def _bad_cells(frame: pd.DataFrame) -> pd.Series[bool]:
    """What the suite leaves to the rules of the quarantine: blank and overlong text, infinite numbers."""
    broken = pd.Series(False, index=frame.index)
    for column in (STOPS.column(name) for name in GIVEN):
        cells = frame[column.name]
        if column.dtype is Dtype.STRING:
            broken |= (cells.str.strip() == "") | (cells.str.len() > 1_024)
        if column.dtype is Dtype.NUMBER:
            broken |= np.isinf(cells)
    return broken


def _far(frame: pd.DataFrame) -> pd.Series[bool]:
    middle = frame.groupby("route_id")[["lat", "lon"]].transform("median")
    north, east = np.radians(frame["lat"] - middle["lat"]), np.radians(frame["lon"] - middle["lon"])
    return 6_371.0 * np.hypot(north, east * np.cos(np.radians(middle["lat"]))) > 2_000.0


BENCHMARKS = (
    Benchmark(
        name="contracts_landing",
        reach="<= 10 s for 1M rows x 15 columns",
        peer="the same checks by hand in pandas",
        prepare=_prepare,
        met=lambda ratio, figures: figures["seconds"] <= 10,
        figures=lambda ours, theirs: {"seconds": ours, "rows_per_s": ROWS / ours},
        runs=3,
    ),
    Benchmark(
        name="contracts_suite",
        reach="<= 10 s for 1M rows x 15 columns",
        peer="the same expectations by hand in pandas",
        prepare=_prepare_suite,
        met=lambda ratio, figures: figures["seconds"] <= 10,
        figures=lambda ours, theirs: {"seconds": ours, "rows_per_s": ROWS / ours},
        runs=3,
    ),
)
