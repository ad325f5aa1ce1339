"""The engine at work: events through features, scoring and decisions, and from an event to a forecast that is read."""

from __future__ import annotations

import atexit
import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import orjson
import psutil

from benchmarks.fleet import Fleet, build, engine_of, tick
from benchmarks.harness import Benchmark, Took, Work
from data_contracts.workspace import Workspace
from pipelines.demo import free_port
from serving.engine.history import DAY_S, spans
from serving.storage.database import connect_to_read
from serving.storage.log import Clock, EventLog, NewEvent
from serving.supervisor import running_service
from serving.times import US, from_rfc3339, to_rfc3339, wall_now_us
from serving.upkeep.compaction import snapshots

VEHICLES, PING_EVERY_S = 500, 5
SECONDS_OF_LOG = 40
THROUGHPUT_PER_S, EVENT_P50_S, EVENT_P95_S = 500, 1.0, 3.0
#: A run of ten minutes is for when it matters: PUNCTUAL_BENCH_MINUTES=10.
MINUTES = float(os.environ.get("PUNCTUAL_BENCH_MINUTES", "1"))
GROWTH = 1.05
SNAPSHOTS, FULL_WITHIN_S = 2, 900.0
#: What is kept in a run is a fifth of it, so that everything that is kept has been full for a while in its middle.
KEPT_S = MINUTES * 60.0 / 5.0
SHORT_RETENTION = f"""
[serving]
workers = 1
[serving.cadence]
sweep_s = 5
keep_history_s = {KEPT_S}
keep_events = 1000
[serving.retention]
log_s = {KEPT_S}
every_s = {max(15.0, KEPT_S / 4)}
snapshot_s = {max(15.0, KEPT_S / 2)}
snapshots = {SNAPSHOTS}
archive = false
forecasts_s = {KEPT_S}
told_s = {KEPT_S}
"""


