"""The Feast repository says what ``features.views`` says, and nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import FeatureStore

from data_contracts.workspace import Workspace
from features.feast_repo import (
    PROJECT,
    apply,
    historical,
    open_store,
    output_names,
    write_repo_file,
)
from features.online_store import epoch_us, view_of
from features.version_files import version_schema, write_missing_versions
from features.views import DEPOT_STATE, LOOKUPS, VIEWS, ZONE_TRAFFIC
from pipelines.demo import free_port

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
NOON_US = epoch_us(NOON)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace(tmp_path_factory.mktemp("repo"))
    write_missing_versions(workspace.features)
    apply(open_store(workspace))
    return workspace


def make_rows(**keys: list[str]) -> pd.DataFrame:
    n = len(next(iter(keys.values())))
    columns = {lookup.key: [None] * n for lookup in LOOKUPS}
    return pd.DataFrame({**columns, **keys, "event_timestamp": pd.to_datetime([NOON] * n)})


def land_traffic(workspace: Workspace, **jams: float) -> Path:
    """Write one version of each named zone's traffic."""
    n = len(jams)
    columns = {name: [0.0] * n for name in ZONE_TRAFFIC.field_names}
    columns |= {"zone_id": list(jams), "known_us": [NOON_US] * n, "jam": list(jams.values())}
    columns |= {"event_timestamp": [NOON] * n, "created": [NOON] * n}
    schema = version_schema(ZONE_TRAFFIC)
    path = workspace.features / "zone_traffic.parquet"
    pq.write_table(pa.table(columns).select(schema.names).cast(schema), path)
    return path


def test_registered_views_are_ours(workspace: Workspace):
    store = open_store(workspace)
    registered = {view.name: view for view in store.list_feature_views()}
    assert registered.keys() == {view.name for view in VIEWS}
    for view in VIEWS:
        assert view_of(registered[view.name]) == view
        assert view_of(registered[view.name]).schema_hash == view.schema_hash


def specs(store: FeatureStore) -> dict[str, Any]:
    """All that the registry holds, creation times left out."""
    views, entities = store.list_feature_views(), store.list_entities()
    return {
        **{f"view {view.name}": (view.current_version_number, view.to_proto().spec) for view in views},
        **{f"entity {entity.name}": entity.to_proto().spec for entity in entities},
        **{f"service {each.name}": each.to_proto().spec for each in store.list_feature_services()},
        **{f"source {each.name}": each.to_proto() for each in store.list_data_sources()},
    }


def test_applying_twice_changes_nothing(workspace: Workspace):
    store = open_store(workspace)

    before = specs(store)
    apply(store)
    assert specs(store) == before


def test_view_that_leaves_the_code_leaves_the_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    workspace = Workspace(tmp_path)
    store = open_store(workspace)
    apply(store)
    left = LOOKUPS[-1]
    monkeypatch.setattr("features.feast_repo.LOOKUPS", LOOKUPS[:-1])
    monkeypatch.setattr("features.feast_repo.VIEWS", tuple(v for v in VIEWS if v != left.view))
    apply(store)
    remaining = {view.name for view in store.list_feature_views()}
    assert remaining == {view.name for view in VIEWS} - {left.view.name}
    assert remaining == {source.name for source in store.list_data_sources()}


def test_view_with_a_new_field_is_registered_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = open_store(Workspace(tmp_path))
    apply(store)
    wider = replace(DEPOT_STATE, fields=(*DEPOT_STATE.fields, replace(DEPOT_STATE.fields[0], name="more")))
    monkeypatch.setattr("features.feast_repo.VIEWS", tuple(wider if v == DEPOT_STATE else v for v in VIEWS))
    apply(store)
    assert view_of(store.get_feature_view("depot_state")) == wider


def test_service_gives_every_column_of_every_lookup(workspace: Workspace):
    frame = historical(open_store(workspace), make_rows(zone_id=["z"], from_zone_id=["y"]))
    expected = [name for lookup in LOOKUPS for name in output_names(lookup)]
    assert [name for name in frame.columns if "__" in name] == expected
    assert frame[expected].isna().all().all()


