"""Benchmarks of the feature platform."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq

from benchmarks.harness import Benchmark, Work
from data_contracts.workspace import Workspace
from features import feast_repo
from features.backfill import version_table
from features.online import OnlineReader, OnlineWriter, Versions
from features.views import KNOWN, LOOKUPS, View

SEED = 7
START_US = 1_767_571_200_000_000
SPAN_US = 30 * 86_400_000_000
ENTITIES = 5_000
PIT_ROWS = 1_000_000
PIT_LOOKUPS = LOOKUPS[:5]
VERSIONS_A_VIEW = 200_000
READ_IDS = 500


def _versions(view: View, count: int, rng: np.random.Generator) -> Versions:
    known = np.sort(rng.integers(START_US, START_US + SPAN_US, count))
    return Versions(
        view=view,
        ids=[f"e{i}" for i in rng.integers(0, ENTITIES, count)],
        values=rng.normal(size=(count, len(view.fields))).astype(np.float32),
        known_us=known,
        created_us=np.arange(count, dtype=np.int64),
    )


def _entity_frame(rows: int, rng: np.random.Generator) -> pd.DataFrame:
    stamps = pd.to_datetime(rng.integers(START_US, START_US + SPAN_US, rows), unit="us", utc=True)
    keys = {lookup.key: [f"e{i}" for i in rng.integers(0, ENTITIES, rows)] for lookup in PIT_LOOKUPS}
    return pd.DataFrame({"event_timestamp": stamps.astype("datetime64[us, UTC]"), **keys})


def _prepare_pit(folder: Path) -> tuple[Work, Work]:
    rng = np.random.default_rng(SEED)
    workspace = Workspace(folder)
    workspace.features.mkdir(parents=True)
    for view in {lookup.view.name: lookup.view for lookup in PIT_LOOKUPS}.values():
        table = version_table(view, [_versions(view, VERSIONS_A_VIEW, rng)])
        pq.write_table(table, workspace.features / f"{view.name}.parquet")
    feast_repo.write_missing_versions(workspace)
    store = feast_repo.open_store(workspace)
    feast_repo.apply(store)
    entities = _entity_frame(PIT_ROWS, rng)
    names = [
        f"{lookup.view.name}:{name}" for lookup in PIT_LOOKUPS for name in (*lookup.view.field_names, KNOWN)
    ]
    frame = entities.rename(columns={lookup.key: lookup.view.entity for lookup in PIT_LOOKUPS})

    def ours() -> Any:
        return store.get_historical_features(frame, names, full_feature_names=True).to_df()

    def peer() -> Any:
        return _hand_written(workspace, frame)

    return ours, peer


def _hand_written(workspace: Workspace, entities: pd.DataFrame) -> pd.DataFrame:
    """The same join, as one writes it by hand in Polars."""
    rows = pl.from_pandas(entities).with_row_index("row").sort("event_timestamp")
    for lookup in PIT_LOOKUPS:
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


def _prepare_online_read(folder: Path) -> tuple[Work, Work]:
    rng = np.random.default_rng(SEED)
    workspace = Workspace(folder)
    feast_repo.write_missing_versions(workspace)
    now_us = START_US + SPAN_US
    store = feast_repo.open_store(workspace, as_of=datetime.fromtimestamp(now_us / 1e6, tz=UTC))
    feast_repo.apply(store)
    views = list({lookup.view.name: lookup.view for lookup in LOOKUPS}.values())
    OnlineWriter(workspace.online).publish_all([_versions(view, 20_000, rng) for view in views])
    reader = OnlineReader(workspace.online)
    ids = [f"e{i}" for i in rng.choice(ENTITIES, READ_IDS, replace=False)]
    service = store.get_feature_service(feast_repo.SERVICE)
    keys = dict.fromkeys(lookup.key for lookup in LOOKUPS)
    rows = [dict.fromkeys(keys, key) for key in ids]

    def ours() -> Any:
        return [reader.read(lookup.view, ids, now_us) for lookup in LOOKUPS]

    def peer() -> Any:
        return store.get_online_features(
            features=service, entity_rows=rows, full_feature_names=True
        ).to_dict()

    return ours, peer


BENCHMARKS = (
    Benchmark(
        name="pit_join",
        reach="<= 1.3x a hand-written join",
        peer="hand-written Polars join_asof, 1M rows x 5 views",
        prepare=_prepare_pit,
        met=lambda ratio, figures: ratio is not None and ratio <= 1.3,
        figures=lambda ours, theirs: {"rows_per_s": PIT_ROWS / ours},
    ),
    Benchmark(
        name="online_read",
        reach="at least 20x faster than Feast's own call",
        peer="get_online_features().to_dict(), 500 entities x every lookup",
        prepare=_prepare_online_read,
        met=lambda ratio, figures: ratio is not None and ratio <= 1 / 20,
        figures=lambda ours, theirs: {"one_view_ms": ours / len(LOOKUPS) * 1e3},
    ),
)
