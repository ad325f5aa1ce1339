"""The online store against Feast's own stores with the same data: reads on SQLite and on Redis, and writes."""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from benchmarks.harness import Benchmark, Work
from benchmarks.versions import SEED, SPAN_US, START_US, random_versions
from features.online import Versions
from features.online_place import reader_at, writer_at
from features.views import Field, View

if TYPE_CHECKING:
    from feast import FeatureStore

ENTITIES = 20_000
READ_IDS = 500
FIELDS_A_VIEW = 10
WRITE_ROWS = 10_000
NOW_US = START_US + SPAN_US
READ_RATIO, READ_P50_S, WRITE_RATIO = 1 / 20, 0.005, 1 / 8
VIEWS = tuple(
    View(
        name=f"view_{number}",
        entity="entity_id",
        ttl=timedelta(days=60),
        meaning="",
        fields=tuple(
            Field(name=f"v{number}_{place}", unit="1", low=-9, high=9, meaning="")
            for place in range(FIELDS_A_VIEW)
        ),
    )
    for number in range(4)
)


def _feast(folder: Path, online_store: dict[str, Any]) -> FeatureStore:
    """Feast with a store of its own, and the same views."""
    from feast import Entity, FeatureStore, FeatureView, FileSource, RepoConfig, ValueType
    from feast import Field as FeastField
    from feast.types import Float32, String

    folder.mkdir(parents=True, exist_ok=True)
    config = RepoConfig(
        project="peer",
        provider="local",
        repo_path=folder,
        registry={"registry_type": "sql", "path": f"sqlite:///{folder / 'registry.db'}"},
        online_store=online_store,
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    entity = Entity(name="entity_id", join_keys=["entity_id"], value_type=ValueType.STRING)
    pd.DataFrame({"event_timestamp": []}).to_parquet(folder / "none.parquet")
    source = FileSource(name="none", path=str(folder / "none.parquet"), timestamp_field="event_timestamp")
    key = FeastField(name="entity_id", dtype=String)
    views = [
        FeatureView(
            name=view.name,
            entities=[entity],
            ttl=view.ttl,
            source=source,
            schema=[key, *[FeastField(name=name, dtype=Float32) for name in view.field_names]],
        )
        for view in VIEWS
    ]
    store.apply([entity, *views])
    return store


def _data() -> list[Versions]:
    rng = np.random.default_rng(SEED)
    return [_one_each(random_versions(view, ENTITIES, rng)) for view in VIEWS]


def _one_each(versions: Versions) -> Versions:
    return Versions(
        view=versions.view,
        ids=[f"e{i}" for i in range(len(versions.ids))],
        values=versions.values,
        known_us=versions.known_us,
        created_us=versions.created_us,
    )


def _frame(versions: Versions) -> pd.DataFrame:
    columns = dict(zip(versions.view.field_names, versions.values.T, strict=True))
    stamps = pd.to_datetime(versions.known_us, unit="us", utc=True)
    return pd.DataFrame({"entity_id": versions.ids, "event_timestamp": stamps, **columns})


def _read(location: str, store: FeatureStore) -> tuple[Work, Work]:
    data = _data()
    writer = writer_at(location)
    writer.publish_all(data)
    writer.close()
    for versions in data:
        store.write_to_online_store(versions.view.name, _frame(versions))
    chosen = np.random.default_rng(SEED).choice(ENTITIES, READ_IDS, replace=False)
    ids = [f"e{i}" for i in chosen]
    rows = [{"entity_id": name} for name in ids]
    names = [f"{view.name}:{name}" for view in VIEWS for name in view.field_names]
    reader = reader_at(location)

    def ours() -> Any:
        return reader.read_views(VIEWS, ids, NOW_US)

    def peer() -> Any:
        return store.get_online_features(features=names, entity_rows=rows).to_dict()

    _assert_same(ours(), peer())
    return ours, peer


def _assert_same(mine: Any, theirs: dict[str, Any]) -> None:
    for view, found in zip(VIEWS, mine, strict=True):
        for place, name in enumerate(view.field_names):
            if not np.array_equal(found.values[:, place], np.array(theirs[name], np.float32)):
                raise AssertionError(f"{name} is not what Feast's own store gives")


def _prepare_read_sqlite(folder: Path) -> tuple[Work, Work]:
    store = _feast(folder / "peer", {"type": "sqlite", "path": str(folder / "peer" / "online.db")})
    return _read(str(folder / "online.db"), store)


def _prepare_read_redis(folder: Path) -> tuple[Work, Work]:
    from tests.redis_server import redis_server

    servers = ExitStack()
    atexit.register(servers.close)
    url = servers.enter_context(redis_server(folder))
    address = url.removeprefix("redis://").removesuffix("/0")
    return _read(url, _feast(folder / "peer", {"type": "redis", "connection_string": address}))


def _batches() -> Iterator[Versions]:
    """Batches of one view, each newer than the one before."""
    rng, view, at_us = np.random.default_rng(SEED), VIEWS[0], START_US
    while True:
        at_us += 1_000_000
        yield Versions(
            view=view,
            ids=[f"e{i}" for i in rng.permutation(ENTITIES)[:WRITE_ROWS]],
            values=rng.normal(size=(WRITE_ROWS, len(view.fields))).astype(np.float32),
            known_us=np.full(WRITE_ROWS, at_us),
            created_us=np.arange(WRITE_ROWS, dtype=np.int64),
        )


def _prepare_write(folder: Path) -> tuple[Work, Work]:
    store = _feast(folder / "peer", {"type": "sqlite", "path": str(folder / "peer" / "online.db")})
    writer = writer_at(str(folder / "online.db"))
    mine, theirs = _batches(), _batches()
    ready: list[Versions] = [next(mine) for _ in range(20)]
    frames = [_frame(next(theirs)) for _ in range(20)]

    def ours() -> Any:
        return writer.publish(ready.pop(0))

    def peer() -> Any:
        return store.write_to_online_store(VIEWS[0].name, frames.pop(0))

    return ours, peer


def _read_benchmark(name: str, prepare: Any, peer: str) -> Benchmark:
    return Benchmark(
        name=name,
        reach="at least 20x faster, median <= 5 ms",
        peer=f"get_online_features().to_dict() on {peer}, 500 entities x 40 features",
        prepare=prepare,
        met=lambda ratio, figures: (
            ratio is not None and ratio <= READ_RATIO and figures["p50_ms"] <= READ_P50_S * 1e3
        ),
        figures=lambda ours, theirs: {"p50_ms": ours * 1e3, "peer_p50_ms": (theirs or 0.0) * 1e3},
        runs=15,
    )


BENCHMARKS = (
    _read_benchmark("online_read", _prepare_read_sqlite, "Feast's own SQLite store"),
    _read_benchmark("online_read_redis", _prepare_read_redis, "Feast's own Redis store"),
    Benchmark(
        name="online_write",
        reach="at least 8x the rows a second",
        peer="Feast's write_to_online_store on its own SQLite store, batches of 10,000",
        prepare=_prepare_write,
        met=lambda ratio, figures: ratio is not None and ratio <= WRITE_RATIO,
        figures=lambda ours, theirs: {"rows_per_s": WRITE_ROWS / ours},
    ),
)
