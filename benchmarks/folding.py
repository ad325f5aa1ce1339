"""Folding events into features: a whole history at once, and live in micro-batches with online publication."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.harness import Benchmark, Work
from data_contracts.record import Record
from data_contracts.tables import TABLES
from features.backfill import Frames, backfill, in_log_order
from features.feed_folds import FEEDS
from features.live import LiveFeatures
from features.messages import STRUCTURE
from features.online import OnlineWriter

HISTORY_EVENTS = 1_000_000
LIVE_EVENTS = 20_000
RECORDS_A_STEP = 500
DAY_US = 86_400_000_000
FOLDED = (*STRUCTURE, *FEEDS)
REACH_BACKFILL, REACH_LIVE, LINEAR = 1_000_000, 3_000, 1.5


@cache
def _week(size: str) -> dict[str, pl.DataFrame]:
    """Days of the reference city in log order: only what is folded."""
    from pipelines.sources.simulated import generate

    gathered: dict[str, list[pl.DataFrame]] = {}
    for _, tables in generate(size, 7, date(2026, 3, 2), 5):
        for name in FOLDED:
            gathered.setdefault(name, []).append(pl.DataFrame(pl.from_arrow(tables[name])))
    return in_log_order({name: pl.concat(frames) for name, frames in gathered.items()})


def history(events: int, size: str = "reference") -> dict[str, pl.DataFrame]:
    """As many events: the same week again and again, each in a town of its own at a time of its own."""
    week = _week(size)
    rows = sum(len(frame) for frame in week.values())
    return {
        name: pl.concat([_moved(name, week[name], town, rows) for town in range(-(-events // rows))])
        for name in week
    }


def _moved(name: str, frame: pl.DataFrame, town: int, rows: int) -> pl.DataFrame:
    table = TABLES[name]
    times = [column.name for column in table.columns if column.dtype == "timestamp"]
    ids = [each for each in frame.columns if each.endswith("_id") and each != "event_id"]
    return frame.with_columns(
        pl.col(times) + town * 7 * DAY_US,
        pl.col(ids) + f"@{town % 50}",
        pl.col("seq") + town * rows,
    )


def _prepare_backfill(folder: Path) -> tuple[Work, None]:
    frames = history(HISTORY_EVENTS)
    return lambda: backfill(frames, LiveFeatures()), None


def _halves(folder: Path) -> dict[str, float]:
    """How much longer a history takes than one of half its length, beside twice; and a table's own speed."""
    whole, half = history(HISTORY_EVENTS), history(HISTORY_EVENTS // 2)
    pings = {"pings": whole["pings"]}
    return {
        "linear": _seconds(whole) / _seconds(half) / 2,
        "pings_per_s": len(pings["pings"]) / _seconds(pings),
    }


def _seconds(frames: Frames) -> float:
    started = time.perf_counter()
    backfill(frames, LiveFeatures())
    return time.perf_counter() - started


def live_records(events: int) -> list[Record]:
    """The first events of a history as the engine reads them."""
    rows: list[tuple[int, str, dict[str, Any]]] = []
    for name, frame in history(events, "small").items():
        rows += [(row["seq"], name, row) for row in frame.iter_rows(named=True)]
    rows.sort(key=lambda row: row[0])
    return [Record(seq, row["received_at"], name, row) for seq, name, row in rows[:events]]


def _steps(records: list[Record]) -> Iterator[list[Record]]:
    for start in range(0, len(records), RECORDS_A_STEP):
        yield records[start : start + RECORDS_A_STEP]


def _prepare_engine_features(folder: Path) -> tuple[Work, None]:
    records, runs = live_records(LIVE_EVENTS), iter(range(1_000))

    def ours() -> Any:
        features, writer = LiveFeatures(), OnlineWriter(folder / f"{next(runs)}.db")
        for step in _steps(records):
            writer.publish_all(features.advance(step).publications)
        writer.close()

    return ours, None


BENCHMARKS = (
    Benchmark(
        name="backfill",
        reach=">= 1M events/s on 2 cores, linear in events",
        prepare=_prepare_backfill,
        met=lambda ratio, figures: figures["events_per_s"] >= REACH_BACKFILL and figures["linear"] <= LINEAR,
        figures=lambda ours, theirs: {"events_per_s": HISTORY_EVENTS / ours},
        measure=_halves,
        runs=3,
    ),
    Benchmark(
        name="engine_features",
        reach=">= 3,000 events/s on one core",
        prepare=_prepare_engine_features,
        met=lambda ratio, figures: figures["events_per_s"] >= REACH_LIVE,
        figures=lambda ours, theirs: {"events_per_s": LIVE_EVENTS / ours},
        runs=3,
    ),
)
