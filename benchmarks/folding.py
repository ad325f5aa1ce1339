"""Folding events into features: a whole history at once, and live in micro-batches with online publication."""

from __future__ import annotations

import atexit
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import ExitStack
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import psutil

from benchmarks.harness import Benchmark, Work, seconds
from data_contracts.record import Record
from data_contracts.tables import TABLES
from features.backfill import backfill, backfill_in_parts, in_log_order
from features.feed_folds import FEEDS
from features.live import LiveFeatures
from features.messages import STRUCTURE, Frames
from features.online import OnlineWriter
from pipelines.history import folding_pool, history_end

HISTORY_EVENTS = 3_000_000
CORES, PARTS = 2, 4
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


@cache
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
    pool = _pool()
    return lambda: in_parts(frames, folder, pool), None


def in_parts(frames: Frames, folder: Path, pool: Executor) -> LiveFeatures:
    """Rows in memory to version files and the state to go on from, as ``punctual features build`` does it."""
    _, last_us = history_end(frames)
    return backfill_in_parts(frames, folder / "features", pool, PARTS, ends_us=last_us)


@cache
def _pool() -> Executor:
    """Two processes for the whole run, as a service that backfills keeps them."""
    pools = ExitStack()
    atexit.register(pools.close)
    return pools.enter_context(folding_pool(CORES))


def _other_figures(folder: Path) -> dict[str, Any]:
    """The mix, half and twice the length, one process in memory, and each kind of rows by itself."""
    whole, half = history(HISTORY_EVENTS), history(HISTORY_EVENTS // 2)
    rows = sum(map(len, whole.values()))
    structure = {name: whole[name] for name in STRUCTURE}
    spent_s = _all_cpu_s()
    in_parts(whole, folder, _pool())
    return {
        "cpu_s_a_million_events": (_all_cpu_s() - spent_s) / rows * 1e6,
        **{f"share_of_{name}": len(frame) / rows for name, frame in whole.items()},
        "linear": _in_parts_s(whole, folder)
        / _in_parts_s(half, folder)
        * sum(map(len, half.values()))
        / rows,
        "in_memory_events_per_cpu_s": rows / _cpu_s(whole),
        "pings_per_cpu_s": len(whole["pings"]) / _cpu_s({"pings": whole["pings"]}),
        "traffic_per_cpu_s": len(whole["traffic"]) / _cpu_s({"traffic": whole["traffic"]}),
        "plans_and_stop_events_per_cpu_s": sum(map(len, structure.values())) / _cpu_s(structure),
    }


def _in_parts_s(frames: Frames, folder: Path) -> float:
    """The quicker of two runs."""
    return min(seconds(lambda: in_parts(frames, folder, _pool())) for _ in range(2))


def _all_cpu_s() -> float:
    """Processor time so far of this process and of all that it started."""
    own = psutil.Process()
    times = [process.cpu_times() for process in [own, *own.children(recursive=True)]]
    return sum(each.user + each.system for each in times)


def _cpu_s(frames: Frames) -> float:
    """Processor time of a fold in one process, in memory; its neighbours do not count."""
    started = time.process_time()
    backfill(frames, LiveFeatures())
    return time.process_time() - started


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
        figures=lambda ours, theirs: {"events_per_s": sum(map(len, history(HISTORY_EVENTS).values())) / ours},
        measure=_other_figures,
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
