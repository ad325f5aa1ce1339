"""Engine and API workers killed at random points: nothing acknowledged is lost, nothing counts twice."""

from __future__ import annotations

import random
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import psutil
import pytest

from data_contracts.workspace import Workspace
from features.live import LiveFeatures
from features.online import OnlineWriter
from pipelines.demo import free_port
from serving.engine.engine import Engine
from serving.engine.models import ModelShelf
from serving.engine.ops import OpsStore
from serving.settings import load_settings
from serving.storage.log import Clock, EventLog
from serving.supervisor import Patience, Service
from serving.times import US
from tests.builders import NOON_US
from tests.running import caught_up, moment, plan, until

pytestmark = pytest.mark.end_to_end

PATIENCE = Patience(ready_s=120.0, restart_s=0.05, most_restarts=1_000)
SEED = 20_261
EVENTS_A_REQUEST = 7


def a_day(routes: int) -> list[dict[str, Any]]:
    """Plans, then drives, pings and ticks of some routes, in the order of reception."""
    names = [f"R-{n}" for n in range(routes)]
    events = [event for name in names for event in plan(name)]
    draw, moments = random.Random(SEED), []
    for n, name in enumerate(names):
        at_us = NOON_US + n * 20 * US
        moments.append((at_us, "stop_events", {"route_id": name, "kind": "departed_depot"}))
        for stop in range(1, 5):
            for kind in ("arrived", "completed"):
                at_us += int(draw.uniform(60, 700) * US)
                moments.append(
                    (at_us, "stop_events", {"route_id": name, "stop_id": f"{name}-S{stop}", "kind": kind})
                )
        for ping in range(12):
            body = {"vehicle_id": f"V-{name}", "lat": 50.0, "lon": 4.0 + ping / 1000, "speed_mps": 5.0}
            moments.append((NOON_US + ping * 200 * US + n * US, "pings", body))
    moments += [(NOON_US + at * US, "tick", {}) for at in range(0, 3_000, 30)]
    moments.sort(key=lambda each: each[0])
    return events + [moment(table, at_us, **body) for at_us, table, body in moments]


class Killer:
    """Kills the engine or an API worker, whichever the draw says; the engine where no worker is alive."""

    def __init__(self, service: Service, seed: int) -> None:
        self._service, self._draw = service, random.Random(seed)
        self.killed: dict[str, int] = {"engine": 0, "worker": 0}

    def strike(self) -> None:
        """Kill one that lives; where all have just died, wait for one that was started again."""
        while not self._strike(self._draw.choice(list(self.killed))):
            time.sleep(0.02)

    def _strike(self, target: str) -> bool:
        workers = self._workers() if target == "worker" else []
        target = "worker" if workers else "engine"
        try:
            process = psutil.Process(self._draw.choice(workers or [self._service.engine.pid]))
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            process.kill()
        except psutil.NoSuchProcess:
            return False
        self.killed[target] += 1
        return True

    def _workers(self) -> list[int]:
        found = []
        for process in psutil.Process(self._service.server.pid).children(recursive=True):
            try:
                if "_bentoml_impl.worker.service" in process.cmdline():
                    found.append(process.pid)
            except psutil.Error:
                continue
        return found


def acknowledged(client: httpx.Client, events: Sequence[dict[str, Any]], within_s: float = 60.0) -> None:
    """Send until the answer says that every row is in the log, as a client does whose connection broke."""
    body = b"\n".join(orjson.dumps(each) for each in events)
    deadline_s = time.monotonic() + within_s
    while True:
        try:
            answer = client.post("/v1/events", content=body, headers={"content-type": "application/x-ndjson"})
            if answer.status_code == 202:
                assert answer.json()["rejected"] == 0, answer.text
                return
            assert answer.status_code == 503 and "retry-after" in answer.headers, answer.text
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline_s, "nothing was acknowledged any more"
        time.sleep(0.05)


@contextmanager
def looked_after(service: Service) -> Iterator[None]:
    """A supervisor at work."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            service.look_after()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def everything(path: Path) -> dict[str, list[str]]:
    with closing(sqlite3.connect(path)) as connection:
        names = [
            name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        return {
            name: sorted(map(repr, connection.execute(f"SELECT * FROM {name}")))
            for name in names
            if not name.startswith("sqlite_")
        }


def undisturbed(workspace: Workspace, folder: Path) -> Workspace:
    """A workspace whose engine lived through the same log without a break."""
    folder.mkdir()
    quiet = Workspace(folder)
    shutil.copy(workspace.settings, quiet.settings)
    (folder / "models").symlink_to(workspace.models)
    with closing(sqlite3.connect(workspace.log)) as source, closing(sqlite3.connect(quiet.log)) as target:
        source.backup(target)
    settings = load_settings(quiet)
    log, writer, ops = EventLog(quiet.log, Clock.LOG), OnlineWriter(quiet.online), OpsStore(quiet.ops)
    engine = Engine(log, ops, LiveFeatures(), ModelShelf(quiet).get, writer, settings.engine)
    while engine.step(2_000):
        pass
    for each in (log, writer, ops):
        each.close()
    return quiet


def test_an_engine_and_workers_that_are_killed_lose_and_repeat_nothing(
    workspace: Workspace, tmp_path: Path
) -> None:
    live_through(workspace, tmp_path, kills=4, routes=3)


@pytest.mark.on_demand
def test_sixty_kills_lose_and_repeat_nothing(workspace: Workspace, tmp_path: Path) -> None:
    live_through(workspace, tmp_path, kills=60, routes=24)


def live_through(workspace: Workspace, tmp_path: Path, kills: int, routes: int) -> None:
    workspace.settings.write_text('[serving]\nclock = "log"\nworkers = 2\nmodel_poll_s = 0.2\n')
    events = a_day(routes)
    batches = [events[at : at + EVENTS_A_REQUEST] for at in range(0, len(events), EVENTS_A_REQUEST)]
    strikes = set(random.Random(SEED).sample(range(1, len(batches)), kills))
    with (tmp_path / "service.log").open("ab") as output:
        service = Service(workspace, "127.0.0.1", free_port(), output, PATIENCE)
        service.start()
        killer = Killer(service, SEED)
        try:
            service.wait_until_ready()
            with looked_after(service), httpx.Client(base_url=service.base_url, timeout=10.0) as client:
                for number, batch in enumerate(batches):
                    strike = threading.Timer(random.Random(number).uniform(0.0, 0.02), killer.strike)
                    if number in strikes:
                        strike.start()
                    acknowledged(client, batch)
                    if number in strikes:
                        strike.join()
                        time.sleep(random.Random(number).uniform(0.0, 0.3))
                until(lambda: has_caught_up(client), within_s=120.0)
        finally:
            service.stop()
    assert sum(killer.killed.values()) == kills and min(killer.killed.values()) >= 1
    with closing(sqlite3.connect(workspace.log)) as connection:
        kept = [
            event_id
            for (event_id,) in connection.execute("SELECT event_id FROM log WHERE event_id IS NOT NULL")
        ]
    assert sorted(kept) == sorted(event["event_id"] for event in events)
    quiet = undisturbed(workspace, tmp_path / "quiet")
    disturbed, calm = everything(workspace.ops), everything(quiet.ops)
    assert {name: len(rows) for name, rows in disturbed.items()} == {
        name: len(rows) for name, rows in calm.items()
    }
    assert disturbed == calm
    assert everything(workspace.online) == everything(quiet.online)
    assert disturbed["forecast_block"] and disturbed["calibration"]


def has_caught_up(client: httpx.Client) -> bool:
    try:
        return caught_up(client)
    except httpx.TransportError:
        return False