@cache
def _built() -> Path:
    """A fleet of which every vehicle has 60 stops left; workspaces are copied from it."""
    folder = Path(tempfile.mkdtemp(prefix="punctual-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    build(folder / "w", Fleet(vehicles=VEHICLES))
    return folder / "w"


def a_second(fleet: Fleet, second: int, at_us: int) -> Iterator[NewEvent]:
    """The pings of a fifth of the fleet."""
    for n in range(second % PING_EVERY_S, fleet.vehicles, PING_EVERY_S):
        yield fleet.ping(n, at_us + n * 1_000, 1_000 + second)


def _prepare_throughput(folder: Path) -> tuple[Work, None]:
    fleet, runs = Fleet(vehicles=VEHICLES), iter(range(100))

    def ours() -> Took:
        workspace = Workspace(Path(shutil.copytree(_built(), folder / f"w{next(runs)}")))
        log = EventLog(workspace.log, Clock.LOG)
        engine, start_us = engine_of(workspace, log), log.last().received_us
        for second in range(SECONDS_OF_LOG):
            at_us = start_us + second * US
            log.append([*a_second(fleet, second, at_us), tick(at_us + US - 1)])
        started_s = time.process_time()
        while engine.step(1 + VEHICLES // PING_EVERY_S):
            pass
        took_s = time.process_time() - started_s
        log.close()
        shutil.rmtree(workspace.root)
        return Took(took_s)

    return ours, None


def _wire(event: NewEvent) -> dict[str, Any]:
    body = {name: value for name, value in event.body.items() if name != "occurred_at"}
    return {
        "type": event.type,
        "event_id": event.event_id,
        "occurred_at": to_rfc3339(int(event.body["occurred_at"])),
        **body,
    }


class Feed:
    """Sends each second's pings over HTTP until stopped; a patient one sends again what was not acknowledged."""

    def __init__(self, url: str, fleet: Fleet, patient: bool = False) -> None:
        self._url, self._fleet, self._stop = url, fleet, threading.Event()
        self._patient = patient
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.sent_at_s: dict[int, float] = {}
        self.slowest_s = 0.0

    def __enter__(self) -> Feed:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        headers = {"content-type": "application/x-ndjson"}
        with httpx.Client(base_url=self._url, timeout=30.0, headers=headers) as client:
            begun_s, second = time.monotonic(), 0
            while not self._stop.wait(max(0.0, begun_s + second - time.monotonic())):
                now_us = wall_now_us()
                rows = [_wire(event) for event in a_second(self._fleet, second, now_us - US)]
                sent_s = time.monotonic()
                self.sent_at_s[second] = sent_s
                self._send(client, b"\n".join(map(orjson.dumps, rows)))
                self.slowest_s = max(self.slowest_s, time.monotonic() - sent_s)
                second += 1

    def _send(self, client: httpx.Client, body: bytes) -> None:
        while True:
            try:
                client.post("/v1/events", content=body).raise_for_status()
                return
            except httpx.HTTPError:
                if not self._patient or self._stop.wait(0.2):
                    raise


def _seen_after_s(client: httpx.Client, fleet: Fleet, feed: Feed, second: int) -> float:
    """From sending a second's events to the first forecast, of one of its next stops, that knows them."""
    vehicle = second % PING_EVERY_S + PING_EVERY_S * (second % (fleet.vehicles // PING_EVERY_S))
    sent_us = wall_now_us() - int((time.monotonic() - feed.sent_at_s[second]) * US)
    path = f"/v1/stops/S-1-{vehicle}-{fleet.done + 2}/eta"
    for _ in range(1_000):
        answer = client.get(path)
        if answer.status_code == 200 and from_rfc3339(answer.json()["as_of"]) >= sent_us:
            return time.monotonic() - feed.sent_at_s[second]
        time.sleep(0.05)
    raise TimeoutError(f"no forecast came after the events of second {second}")


@contextmanager
def _live() -> Iterator[tuple[str, Workspace, Fleet]]:
    """A fleet that is under way now, served by the wall's clock."""
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="punctual-bench-")))
        fleet = Fleet(vehicles=VEHICLES, at_us=wall_now_us() - 300 * US)
        workspace = build(root / "w", fleet)
        workspace.settings.write_text(SHORT_RETENTION)
        output = root / "service.log"
        yield stack.enter_context(running_service(workspace, free_port(), output=output)), workspace, fleet


def _measure_event_to_stream(_: Path) -> dict[str, Any]:
    waits: list[float] = []
    sizes: list[tuple[float, float]] = []
    with (
        _live() as (url, workspace, fleet),
        httpx.Client(base_url=url, timeout=30.0) as client,
        Feed(url, fleet) as feed,
    ):
        _until_it_keeps_up(client)
        _until_it_is_full(workspace)
        until_s, last = time.monotonic() + MINUTES * 60.0, -1
        while time.monotonic() < until_s:
            second = max(feed.sent_at_s)
            if second != last:
                waits.append(_seen_after_s(client, fleet, feed, second))
                sizes.append((memory_mb(), disk_mb(workspace)))
                last = second
            time.sleep(0.05)
        costs = _costs(workspace)
    waits.sort()
    middle, end = (_largest(sizes, share) for share in ((0.4, 0.7), (0.7, 1.0)))
    (memory, disk), (memory_end, disk_end) = middle, end
    return {
        "samples": len(waits),
        "event_p50_s": statistics.median(waits),
        "event_p95_s": waits[int(0.95 * len(waits))],
        "slowest_answer_s": feed.slowest_s,
        "memory_mb": memory_end,
        "memory_growth": memory_end / memory,
        "disk_mb": disk_end,
        "disk_growth": disk_end / disk,
        "minutes": MINUTES,
        **costs,
    }


def _largest(sizes: list[tuple[float, float]], share: tuple[float, float]) -> tuple[float, float]:
    """Memory and disk at their largest in a part of the run, since files go up and down with every clean-up."""
    begin, end = (int(each * len(sizes)) for each in share)
    part = sizes[begin:end]
    return max(memory for memory, _ in part), max(disk for _, disk in part)


def _costs(workspace: Workspace) -> dict[str, float]:
    """What an event and a kept forecast cost, in bytes, and what that makes a day of 24 hours at this rate."""
    with closing(connect_to_read(workspace.log)) as log, closing(connect_to_read(workspace.ops)) as ops:
        pages, free, page = (
            log.execute(f"PRAGMA {each}").fetchone()[0]
            for each in ("page_count", "freelist_count", "page_size")
        )
        records, log_us = log.execute(
            "SELECT count(*), max(received_us) - min(received_us) FROM log"
        ).fetchone()
        kept, kept_us = ops.execute(
            "SELECT count(*), max(as_of_us) - min(as_of_us) FROM forecast_place"
        ).fetchone()
        history = sum(span.size_bytes for span in spans(ops).values())
    log_bytes = (pages - free) * page / records
    return {
        "log_bytes_an_event": log_bytes,
        "log_mb_a_day": log_bytes * records / (log_us / US) * DAY_S / 1e6,
        "bytes_a_kept_forecast": history / kept,
        "history_mb_a_day": history / (kept_us / US) * DAY_S / 1e6,
    }


def _until_it_keeps_up(client: httpx.Client) -> None:
    """Wait until the engine scores in the present: it has started, and taken up what came meanwhile."""
    for _ in range(1_000):
        scored_at = client.get("/v1/summary").json()["checkpoint"]["scored_at"]
        if scored_at and wall_now_us() - from_rfc3339(scored_at) < 3 * US:
            return
        time.sleep(0.3)
    raise TimeoutError("the engine did not keep up with the events")


def _until_it_is_full(workspace: Workspace) -> None:
    """Wait until as many snapshots are kept as ever will be: only then can files be as large as they get."""
    deadline_s = time.monotonic() + FULL_WITHIN_S
    while len(snapshots(workspace)) < SNAPSHOTS:
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"{SNAPSHOTS} snapshots were not made within {FULL_WITHIN_S:.0f} s")
        time.sleep(1.0)


def memory_mb() -> float:
    """Of every process that this one started."""
    total = 0
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            total += process.memory_info().rss
    return total / 2**20


def disk_mb(workspace: Workspace) -> float:
    """Of every file of a workspace, as much as the disk holds of it: files that count have holes."""
    total = 0
    for path in workspace.root.rglob("*"):
        with suppress(OSError):
            total += path.stat().st_blocks * 512 if path.is_file() and not path.is_symlink() else 0
    return total / 2**20


def _met_event_to_stream(_: float | None, figures: dict[str, Any]) -> bool:
    flat = figures["memory_growth"] <= GROWTH and figures["disk_growth"] <= GROWTH
    return figures["event_p50_s"] <= EVENT_P50_S and figures["event_p95_s"] <= EVENT_P95_S and flat


BENCHMARKS = (
    Benchmark(
        name="engine_throughput",
        reach=">= 500 events/s on one core, 60 stops left a vehicle, a tick a second",
        prepare=_prepare_throughput,
        met=lambda ratio, figures: figures["events_per_cpu_s"] >= THROUGHPUT_PER_S,
        figures=lambda ours, theirs: {
            "events_per_cpu_s": SECONDS_OF_LOG * (VEHICLES / PING_EVERY_S) / ours,
            "cpu_s_a_tick": ours / SECONDS_OF_LOG,
        },
        runs=2,
    ),
    Benchmark(
        name="event_to_stream",
        reach="500 vehicles: p50 <= 1 s, p95 <= 3 s, memory and disk flat (PUNCTUAL_BENCH_MINUTES=10)",
        prepare=lambda _: (lambda: Took(0.0), None),
        met=_met_event_to_stream,
        measure=_measure_event_to_stream,
        runs=1,
    ),
)
