"""A join of more versions than fit into its memory finishes with one partition of them at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from benchmarks.memory import peak_mb
from features.as_of_join import AsOfJoin, Memory, Moments, retrieve

VERSIONS, ENTITIES, ROWS = 3_000_000, 20_000, 200_000
SPAN_US = 30 * 86_400_000_000
FIELDS = tuple(f"v{place}" for place in range(6))
SMALL_MB, LARGE_MB = 48, 100_000


def _work(folder: Path, limit_mb: int) -> Callable[[], Any]:
    draw = np.random.default_rng(1)
    rows = pd.DataFrame(
        {
            "at": pd.to_datetime(draw.integers(0, SPAN_US, ROWS), unit="us", utc=True).as_unit("us"),
            "entity": draw.integers(0, ENTITIES, ROWS),
        }
    )
    join = AsOfJoin(
        path=str(folder / "versions.parquet"),
        keys={"entity": "entity"},
        outputs={name: name for name in FIELDS},
        event_ts="known",
        created=None,
        ttl_us=None,
    )
    moments, memory = Moments.of(rows, "at", [join]), Memory(limit_mb * 2**20, folder)
    return lambda: retrieve(moments, [join], memory)


def small(folder: Path) -> Callable[[], Any]:
    return _work(folder, SMALL_MB)


def large(folder: Path) -> Callable[[], Any]:
    return _work(folder, LARGE_MB)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("join")
    draw = np.random.default_rng(0)
    columns = {
        "known": np.sort(draw.integers(0, SPAN_US, VERSIONS)),
        "entity": draw.integers(0, ENTITIES, VERSIONS),
    }
    values = {name: draw.random(VERSIONS, np.float32) for name in FIELDS}
    frame = pl.DataFrame(columns | values).with_columns(pl.col("known").cast(pl.Datetime("us", "UTC")))
    frame.write_parquet(folder / "versions.parquet", row_group_size=50_000)
    return folder


@pytest.mark.slow
def test_partitions_bound_the_memory_of_a_join(folder: Path) -> None:
    whole_mb, parted_mb = peak_mb(large, folder), peak_mb(small, folder)
    assert parted_mb < 0.6 * whole_mb


@pytest.mark.slow
def test_partitions_change_no_value(folder: Path) -> None:
    parted, whole = small(folder)(), large(folder)()
    assert all(parted[name].to_arrow().equals(whole[name].to_arrow()) for name in FIELDS)