def test_two_aliases_of_a_view_follow_their_own_keys(workspace: Workspace):
    path = land_traffic(workspace, y=0.25, z=0.5)
    frame = historical(open_store(workspace), make_rows(zone_id=["z", "y"], from_zone_id=["y", "n"]))
    assert frame["to_traffic__jam"].tolist() == [0.5, 0.25]
    assert frame["to_traffic__known_us"].tolist() == [NOON_US, NOON_US]
    assert frame["from_traffic__jam"].tolist() == pytest.approx([0.25, float("nan")], nan_ok=True)
    pq.write_table(version_schema(ZONE_TRAFFIC).empty_table(), path)


def test_workspace_can_be_moved(workspace: Workspace, tmp_path: Path):
    moved = Workspace(tmp_path / "moved")
    shutil.copytree(workspace.root, moved.root)
    land_traffic(moved, z=0.5)
    frame = historical(open_store(moved), make_rows(zone_id=["z"]))
    assert frame["to_traffic__jam"].tolist() == [0.5]


def test_versions_already_written_are_left_alone(tmp_path: Path):
    workspace = Workspace(tmp_path)
    workspace.features.mkdir()
    path = workspace.features / "depot_state.parquet"
    path.write_bytes(b"mine")
    write_missing_versions(workspace.features)
    assert path.read_bytes() == b"mine"
    assert {file.stem for file in workspace.features.iterdir()} == {view.name for view in VIEWS}


def test_version_file_names_its_view_and_schema():
    metadata = version_schema(DEPOT_STATE).empty_table().schema.metadata
    assert metadata[b"punctual.view"] == b"depot_state"
    assert metadata[b"punctual.schema"] == DEPOT_STATE.schema_hash.encode()


def test_feast_is_not_imported_before_it_is_used():
    code = "import sys, features.feast_repo, features.online; sys.exit('feast' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


APPLIER = """
import sys
from pathlib import Path
from feast import FeatureView, Field, FileSource
from feast.types import Float32
from data_contracts.workspace import Workspace
from features.feast_repo import apply, open_store

store = open_store(Workspace(Path(sys.argv[1])))
entity = store.get_entity("depot_id")
for number in range(int(sys.argv[3])):
    name = f"theirs_{sys.argv[2]}_{number}"
    source = FileSource(name=name, path="features/depot_state.parquet", timestamp_field="event_timestamp")
    field = Field(name="ready_share", dtype=Float32)
    store.apply([FeatureView(name=name, entities=[entity], schema=[field], source=source)])
    if number == 2:
        apply(store)
"""


@pytest.mark.slow
def test_concurrent_applies_of_several_processes_lose_nothing(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    write_missing_versions(workspace.features)
    apply(open_store(workspace))
    processes = [
        subprocess.Popen([sys.executable, "-c", APPLIER, str(tmp_path), str(who), "5"]) for who in range(4)
    ]
    assert [process.wait(300) for process in processes] == [0] * 4
    names = {view.name for view in open_store(workspace).list_feature_views()}
    assert names == {view.name for view in VIEWS} | {
        f"theirs_{who}_{number}" for who in range(4) for number in range(5)
    }


@pytest.mark.slow
def test_feasts_own_command_and_page_show_what_is_registered(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    write_missing_versions(workspace.features)
    apply(open_store(workspace))
    write_repo_file(workspace)
    port = free_port()
    command = [str(Path(sys.executable).with_name("feast")), "-c", str(tmp_path), "ui", "--port", str(port)]
    page = subprocess.Popen(
        [*command, "--host", "127.0.0.1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            listed = answered(client, f"/api/v1/feature_views?project={PROJECT}", page)
            assert client.get("/").text.lstrip().lower().startswith("<!doctype html")
    finally:
        page.terminate()
        page.wait(30)
    assert all(view.name in listed for view in VIEWS)


def answered(client: httpx.Client, path: str, process: subprocess.Popen[bytes]) -> str:
    """What a server that is starting answers once it does."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            return client.get(path).raise_for_status().text
        except httpx.ConnectError:
            time.sleep(0.2)
    raise AssertionError(f"no answer; it ended with {process.poll()}")
