"""A disk that is really full: it is said, nothing acknowledged is lost, and everything goes on once there is room."""

from __future__ import annotations

import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from data_contracts.events import parse
from data_contracts.workspace import Workspace
from serving import engine_process
from serving.api.ingest import to_new_event
from serving.engine.readings import OpsReader
from serving.settings import load_settings
from serving.storage.database import is_full
from serving.storage.log import Clock, EventLog, NewEvent, Verdict
from tests.builders import NOON_US
from tests.running import moment, plan, until
from tests.served import applied

SIZE_MB = 12


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(["mount", *options], capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a small tmpfs needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Leave no byte free."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while file.write(b"x" * size):
                    pass
            except OSError:
                continue
    return ballast


def ping(number: int, size: int = 200) -> NewEvent:
    body = {"vehicle_id": "V-1", "occurred_at": NOON_US, "lat": 50.0, "lon": 4.0, "status": "x" * size}
    return NewEvent(type="pings", event_id=f"e-{number}", body=body, received_us=NOON_US)


def test_what_was_acknowledged_on_a_disk_that_filled_up_is_there(small_disk: Path) -> None:
    log, said = EventLog(small_disk / "log.db", Clock.LOG), []
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * (SIZE_MB - 3) * 1024 * 1024)
    with pytest.raises(sqlite3.OperationalError) as full:
        for number in range(100_000):
            verdicts = log.append([ping(number * 10 + place) for place in range(10)])
            said += [f"e-{number * 10 + place}" for place, _ in enumerate(verdicts)]
    assert is_full(full.value) and len(said) > 100
    for _ in range(3):
        with pytest.raises(sqlite3.OperationalError, match="full"):
            log.append([ping(10**6 + place, 100_000) for place in range(10)])
    ballast.unlink()
    assert log.append([ping(-1)]) == [Verdict.ACCEPTED], "the same connection goes on once there is room"
    log.close()
    with closing(sqlite3.connect(small_disk / "log.db")) as connection:
        kept = {event_id for (event_id,) in connection.execute("SELECT event_id FROM log")}
    assert kept == {*said, "e--1"}


def test_an_engine_waits_for_room_and_then_goes_on(
    small_disk: Path, crowned: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    (small_disk / "w").mkdir()
    workspace = Workspace(small_disk / "w")
    workspace.models.symlink_to(crowned.models)
    workspace.settings.write_text('[serving]\nclock = "log"\n')
    monkeypatch.setattr(engine_process, "FULL_WAIT_S", 0.1)
    log = EventLog(workspace.log, Clock.LOG)
    log.append(events(*plan("R-1"), moment("tick", NOON_US)))
    with running(workspace) as (told, _):
        until(lambda: applied(workspace) == log.last().seq > 6, within_s=30.0)
        assert said(told, "storage_full") == 0
    log.append(events(*plan("R-2"), *plan("R-3"), *plan("R-4"), moment("tick", NOON_US + 10**6)))
    with closing(OpsReader(workspace.ops)) as ops:
        seen = ops.checkpoint().seq
        ballast = fill(small_disk)
        with running(workspace) as (told, engine):
            until(lambda: said(told, "storage_full") >= 2, within_s=30.0)
            assert engine.is_alive() and ops.checkpoint().seq == seen
            ballast.unlink()
            until(lambda: ops.checkpoint().seq == log.last().seq, within_s=30.0)
        assert ops.forecasts(["R-4-S1"]) and ops.forecasts(["R-1-S1"])
    log.close()


@contextmanager
def running(workspace: Workspace) -> Iterator[tuple[list[Any], threading.Thread]]:
    """The engine as its process runs it, and what it says."""
    stop = threading.Event()
    engine = threading.Thread(
        target=engine_process.run, args=(workspace, load_settings(workspace), stop), daemon=True
    )
    with capture_logs() as told:
        engine.start()
        try:
            yield told, engine
        finally:
            stop.set()
            engine.join(timeout=20.0)


def events(*rows: dict[str, Any]) -> list[NewEvent]:
    return [to_new_event(parse(row)) for row in rows]


def said(told: list[Any], name: str) -> int:
    return sum(1 for line in told if line["event"] == name)
