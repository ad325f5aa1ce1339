"""The packed online store: versions, ages and bytes, by its own reader and through Feast."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_contracts.errors import WorkspaceError
from data_contracts.workspace import Workspace
from features.feast_repo import (
    apply,
    materialize,
    open_store,
)
from features.online import NOT_KNOWN_US, OnlineReader, OnlineRows, OnlineWriter, Status, Versions
from features.online_place import Writer, reader_at, writer_at
from features.online_store import epoch_us, view_of
from features.version_files import version_schema, write_missing_versions
from features.views import DEPOT_STATE, ROUTE_PROGRESS, VEHICLE_MOTION, WEATHER_NOW, View

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
NOON_US = epoch_us(NOON)
TTL_US = DEPOT_STATE.ttl // timedelta(microseconds=1)
AWKWARD = (-0.0, 1e-45, 3.4028235e38, 1 / 3, 16_777_217.0, float("nan"), float("-inf"))


def make_versions(view: View = DEPOT_STATE, **columns: Any) -> Versions:
    """Versions of depot D-1 that name only what matters: ``values`` is the first field's."""
    values = columns.get("values", [1.0])
    n = len(values)
    matrix = np.zeros((n, len(view.fields)), np.float32)
    matrix[:, 0] = values
    return Versions(
        view=view,
        ids=columns.get("ids", ["D-1"] * n),
        values=matrix,
        known_us=np.array(columns.get("known_us", [NOON_US] * n), np.int64),
        created_us=np.array(columns.get("created_us", [1] * n), np.int64),
    )


