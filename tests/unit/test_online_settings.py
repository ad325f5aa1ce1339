"""Which online store a workspace has: its own file, or the Redis server of its settings."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from data_contracts.errors import WorkspaceError
from data_contracts.workspace import Workspace
from features.online import Status
from features.online_place import reader_at
from features.views import DEPOT_STATE
from pipelines.cli import app
from serving.engine.ops import OpsStore
from serving.engine.seed import open_log
from serving.engine_process import run
from serving.settings import load_settings
from serving.storage.log import NewEvent
from tests.builders import START_US


def set_store(root: Path, url: str) -> Workspace:
    workspace = Workspace(root)
    workspace.settings.write_text(f'[serving]\nclock = "log"\nonline_store = "{url}"\n')
    return workspace


def test_without_a_setting_the_store_is_the_workspaces_own_file(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert load_settings(workspace).online_at(workspace) == str(workspace.online)


def test_a_store_that_is_no_redis_url_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="online_store is the URL of a Redis server"):
        load_settings(set_store(tmp_path, "localhost:6379"))


def test_a_password_in_the_url_is_not_shown(tmp_path: Path) -> None:
    workspace = set_store(tmp_path, "rediss://user:hunter2@cache:6380/2")
    assert load_settings(workspace).online_at(workspace) == "rediss://user:hunter2@cache:6380/2"
    shown = CliRunner().invoke(app, ["config", "-w", str(tmp_path), "--json"]).stdout
    assert json.loads(shown)["online_store"] == "rediss://cache:6380/2"
    assert "hunter2" not in shown


def test_the_engine_publishes_to_the_redis_server_of_its_settings(tmp_path: Path, redis_url: str) -> None:
    workspace = set_store(tmp_path, redis_url)
    settings = load_settings(workspace)
    told = {"depot_id": "D-1", "occurred_at": START_US, "parcels_ready_share": 0.5, "sort_delay_s": 60.0}
    event_log = open_log(workspace, settings.clock)
    event_log.append([NewEvent(type="depots", event_id="d-1", body=told, received_us=START_US)])
    OpsStore(workspace.ops).close()
    stop = threading.Event()
    engine = threading.Thread(target=run, args=(workspace, settings, stop))
    engine.start()
    reader, deadline = reader_at(redis_url), time.monotonic() + 60
    try:
        while (rows := reader.read(DEPOT_STATE, ["D-1"], START_US)).status[0] != Status.PRESENT:
            assert time.monotonic() < deadline, "nothing was published"
            time.sleep(0.05)
    finally:
        stop.set()
        engine.join(60)
        reader.close()
    assert rows.values[0].tolist() == [0.5, 60.0]
    assert not workspace.online.exists()
