"""An hour of a fleet at work, with engine and workers killed now and then: `pytest -m on_demand`."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import httpx
import pytest
from test_kills import PATIENCE, Killer, has_caught_up, looked_after

from benchmarks.engine import Feed, disk_mb, memory_mb
from benchmarks.fleet import Fleet, build
from pipelines.demo import free_port
from serving.settings import load_settings
from serving.supervisor import Service
from serving.times import US, from_rfc3339, wall_now_us
from tests.running import until

pytestmark = [pytest.mark.end_to_end, pytest.mark.on_demand]

MINUTES = float(os.environ.get("PUNCTUAL_SOAK_MINUTES", "60"))
KILL_EVERY_S = 40.0
#: A sixth of the run is kept, so that everything that is kept has been full since before its middle third.
KEPT_S = MINUTES * 10.0
SETTINGS = f"""
[serving]
workers = 2
[serving.cadence]
sweep_s = 10
keep_history_s = {KEPT_S}
keep_events = 1000
[serving.served]
keep_s = {KEPT_S}
file_s = {KEPT_S / 5}
[serving.retention]
log_s = {KEPT_S}
every_s = {max(20.0, KEPT_S / 5)}
snapshot_s = {KEPT_S / 2}
archive = false
forecasts_s = {KEPT_S}
told_s = {KEPT_S}
"""


def test_an_hour_of_work_with_kills_stays_whole_and_flat(tmp_path: Path) -> None:
    fleet = Fleet(vehicles=100, at_us=wall_now_us() - 60 * US)
    workspace = build(tmp_path / "w", fleet)
    workspace.settings.write_text(SETTINGS)
    output = (tmp_path / "service.log").open("ab")
    every_s = load_settings(workspace).retention.every_s
    service = Service(workspace, "127.0.0.1", free_port(), output, PATIENCE, compact_every_s=every_s)
    service.start()
    statuses, samples, told_s = Counter[int](), list[Sample](), 0.0
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
                samples.append(Sample(memory_mb(), disk_mb(workspace), lag_s(client)))
                if time.monotonic() - told_s >= 60.0:
                    told_s = time.monotonic()
                    print(samples[-1], dict(statuses), killer.killed, flush=True)
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
    middle, end = (thirds(samples, each) for each in (1, 2))
    lags_s = sorted(sample.lag_s for sample in samples if sample.lag_s is not None)
    print(f"{sent} seconds of pings, {killer.killed} killed, answers {dict(statuses)}")
    print(f"means of the middle and last third: {middle}, {end}")
    print(f"lag p50 {lags_s[len(lags_s) // 2]:.2f} s, p95 {lags_s[int(0.95 * len(lags_s))]:.2f} s")
    assert end.memory_mb < 1.1 * middle.memory_mb
    assert end.disk_mb < 1.1 * middle.disk_mb
    assert lags_s[len(lags_s) // 2] < 3.0


class Sample(NamedTuple):
    """Of all processes together, of all files together, and how old the engine's last round is."""

    memory_mb: float
    disk_mb: float
    lag_s: float | None


def thirds(samples: list[Sample], which: int) -> Sample:
    """The means of a third of the run."""
    third = len(samples) // 3
    part = samples[which * third : (which + 1) * third]
    lags_s = [sample.lag_s for sample in part if sample.lag_s is not None]
    return Sample(mean(s.memory_mb for s in part), mean(s.disk_mb for s in part), mean(lags_s))


def lag_s(client: httpx.Client) -> float | None:
    try:
        scored_at = client.get("/v1/summary").json()["checkpoint"]["scored_at"]
    except (httpx.HTTPError, KeyError):
        return None
    return (wall_now_us() - from_rfc3339(scored_at)) / US


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
