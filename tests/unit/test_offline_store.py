"""The point-in-time join through a real Feast store, against a loop that does what it says."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.errors import FeastJoinKeysDuringMaterialization, SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.types import Float32, Int32, Int64, String
from hypothesis import given, settings
from hypothesis import strategies as st

from data_contracts.errors import WorkspaceError
from data_contracts.workspace import Workspace
from features import as_of_join, keys
from features.as_of_join import AsOfJoin, Memory, Moments
from features.as_of_join import retrieve as retrieve_columns
from features.feast_repo import open_store
from features.keys import FEW_NAMES

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
TTL_US = 5
BIG = 2**53 + 1
INSTANT = pa.timestamp("us", tz="UTC")

Version = tuple[
    str, int, int, float | None, int | None
]  # sensor, event and created in us after noon, speed_y, count


def at(offset_us: int) -> datetime:
    return NOON + timedelta(microseconds=offset_us)


def _view(name: str, entity: Entity, ttl: timedelta) -> FeatureView:
    key_type = String if entity.value_type == ValueType.STRING else Int32
    return FeatureView(
        name=name,
        entities=[entity],
        ttl=ttl,
        schema=[
            Field(name=entity.name, dtype=key_type),
            Field(name="speed_y", dtype=Float32),
            Field(name="count", dtype=Int64),
        ],
        source=FileSource(
            name=name,
            path=f"features/{name}.parquet",
            timestamp_field="event_timestamp",
            created_timestamp_column="created",
        ),
        online=False,
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """``recent`` expires after 5 us and has text keys; ``ever`` never expires and has int32 keys."""
    workspace = Workspace(tmp_path_factory.mktemp("offline"))
    workspace.features.mkdir()
    store = open_store(workspace)
    sensor = Entity(name="sensor_id", join_keys=["sensor_id"], value_type=ValueType.STRING)
    number = Entity(name="number", join_keys=["number"], value_type=ValueType.INT32)
    recent = _view("recent", sensor, timedelta(microseconds=TTL_US))
    ever = _view("ever", number, timedelta(0))
    service = FeatureService(
        name="both",
        features=[
            recent.with_name("from_recent").with_join_key_map({"sensor_id": "from_id"}),
            recent.with_name("to_recent").with_join_key_map({"sensor_id": "to_id"}),
            ever,
        ],
    )
    # The packed online store takes float vectors alone: register these views without it.
    store.registry.apply_entity(sensor, store.project)
    store.registry.apply_entity(number, store.project)
    for view in (recent, ever):
        store.registry.apply_feature_view(view, store.project)
    store.registry.apply_feature_service(service, store.project)
    return store


def land(store: FeatureStore, versions: Sequence[Version], unit: str = "us", tz: str | None = "UTC") -> None:
    """Write the same versions for both views; sensor "a" is number 1, "b" 2, and so on."""
    instant = pa.timestamp(unit, tz=tz)
    sensors, offsets, created, speeds, counts = zip(*versions, strict=True) if versions else ([],) * 5
    columns = {
        "event_timestamp": pa.array([at(offset) for offset in offsets], INSTANT).cast(instant),
        "created": pa.array([at(offset) for offset in created], INSTANT).cast(instant),
        "speed_y": pa.array(speeds, pa.float32()),
        "count": pa.array(counts, pa.int64()),
    }
    numbers = [None if sensor is None else ord(sensor) - ord("a") + 1 for sensor in sensors]
    folder = Path(store.config.repo_path) / "features"
    pq.write_table(
        pa.table({"sensor_id": pa.array(sensors, pa.string()), **columns}), folder / "recent.parquet"
    )
    pq.write_table(pa.table({"number": pa.array(numbers, pa.int32()), **columns}), folder / "ever.parquet")


def rows(*moments: tuple[str | None, str | None, int | None, int]) -> pd.DataFrame:
    """Entity rows: from_id, to_id, number, offset in microseconds."""
    from_ids, to_ids, numbers, offsets = zip(*moments, strict=True) if moments else ([],) * 4
    return pd.DataFrame(
        {
            "from_id": pd.Series(from_ids, dtype=object),
            "to_id": pd.Series(to_ids, dtype=object),
            "number": pd.array(numbers, pd.Int64Dtype()),
            "event_timestamp": pd.Series([at(offset) for offset in offsets], dtype="datetime64[us, UTC]"),
        }
    )


def retrieve(store: FeatureStore, frame: pd.DataFrame) -> pd.DataFrame:
    service = store.get_feature_service("both")
    return store.get_historical_features(frame, service, full_feature_names=True).to_df()


def as_of_by_loop(
    versions: Sequence[Version], sensor: str | None, offset: int, ttl_us: int | None
) -> tuple[float | None, int | None]:
    """The definition: the last (event, created) known at ``offset`` and not older than ``ttl_us``."""
    best: Version | None = None
    for version in versions:
        usable = version[0] == sensor and sensor is not None and version[1] <= offset
        if usable and (best is None or version[1:3] > best[1:3]):
            best = version
    if best is None or (ttl_us is not None and offset - best[1] > ttl_us):
        return None, None
    return best[3], best[4]


def plain(column: pd.Series) -> list[Any]:
    return [None if pd.isna(value) else value for value in column]


SENSORS = st.sampled_from(["a", "b", None])
VERSIONS = st.lists(
    st.tuples(
        SENSORS,
        st.integers(0, 8),
        st.integers(0, 3),
        st.none() | st.floats(width=32, allow_nan=False),
        st.none() | st.integers(-(2**63), 2**63 - 1),
    ),
    min_size=1,
    max_size=25,
    unique_by=lambda version: version[:3],
)
KEYS = st.sampled_from(["a", "b", "z", None])
MOMENTS = st.lists(
    st.tuples(KEYS, KEYS, st.sampled_from([1, 2, 9, None]), st.integers(-2, 15)), min_size=1, max_size=25
)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(versions=VERSIONS, moments=MOMENTS, repeat=st.integers(1, 2))
def test_retrieval_equals_the_definition(store, versions, moments, repeat):
    moments = moments * repeat
    land(store, versions)
    frame = retrieve(store, rows(*moments))

    expected: dict[str, list[Any]] = {name: [] for name in frame.columns if "__" in name}
    for from_id, to_id, number, offset in moments:
        sensor = None if number is None else chr(number - 1 + ord("a"))
        for alias, key, ttl_us in (
            ("from_recent", from_id, TTL_US),
            ("to_recent", to_id, TTL_US),
            ("ever", sensor, None),
        ):
            speed, count = as_of_by_loop(versions, key, offset, ttl_us)
            expected[f"{alias}__speed_y"].append(speed)
            expected[f"{alias}__count"].append(count)
    assert {name: plain(frame[name]) for name in expected} == expected
    assert list(frame["event_timestamp"]) == [at(moment[3]) for moment in moments]
    assert plain(frame["from_id"]) == [moment[0] for moment in moments]


def test_age_boundary_is_included(store: FeatureStore):
    land(store, [("a", 0, 0, 1.0, 1)])
    frame = retrieve(store, rows(("a", None, None, TTL_US), ("a", None, None, TTL_US + 1)))
    assert plain(frame["from_recent__speed_y"]) == [1, None]


def test_greatest_created_wins_among_equal_times(store: FeatureStore):
    land(store, [("a", 0, 2, 2.0, 2), ("a", 0, 3, 3.0, 3), ("a", 0, 1, 1.0, 1)])
    assert plain(retrieve(store, rows(("a", "a", 1, 0)))["to_recent__count"]) == [3]


def test_large_integers_keep_their_bits_beside_nulls(store: FeatureStore):
    land(store, [("a", 0, 0, 1.0, BIG)])
    frame = retrieve(store, rows(("a", "z", None, 1), ("z", "a", 1, 1)))
    assert str(frame["from_recent__count"].dtype) == "Int64"
    assert plain(frame["from_recent__count"]) == [BIG, None]
    assert frame["number"].dtype == pd.Int64Dtype()


@pytest.mark.parametrize("unit", ["us", "ns", "ms"])
@pytest.mark.parametrize("tz", [None, "UTC", "America/New_York"])
def test_times_of_any_unit_and_zone_are_read(store: FeatureStore, unit: str, tz: str | None):
    land(store, [("a", 0, 0, 1.0, 1), ("a", 2000, 0, 2.0, 2)], unit, tz)
    frame = rows(("a", "a", 1, 1999), ("a", "a", 1, 2000))
    instants = frame["event_timestamp"].dt.as_unit(unit if unit != "ms" else "us")
    frame["event_timestamp"] = instants.dt.tz_convert(tz) if tz else instants.dt.tz_localize(None)
    assert plain(retrieve(store, frame)["ever__count"]) == [1, 2]


def test_row_without_an_instant_or_a_key_gets_nothing(store: FeatureStore):
    land(store, [("a", 0, 0, 1.0, 1)])
    frame = rows(("a", "a", 1, 1), ("a", "a", 1, 1), (None, None, None, 1))
    frame.loc[0, "event_timestamp"] = pd.NaT
    assert plain(retrieve(store, frame)["ever__count"]) == [None, 1, None]
    frame["event_timestamp"] = pd.Series([pd.NaT] * 3, dtype="datetime64[us, UTC]")
    assert plain(retrieve(store, frame)["ever__count"]) == [None] * 3


def test_no_rows_and_no_versions_give_empty_columns(store: FeatureStore):
    land(store, [])
    assert len(retrieve(store, rows())) == 0
    assert plain(retrieve(store, rows(("a", "a", 1, 1)))["from_recent__speed_y"]) == [None]


@pytest.mark.parametrize("dtype", ["int32", "float64", "Int64", object])
def test_integer_keys_of_any_type_match(store: FeatureStore, dtype: Any):
    land(store, [("a", 0, 0, 1.0, 1)])
    frame = rows(("a", "a", 1, 1), ("a", "a", 2, 1)).astype({"number": dtype})
    assert plain(retrieve(store, frame)["ever__count"]) == [1, None]


def test_fraction_matches_no_integer_key(store: FeatureStore):
    land(store, [("a", 0, 0, 1.0, 1)])
    frame = rows(("a", "a", 1, 1), ("a", "a", 1, 1), ("a", "a", 1, 1)).astype({"number": "float64"})
    frame["number"] = [1.5, np.nan, 1.0]
    assert plain(retrieve(store, frame)["ever__count"]) == [None, None, 1]


def test_own_columns_and_order_come_back_whatever_the_index(store: FeatureStore):
    land(store, [("a", 0, 0, 1.0, 7)])
    frame = rows(("a", "z", 1, 2), ("a", "z", 1, 1)).assign(count=["x", "y"], label=[3, 4])
    frame.index = [9, 9]
    got = retrieve(store, frame)
    assert got["count"].tolist() == ["x", "y"]
    assert got["label"].tolist() == [3, 4]
    assert plain(got["from_recent__count"]) == [7, 7]


def test_feature_wins_under_its_full_name(store: FeatureStore):
    land(store, [("a", 0, 0, 1.0, 7)])
    frame = rows(("a", "z", 1, 1)).assign(ever__count=["mine"])
    assert plain(retrieve(store, frame)["ever__count"]) == [7]


def test_short_name_that_the_rows_hold_is_refused(store: FeatureStore):
    land(store, [("a", 0, 0, 1.0, 7)])
    frame = rows(("a", "z", 1, 1))
    short = store.get_historical_features(frame, ["ever:count"]).to_df()
    assert plain(short["count"]) == [7]
    with pytest.raises(WorkspaceError, match="ask with full_feature_names=True"):
        store.get_historical_features(frame.assign(count=1), ["ever:count"])


def test_missing_join_key_or_file_is_said(store: FeatureStore):
    land(store, [("a", 0, 0, 1.0, 7)])
    with pytest.raises(WorkspaceError, match="lack the join keys number"):
        retrieve(store, rows(("a", "z", 1, 1)).drop(columns="number"))
    (Path(store.config.repo_path) / "features" / "recent.parquet").unlink()
    with pytest.raises(WorkspaceError, match="run `punctual features build`"):
        retrieve(store, rows(("a", "z", 1, 1)))


def test_entity_rows_must_be_a_frame(store: FeatureStore):
    with pytest.raises(NotImplementedError, match="pandas DataFrame"):
        store.get_historical_features("SELECT 1", ["ever:count"])


def test_without_entity_rows_every_entity_of_the_range_is_retrieved_at_its_end(store: FeatureStore):
    land(store, [("a", 0, 0, 1.0, 1), ("a", 4, 0, 2.0, 2), ("b", 3, 0, 3.0, 3), ("c", 9, 0, 4.0, 4)])
    job = store.get_historical_features(None, ["recent:count"], start_date=at(2), end_date=at(6))
    frame = job.to_df()
    assert frame[["sensor_id", "count"]].to_numpy().tolist() == [["a", 2], ["b", 3]]
    assert set(frame["event_timestamp"]) == {at(6)}


def test_without_entity_rows_views_of_different_keys_are_refused(store: FeatureStore):
    land(store, [("a", 0, 0, 1.0, 1)])
    with pytest.raises(WorkspaceError, match="share their join keys"):
        store.get_historical_features(
            None, ["recent:count", "ever:count"], full_feature_names=True, end_date=at(6)
        )


def known_by_created(
    versions: Sequence[Version], sensor: str | None, offset: int, ttl_us: int | None
) -> tuple[float | None, int | None]:
    """The definition, of the versions that had been created by then."""
    return as_of_by_loop([v for v in versions if v[2] <= offset], sensor, offset, ttl_us)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(versions=VERSIONS, moments=MOMENTS)
def test_versions_created_after_the_instant_can_be_left_out(store, versions, moments):
    land(store, versions)
    service = store.get_feature_service("both")
    frame = store.get_historical_features(
        rows(*moments), service, full_feature_names=True, filter_by_created_timestamp=True
    ).to_df()
    expected = [known_by_created(versions, moment[0], moment[3], TTL_US)[1] for moment in moments]
    assert plain(frame["from_recent__count"]) == expected


@settings(max_examples=25, deadline=None, derandomize=True)
@given(versions=VERSIONS, moments=MOMENTS)
def test_a_join_in_partitions_gives_the_same(store, versions, moments):
    land(store, versions)
    path = str(Path(store.config.repo_path) / "features" / "recent.parquet")
    join = AsOfJoin(
        path=path,
        keys={"sensor_id": "from_id"},
        outputs={"speed_y": "speed_y", "count": "count", "sensor_id": "name"},
        event_ts="event_timestamp",
        created="created",
        ttl_us=TTL_US,
    )

    def joined(limit_bytes: int, folder: str) -> list[list[Any]]:
        memory = Memory(limit_bytes, Path(folder))
        moments_ = Moments.of(rows(*moments), "event_timestamp", [join])
        assert (memory.partitions(join) > 1) == (limit_bytes < 1_000)
        return [c.to_arrow().to_pylist() for c in retrieve_columns(moments_, [join], memory).values()]

    with TemporaryDirectory() as folder:
        assert joined(100, folder) == joined(2**30, folder)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    versions=st.lists(st.tuples(SENSORS, st.sampled_from([1, 2, None]), st.integers(0, 8)), max_size=15),
    moments=st.lists(
        st.tuples(KEYS, st.sampled_from([1, 2, 9, None]), st.integers(-2, 15)), min_size=1, max_size=15
    ),
    few_names=st.sampled_from([0, FEW_NAMES]),
)
def test_two_keys_are_joined_as_one(tmp_path_factory, versions, moments, few_names):
    path = tmp_path_factory.getbasetemp() / "pairs.parquet"
    sensors, numbers, offsets = zip(*versions, strict=True) if versions else ([],) * 3
    columns = {
        "sensor": pa.array(sensors, pa.string()),
        "number": pa.array(numbers, pa.int32()),
        "known": pa.array([at(offset) for offset in offsets], INSTANT),
        "place": pa.array(range(len(versions)), pa.int64()),
    }
    pq.write_table(pa.table(columns), path)
    join = AsOfJoin(
        path=str(path),
        keys={"sensor": "from_id", "number": "number"},
        outputs={"place": "place"},
        event_ts="known",
        created=None,
        ttl_us=None,
    )
    frame = rows(*[(sensor, None, number, offset) for sensor, number, offset in moments])
    with pytest.MonkeyPatch.context() as patched, TemporaryDirectory() as folder:
        patched.setattr(keys, "FEW_NAMES", few_names)
        moments_ = Moments.of(frame, "event_timestamp", [join])
        found = retrieve_columns(moments_, [join], Memory(2**30, Path(folder)))["place"].to_arrow()

    def last_place(sensor: str | None, number: int | None, offset: int) -> int | None:
        usable = [
            (version[2], place)
            for place, version in enumerate(versions)
            if None not in version and version[:2] == (sensor, number) and version[2] <= offset
        ]
        return max(usable)[1] if usable else None

    assert found.to_pylist() == [last_place(*moment) for moment in moments]


def test_instants_too_far_apart_for_one_number_are_still_joined(store: FeatureStore, monkeypatch):
    monkeypatch.setattr(as_of_join, "LARGEST_PLACE", 2)
    land(store, [("a", 0, 0, 1.0, 1), ("a", 4, 0, 2.0, 2), ("b", 3, 0, 3.0, 3)])
    frame = retrieve(store, rows(("a", "b", 1, -1), ("a", "b", 1, 3), ("a", "b", 1, 5), ("b", "a", 2, 2)))
    assert plain(frame["from_recent__count"]) == [None, 1, 2, None]
    assert plain(frame["to_recent__count"]) == [None, 3, 3, 1]


@pytest.mark.filterwarnings("ignore:Saving dataset is an experimental feature:RuntimeWarning")
def test_saved_data_set_reads_back_and_is_not_overwritten(store: FeatureStore, tmp_path: Path):
    land(store, [("a", 0, 0, 1.5, BIG)])
    service = store.get_feature_service("both")
    job = store.get_historical_features(
        rows(("a", "z", 1, 1), ("z", "a", 1, 0)), service, full_feature_names=True
    )
    target = SavedDatasetFileStorage(path=str(tmp_path / "sets" / "rows.parquet"))
    job.persist(target)
    assert pl.read_parquet(tmp_path / "sets" / "rows.parquet")["ever__count"].to_list() == [BIG, BIG]
    with pytest.raises(SavedDatasetLocationAlreadyExists):
        job.persist(target)
    saved = store.create_saved_dataset(job, "march", target, allow_overwrite=True)
    assert saved.to_df()["from_recent__speed_y"].tolist() == pytest.approx([1.5, np.nan], nan_ok=True)


def pull(store: FeatureStore, latest: bool, keys: list[str], start: int, end: int) -> list[tuple[Any, ...]]:
    provider = store._get_provider()
    method = "pull_latest_from_table_or_query" if latest else "pull_all_from_table_or_query"
    job = getattr(provider.offline_store, method)(
        config=store.config,
        data_source=store.get_feature_view("recent").batch_source,
        join_key_columns=keys,
        feature_name_columns=["count"],
        timestamp_field="event_timestamp",
        created_timestamp_column="created",
        start_date=at(start),
        end_date=at(end),
    )
    table = job.to_arrow()
    assert all(column.num_chunks <= 1 for column in table.columns)
    return sorted(zip(*(table[name].to_pylist() for name in ("sensor_id", "count")), strict=True))


def test_latest_is_taken_by_event_then_created_within_the_dates(store: FeatureStore):
    land(
        store,
        [
            ("a", 1, 2, 0.0, 12),
            ("a", 1, 3, 0.0, 13),
            ("a", 0, 9, 0.0, 9),
            ("a", 6, 0, 0.0, 60),
            ("b", 5, 0, 0.0, 50),
            ("c", 0, 0, 0.0, 1),
        ],
    )
    assert pull(store, True, ["sensor_id"], 1, 5) == [("a", 13), ("b", 50)]
    assert pull(store, False, ["sensor_id"], 1, 5) == [("a", 12), ("a", 13), ("b", 50)]
    with pytest.raises(FeastJoinKeysDuringMaterialization):
        pull(store, True, ["vehicle_id"], 1, 5)