@pytest.fixture(params=["sqlite", "redis"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store: a file that is not there yet, or a Redis server."""
    if request.param == "sqlite":
        return str(tmp_path / "feast" / "online.db")
    return str(request.getfixturevalue("redis_url"))


@pytest.fixture
def writer(location: str) -> Iterator[Writer]:
    writer = writer_at(location)
    yield writer
    writer.close()


@pytest.fixture
def read(location: str) -> Iterator[Callable[..., OnlineRows]]:
    reader = reader_at(location)

    def read(*ids: str | None, view: View = DEPOT_STATE, as_of_us: int = NOON_US) -> OnlineRows:
        return reader.read(view, ids or ("D-1",), as_of_us)

    yield read
    reader.close()


def test_store_that_nobody_wrote_holds_nothing_and_stays_absent(
    read: Callable[..., OnlineRows], location: str
):
    rows = read("D-1", "D-2")
    assert rows.status.tolist() == [Status.MISSING] * 2
    assert np.isnan(rows.values).all()
    assert not Path(location).exists()


def test_rows_come_in_the_order_of_the_ids_with_repeats_and_nulls(writer: Writer, read):
    writer.publish(make_versions(ids=["a", "b", "ü\x01'"], values=[1, 2, 3]))
    rows = read("b", None, "ü\x01'", "nobody", "a", "b")
    assert rows.values[:, 0].tolist() == pytest.approx([2, np.nan, 3, np.nan, 1, 2], nan_ok=True)
    assert rows.status.tolist() == [Status.PRESENT, Status.MISSING] * 2 + [Status.PRESENT] * 2


def test_values_and_times_come_back_to_the_bit(writer: Writer, read):
    ids = [f"D-{i}" for i in range(len(AWKWARD))]
    versions = make_versions(ids=ids, values=AWKWARD, known_us=[NOON_US - 1] * len(ids))
    writer.publish(versions)
    rows = read(*ids)
    assert rows.values.tobytes() == versions.values.tobytes()
    assert rows.known_us.tolist() == [NOON_US - 1] * len(ids)


@pytest.mark.parametrize("older", [(NOON_US - 1, 9), (NOON_US, 1), (NOON_US, 2)])
def test_version_that_is_not_newer_is_refused(writer: Writer, read, older: tuple[int, int]):
    assert writer.publish(make_versions(values=[1], known_us=[NOON_US], created_us=[2])) == 1
    assert writer.publish(make_versions(values=[2], known_us=[older[0]], created_us=[older[1]])) == 0
    assert read().values[0, 0] == 1


def test_greatest_version_of_one_batch_stays_whatever_its_place(writer: Writer, read):
    writer.publish(
        make_versions(
            values=[1, 2, 3, 4],
            known_us=[NOON_US - 5, NOON_US, NOON_US, NOON_US - 1],
            created_us=[1, 2, 1, 9],
        )
    )
    assert read().values[0, 0] == 2


def test_expired_future_and_missing_are_told_apart(writer: Writer, read):
    writer.publish(
        make_versions(
            ids=["fresh", "old", "ahead"],
            values=[1, 2, 3],
            known_us=[NOON_US - TTL_US, NOON_US - TTL_US - 1, NOON_US + 1],
        )
    )
    rows = read("fresh", "old", "ahead", "nobody")
    assert rows.status.tolist() == [Status.PRESENT, Status.EXPIRED, Status.FUTURE, Status.MISSING]
    assert np.isnan(rows.values[1:]).all()
    assert rows.known_us.tolist() == [NOON_US - TTL_US] + [NOT_KNOWN_US] * 3


def test_two_schemas_of_a_view_are_read_side_by_side(writer: Writer, read):
    narrow = replace(DEPOT_STATE, fields=DEPOT_STATE.fields[:1])
    writer.publish_all([make_versions(values=[1]), make_versions(narrow, values=[2])])
    assert read().values.tolist() == [[1, 0]]
    assert read(view=narrow).values.tolist() == [[2]]


def test_many_views_are_published_in_one_transaction_or_not_at_all(writer: Writer, read):
    broken = replace(make_versions(), ids=[object()])  # type: ignore[list-item]
    with pytest.raises(Exception, match="object"):
        writer.publish_all([make_versions(ROUTE_PROGRESS, ids=["R-1"]), broken])
    assert read("R-1", view=ROUTE_PROGRESS).status[0] == Status.MISSING
    assert writer.publish_all([make_versions(), make_versions(ROUTE_PROGRESS, ids=["R-1"])]) == 2


def test_values_of_another_shape_or_type_are_refused():
    with pytest.raises(ValueError, match=r"2 fields need float32 \(1, 2\)"):
        replace(make_versions(), values=np.zeros((1, 2), np.float64))


PUBLISHER = """
import random, sys
import numpy as np
from features.online import Versions
from features.online_place import writer_at
from features.views import DEPOT_STATE

known_us = list(range(1, 61))
random.Random(int(sys.argv[2])).shuffle(known_us)
writer = writer_at(sys.argv[1])
for known in known_us:
    n = 10
    writer.publish(
        Versions(
            view=DEPOT_STATE,
            ids=[f"D-{i}" for i in range(n)],
            values=np.full((n, 2), known, np.float32),
            known_us=np.full(n, known),
            created_us=np.ones(n, np.int64),
        )
    )
"""


READER = """
import sys
import numpy as np
from features.online_place import reader_at
from features.views import DEPOT_STATE

ids = [f"D-{i}" for i in range(10)]
reader, seen = reader_at(sys.argv[1]), np.full(10, -1)
while seen.min() < 60:
    rows = reader.read(DEPOT_STATE, ids, 60)
    stored = rows.status == 0
    assert (rows.known_us[stored] >= seen[stored]).all(), "a version went back"
    assert (rows.values[stored] == rows.known_us[stored, None]).all(), "a vector beside another's version"
    seen[stored] = rows.known_us[stored]
"""


def test_two_processes_write_while_four_read_and_no_version_goes_back(location: str, read):
    publishers = [
        subprocess.Popen([sys.executable, "-c", PUBLISHER, location, str(seed)]) for seed in range(2)
    ]
    readers = [subprocess.Popen([sys.executable, "-c", READER, location]) for _ in range(4)]
    assert [process.wait(120) for process in publishers] == [0, 0]
    assert [process.wait(120) for process in readers] == [0] * 4
    rows = read(*[f"D-{i}" for i in range(10)], as_of_us=60)
    assert rows.values.tolist() == [[60, 60]] * 10
    assert rows.known_us.tolist() == [60] * 10


def test_views_are_read_at_once_as_they_are_one_by_one(writer: Writer, location: str):
    for view, seen_us in ((DEPOT_STATE, NOON_US), (VEHICLE_MOTION, NOON_US + 1)):
        known_us = [seen_us, 0, seen_us + 2 * NOON_US]
        ids = ["D-1", "D-old", "D-future"]
        writer.publish(
            make_versions(view=view, ids=ids, values=[1, 2, 3], known_us=known_us, created_us=[1] * 3)
        )
    reader, views = reader_at(location), (VEHICLE_MOTION, WEATHER_NOW, DEPOT_STATE)
    ids = ["D-future", None, "ü", "D-1", "nobody", "D-old", "D-1"]
    taken = reader.take(ids)
    for view, at_once in zip(views, reader.read_views(views, ids, NOON_US + 5), strict=True):
        alone = reader.read(view, ids, NOON_US + 5)
        for found in (at_once, taken.read(view, ids, NOON_US + 5)):
            assert found.values.tobytes() == alone.values.tobytes()
            assert found.known_us.tolist() == alone.known_us.tolist()
            assert found.status.tolist() == alone.status.tolist()
    assert [len(rows.status) for rows in reader.read_views(views, [], NOON_US)] == [0, 0, 0]
    reader.close()


@pytest.mark.parametrize("url", ["redis://localhost:1/0", "rediss://host", "unix:///run/redis.sock"])
def test_a_url_is_a_redis_server_and_a_path_is_a_file(url: str, tmp_path: Path):
    assert type(reader_at(url)).__name__ == "RedisReader"
    assert type(writer_at(str(tmp_path / "redis.db"))).__name__ == "OnlineWriter"


# Through Feast


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace(tmp_path_factory.mktemp("online"))
    write_missing_versions(workspace.features)
    apply(open_store(workspace))
    return workspace


@pytest.fixture
def workspace(applied: Workspace) -> Iterator[Workspace]:
    """The applied workspace with an empty online store and no depot versions."""
    yield applied
    for file in applied.online.parent.glob("online.db*"):
        file.unlink()
    pq.write_table(version_schema(DEPOT_STATE).empty_table(), applied.features / "depot_state.parquet")


def land(workspace: Workspace, *versions: tuple[str, int, int, float]) -> None:
    """Write depot versions: id, known_us, created_us, first value."""
    ids, known_us, created_us, values = zip(*versions, strict=True)
    columns = [ids, known_us, created_us, known_us, values, [0.0] * len(ids)]
    schema = version_schema(DEPOT_STATE)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    pq.write_table(pa.table(arrays, schema=schema), workspace.features / "depot_state.parquet")


def feast_read(workspace: Workspace, *ids: str, as_of: datetime = NOON) -> Any:
    store = open_store(workspace, as_of=as_of)
    names = [f"depot_state:{name}" for name in (*DEPOT_STATE.field_names, "known_us")]
    return store.get_online_features(features=names, entity_rows=[{"depot_id": i} for i in ids])


def test_feast_and_the_reader_give_the_same_bits(workspace: Workspace):
    ids = [f"D-{i}" for i in range(len(AWKWARD))]
    land(workspace, *[(i, NOON_US - 1, 1, value) for i, value in zip(ids, AWKWARD, strict=True)])
    materialize(open_store(workspace), NOON)
    by_feast = feast_read(workspace, *ids).to_dict()
    rows = OnlineReader(workspace.online).read(DEPOT_STATE, ids, NOON_US)
    assert np.array(by_feast["ready_share"], np.float32).tobytes() == rows.values[:, 0].tobytes()
    assert rows.values[:, 0].tobytes() == np.array(AWKWARD, np.float32).tobytes()
    assert by_feast["known_us"] == rows.known_us.tolist() == [NOON_US - 1] * len(ids)


def test_reader_keeps_sub_second_times_that_feast_wrote(workspace: Workspace):
    land(workspace, ("D-1", NOON_US - 123_457, 3, 1.0))
    materialize(open_store(workspace), NOON)
    answer = feast_read(workspace, "D-1")
    assert answer.to_dict()["known_us"] == [NOON_US - 123_457]
    assert answer.proto.results[1].event_timestamps[0].ToMicroseconds() == NOON_US - 123_457


def test_materialize_never_overwrites_a_newer_publication(workspace: Workspace):
    OnlineWriter(workspace.online).publish(make_versions(values=[7], known_us=[NOON_US], created_us=[5]))
    land(workspace, ("D-1", NOON_US, 4, 1.0), ("D-2", NOON_US - 9, 2, 3.0), ("D-2", NOON_US - 9, 1, 2.0))
    materialize(open_store(workspace), NOON)
    assert feast_read(workspace, "D-1", "D-2").to_dict()["ready_share"] == [7, 3]


def test_materialize_takes_what_was_known_by_then(workspace: Workspace):
    land(workspace, ("D-1", NOON_US, 1, 1.0), ("D-1", NOON_US + 1, 2, 2.0))
    materialize(open_store(workspace), NOON)
    assert feast_read(workspace, "D-1").to_dict()["ready_share"] == [1]


def test_materialize_writes_every_row_of_many_batches(workspace: Workspace, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("features.feast_repo.WRITE_BATCH_ROWS", 7)
    ids = [f"D-{i}" for i in range(40)]
    land(workspace, *[(name, NOON_US, 1, 1.0) for name in ids])
    materialize(open_store(workspace), NOON)
    rows = OnlineReader(workspace.online).read(DEPOT_STATE, ids, NOON_US)
    assert rows.status.tolist() == [Status.PRESENT] * 40


def test_feast_tells_expired_from_missing(workspace: Workspace):
    land(workspace, ("old", NOON_US - TTL_US - 1, 1, 1.0), ("fresh", NOON_US - TTL_US, 1, 2.0))
    materialize(open_store(workspace), NOON)
    answer = feast_read(workspace, "old", "fresh", "nobody")
    share = list(answer.proto.metadata.feature_names.val).index("ready_share")
    assert answer.to_dict()["ready_share"] == [None, 2, None]
    assert answer.to_dict()["known_us"] == [None, NOON_US - TTL_US, None]
    assert [int(status) for status in answer.proto.results[share].statuses] == [1, 1, 3]


def test_feast_push_of_an_older_value_is_refused(workspace: Workspace):
    store = open_store(workspace)
    for known_us, value in ((NOON_US, 1.0), (NOON_US - 1, 2.0)):
        frame = pd.DataFrame({"depot_id": ["D-1"], "ready_share": np.float32(value), "sort_delay_s": 0.0})
        frame["event_timestamp"] = frame["created"] = pd.to_datetime([known_us], unit="us", utc=True)
        store.write_to_online_store("depot_state", frame.assign(known_us=known_us))
    assert feast_read(workspace, "D-1").to_dict()["ready_share"] == [1]


def test_teardown_forgets_the_views_it_names(workspace: Workspace):
    OnlineWriter(workspace.online).publish_all(
        [make_versions(), make_versions(VEHICLE_MOTION, ids=["V-1"])],
    )
    store = open_store(workspace)
    provider = store._get_provider()
    provider.online_store.update(store.config, [store.get_feature_view("depot_state")], [], [], [], False)
    reader = OnlineReader(workspace.online)
    assert reader.read(DEPOT_STATE, ["D-1"], NOON_US).status[0] == Status.MISSING
    assert reader.read(VEHICLE_MOTION, ["V-1"], NOON_US).status[0] == Status.PRESENT
    provider.online_store.teardown(store.config, store.list_feature_views(), [])
    assert reader.read(VEHICLE_MOTION, ["V-1"], NOON_US).status[0] == Status.MISSING


def test_feast_materializes_to_redis_and_both_read_the_same(workspace: Workspace, redis_url: str):
    land(workspace, ("D-1", NOON_US - 1, 1, 1.0), ("D-2", NOON_US, 2, 2.0))
    store = open_store(workspace, as_of=NOON, online=redis_url)
    materialize(store, NOON)
    rows = reader_at(redis_url).read(DEPOT_STATE, ["D-2", "D-1", "D-3"], NOON_US)
    assert rows.values[:, 0].tolist() == pytest.approx([2, 1, np.nan], nan_ok=True)
    asked = [{"depot_id": name} for name in ("D-2", "D-1", "D-3")]
    answer = store.get_online_features(features=["depot_state:ready_share"], entity_rows=asked)
    assert answer.to_dict()["ready_share"] == [2, 1, None]
    provider = store._get_provider()
    provider.online_store.teardown(store.config, store.list_feature_views(), [])
    assert reader_at(redis_url).read(DEPOT_STATE, ["D-1"], NOON_US).status[0] == Status.MISSING


class CrashError(Exception):
    pass


def test_a_materialization_that_was_cut_off_is_resumed(workspace: Workspace, monkeypatch: pytest.MonkeyPatch):
    """What a crash left out is written by the next run, and what was written since stays."""
    monkeypatch.setattr("features.feast_repo.WRITE_BATCH_ROWS", 5)
    ids = [f"D-{i:02}" for i in range(20)]
    land(workspace, *[(name, NOON_US - 5, 1, 1.0) for name in ids])
    publish, calls = OnlineWriter.publish, 0

    def crash_at_the_third(self: OnlineWriter, versions: Versions) -> int:
        nonlocal calls
        calls += versions.view.name == DEPOT_STATE.name
        if calls == 3:
            raise CrashError
        return publish(self, versions)

    with monkeypatch.context() as patch:
        patch.setattr(OnlineWriter, "publish", crash_at_the_third)
        with pytest.raises(CrashError):
            materialize(open_store(workspace), NOON)
    reader = OnlineReader(workspace.online)
    assert 0 < (reader.read(DEPOT_STATE, ids, NOON_US).status == Status.PRESENT).sum() < 20
    OnlineWriter(workspace.online).publish(make_versions(ids=ids[:2], values=[7, 7]))
    materialize(open_store(workspace), NOON)
    assert reader.read(DEPOT_STATE, ids, NOON_US).values[:, 0].tolist() == [7, 7] + [1] * 18


MATERIALIZER = """
import sys, time
from datetime import UTC, datetime
from pathlib import Path
from data_contracts.workspace import Workspace
from features import feast_repo
from features.online import OnlineWriter

publish = OnlineWriter.publish

def slowly(self, versions):
    written = publish(self, versions)
    if versions.view.name == "depot_state":
        print("written", flush=True, file=sys.__stdout__)
        time.sleep(0.3)
    return written

OnlineWriter.publish = slowly
feast_repo.WRITE_BATCH_ROWS = 5
store = feast_repo.open_store(Workspace(Path(sys.argv[1])))
feast_repo.materialize(store, datetime(2026, 3, 2, 12, tzinfo=UTC))
"""


@pytest.mark.slow
def test_a_materialization_whose_process_is_killed_is_resumed(workspace: Workspace):
    ids = [f"D-{i:02}" for i in range(40)]
    land(workspace, *[(name, NOON_US - 5, 1, 1.0) for name in ids])
    command = [sys.executable, "-c", MATERIALIZER, str(workspace.root)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"written\n"
    finally:
        process.kill()
        process.communicate()
    reader = OnlineReader(workspace.online)
    assert 0 < (reader.read(DEPOT_STATE, ids, NOON_US).status == Status.PRESENT).sum() < 40
    materialize(open_store(workspace), NOON)
    assert (reader.read(DEPOT_STATE, ids, NOON_US).values[:, 0] == 1).all()


def test_view_that_does_not_fit_a_packed_vector_is_refused(workspace: Workspace):
    from feast import Field
    from feast.types import String

    view = open_store(workspace).get_feature_view("depot_state")
    view.features.append(Field(name="remark", dtype=String))
    with pytest.raises(WorkspaceError, match="Float32 alone, not remark String"):
        view_of(view)


def test_what_is_taken_at_once_reads_like_what_is_read_view_by_view(tmp_path: Path) -> None:
    writer, reader = OnlineWriter(tmp_path / "online.db"), OnlineReader(tmp_path / "online.db")
    assert reader.take(["D-1", None]).read(DEPOT_STATE, ["D-1", None], NOON_US).status.tolist() == [1, 1]
    for view, seen_us in ((DEPOT_STATE, NOON_US), (VEHICLE_MOTION, NOON_US + 1)):
        values = np.full((3, len(view.fields)), 0.5, np.float32)
        known_us = np.array([seen_us, 0, seen_us + 2 * NOON_US], np.int64)
        names = ["D-1", "D-old", "D-future"]
        writer.publish(
            Versions(view=view, ids=names, values=values, known_us=known_us, created_us=np.arange(3))
        )
    ids = ["D-future", None, "D-1", "nobody", "D-old", "D-1"]
    taken = reader.take(ids)
    for view in (DEPOT_STATE, VEHICLE_MOTION, WEATHER_NOW):
        one, other = taken.read(view, ids, NOON_US + 5), reader.read(view, ids, NOON_US + 5)
        assert one.values.tobytes() == other.values.tobytes()
        assert (one.known_us.tolist(), one.status.tolist()) == (
            other.known_us.tolist(),
            other.status.tolist(),
        )
    writer.publish(
        Versions(
            view=DEPOT_STATE,
            ids=["D-1"],
            values=np.ones((1, len(DEPOT_STATE.fields)), np.float32),
            known_us=np.array([NOON_US + 4]),
            created_us=np.array([9]),
        )
    )
    assert taken.read(DEPOT_STATE, ["D-1"], NOON_US + 5).values[0, 0] == 0.5, "as it stood when it was taken"
