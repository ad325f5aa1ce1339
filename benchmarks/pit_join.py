"""The point-in-time join against the same join written by hand in Polars: time, and peak memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl

from benchmarks.harness import Benchmark, Work
from benchmarks.memory import peak_mb
from benchmarks.versions import ENTITIES, SEED, SPAN_US, START_US, random_versions
from data_contracts.workspace import Workspace
from features import feast_repo
from features.version_files import version_table, write_missing_versions, write_table
from features.views import KNOWN, LOOKUPS

ROWS = 1_000_000
VERSIONS_A_VIEW = 200_000
JOINED = tuple({lookup.view.name: lookup for lookup in LOOKUPS[:5]}.values())
MOST_TIME, MOST_MEMORY = 1.3, 2.0
FEATURES = [f"{lookup.view.name}:{name}" for lookup in JOINED for name in (*lookup.view.field_names, KNOWN)]


def _prepare(folder: Path) -> tuple[Work, Work]:
    rng = np.random.default_rng(SEED)
    workspace = Workspace(folder)
    workspace.features.mkdir(parents=True)
    for lookup in JOINED:
        table = version_table(lookup.view, [random_versions(lookup.view, VERSIONS_A_VIEW, rng)])
        write_table(workspace.features, lookup.view, table)
    write_missing_versions(workspace.features)
    feast_repo.apply(feast_repo.open_store(workspace))
    return ours(folder), by_hand(folder)


def entity_frame() -> pd.DataFrame:
    """The entity rows, the same each time."""
    rng = np.random.default_rng(SEED + 1)
    stamps = pd.to_datetime(rng.integers(START_US, START_US + SPAN_US, ROWS), unit="us", utc=True)
    names = np.array([f"e{i}" for i in range(ENTITIES)], object)
    keys = {lookup.view.entity: names[rng.integers(0, ENTITIES, ROWS)] for lookup in JOINED}
    return pd.DataFrame({"event_timestamp": stamps.astype("datetime64[us, UTC]"), **keys})


def ours(folder: Path) -> Work:
    """Feast's call on our store."""
    store, frame = feast_repo.open_store(Workspace(folder)), entity_frame()
    store.list_feature_views()
    return lambda: store.get_historical_features(frame, FEATURES, full_feature_names=True).to_df()


def by_hand(folder: Path) -> Work:
    """The same join, as one writes it by hand in Polars."""
    workspace, entities = Workspace(folder), entity_frame()

    def join() -> Any:
        rows = pl.from_pandas(entities).with_row_index("row").sort("event_timestamp")
        for lookup in JOINED:
            view = lookup.view
            versions = pl.read_parquet(workspace.features / f"{view.name}.parquet").sort(
                "event_timestamp", "created"
            )
            renamed = {name: f"{view.name}__{name}" for name in (*view.field_names, KNOWN)}
            rows = rows.join_asof(
                versions.drop("created").rename(renamed),
                on="event_timestamp",
                by=view.entity,
                tolerance=view.ttl,
                check_sortedness=False,
            )
        return rows.sort("row").drop("row").to_pandas()

    return join


def _memory(folder: Path) -> dict[str, float]:
    mine, other = peak_mb(ours, folder), peak_mb(by_hand, folder)
    return {"peak_mb": mine, "peer_peak_mb": other, "memory_ratio": mine / other}


BENCHMARKS = (
    Benchmark(
        name="pit_join",
        reach="<= 1.3x the time and <= 2x the peak memory of a hand-written join",
        peer="hand-written Polars join_asof, 1M rows x 5 views",
        prepare=_prepare,
        met=lambda ratio, figures: (
            ratio is not None and ratio <= MOST_TIME and figures["memory_ratio"] <= MOST_MEMORY
        ),
        figures=lambda ours, theirs: {"rows_per_s": ROWS / ours},
        measure=_memory,
    ),
)
