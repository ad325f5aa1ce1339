"""An hour of a fleet at work, with engine and workers killed now and then: `pytest -m on_demand`."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import psutil
import pytest
from test_kills import PATIENCE, Killer, has_caught_up, looked_after

from benchmarks.engine import Feed
from benchmarks.fleet import Fleet, build
from pipelines.demo import free_port
from serving.supervisor import Service
from serving.times import US, from_rfc3339, wall_now_us
from tests.running import until

pytestmark = [pytest.mark.end_to_end, pytest.mark.on_demand]

MINUTES = float(os.environ.get("PUNCTUAL_SOAK_MINUTES", "60"))
KILL_EVERY_S = 40.0


def test_an_hour_of_work_with_kills_stays_whole_and_flat(tmp_path: Path) -> None:
    fleet = Fleet(vehicles=100, at_us=wall_now_us() - 60 * US)
    workspace = build(tmp_path / "w", fleet)
    workspace.settings.write_text("[serving]\nworkers = 2\n")
    output = (tmp_path / "service.log").open("ab")
    service = Service(workspace, "127.0.0.1", free_port(), output, PATIENCE)
    service.start()
    statuses, memory_mb = Counter[int](), list[float]()
    killer, stop = Killer(service, 7), threading.Event()
    try:
        service.wait_until_ready()
        with (
            looked_after(service),
            Feed(service.base_url, fleet, patient=True) as feed,
            httpx.Client(base_url=service.base_url, timeout=20.0) as client,
        ):
            striker = threading.Thread(target=strike_now_and_then, args=(killer, stop), daemon=True)
            striker.start()
            until_s = time.monotonic() + MINUTES * 60.0
            while time.monotonic() < until_s:
                statuses[ask(client, fleet)] += 1
                memory_mb.append(memory_of(service))
                time.sleep(0.2)
            stop.set()
            striker.join()
            sent = len(feed.sent_at_s)
            until(lambda: has_caught_up(client), within_s=60.0)
            scored_at = client.get("/v1/summary").json()["checkpoint"]["scored_at"]
            assert wall_now_us() - from_rfc3339(scored_at) < 30 * US
    finally:
        service.stop()
        output.close()
    assert sum(killer.killed.values()) >= MINUTES * 60.0 / KILL_EVERY_S - 2
    assert set(statuses) <= {200, 503, 0} and statuses[200] > 0.9 * sum(statuses.values())
    third = len(memory_mb) // 3
    assert sum(memory_mb[-third:]) < 1.2 * sum(memory_mb[third : 2 * third])
    print(f"{sent} seconds of pings, {killer.killed} killed, answers {dict(statuses)}")


def ask(client: httpx.Client, fleet: Fleet) -> int:
    """The status of one request; 0 where the worker died under it."""
    vehicle = random.randrange(fleet.vehicles)
    try:
        asked = {"stop_ids": [f"S-1-{vehicle}-{fleet.stops}"]}
        return client.post("/v1/eta", json=asked).status_code
    except httpx.TransportError:
        return 0


def strike_now_and_then(killer: Killer, stop: threading.Event) -> None:
    while not stop.wait(KILL_EVERY_S):
        killer.strike()


def memory_of(service: Service) -> float:
    """Megabytes of all processes of the service."""
    total = 0
    for process in psutil.Process().children(recursive=True):
        try:
            total += process.memory_info().rss
        except psutil.Error:
            continue
    return total / 2**20
