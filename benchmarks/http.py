"""The ETA API over HTTP beside a bare server that scores the same stops by the same models: both in turn, by `wrk`."""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx

from benchmarks.fleet import Fleet, build
from benchmarks.harness import Benchmark, Skipped, Took, Work
from data_contracts.workspace import Workspace
from pipelines.demo import free_port
from serving.supervisor import ONE_THREAD, running_service

FLEET = Fleet(vehicles=100)
SCRIPT = Path(__file__).with_name("eta.lua")
SETTINGS = '[serving]\nclock = "log"\nworkers = {workers}\n'
RUN_S, BATCH = 4, 500
SINGLE_P50_S, SINGLE_P99_S, SINGLE_RATIO = 0.005, 0.030, 2.0
BATCH_STOPS_PER_S, BATCH_RATIO = 10_000, 1.15
CLIENTS, CONCURRENT_P95_S, CONCURRENT_PER_S = 8, 0.040, 400


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of the load client saw."""

    p50_s: float
    p95_s: float
    p99_s: float
    requests: int
    took_s: float
    failed: int


@dataclass(frozen=True, slots=True)
class Arena:
    """The service and the bare server over workspaces of the same content."""

    ours: str
    bare: str


@cache
def arena() -> Arena:
    """Both servers, until this process ends."""
    if shutil.which("wrk") is None:
        raise Skipped(
            "wrk is not installed, and a load client in Python would be slower than what it measures"
        )
    stack = ExitStack()
    atexit.register(stack.close)
    root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="punctual-bench-")))
    workspace = build(root / "ours", FLEET)
    workspace.settings.write_text(SETTINGS.format(workers=2))
    shutil.copytree(workspace.root, root / "bare")
    bare = stack.enter_context(_Bare(Workspace(root / "bare")))
    ours = stack.enter_context(running_service(workspace, free_port(), output=root / "service.log"))
    return Arena(ours, bare.url)


class _Bare:
    """The bare server as a process."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace, self.url = workspace, ""

    def __enter__(self) -> _Bare:
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        arguments = ["-m", "benchmarks.bare_server", str(self._workspace.root), str(listener.fileno())]
        self._process = subprocess.Popen(
            [sys.executable, *arguments], pass_fds=[listener.fileno()], env={**os.environ, **ONE_THREAD}
        )
        listener.close()
        _until_it_answers(self.url)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)


def _until_it_answers(url: str) -> None:
    for _ in range(300):
        try:
            httpx.post(f"{url}/v1/eta", json={"stop_ids": FLEET.live_stop_ids()[:1]}, timeout=30.0)
            return
        except httpx.TransportError:
            time.sleep(0.2)
    raise TimeoutError(f"{url} did not answer within a minute")


def load(url: str, *, stops: int, clients: int = 1, for_s: float = RUN_S) -> Run:
    """Ask for so many stops a call, one call after the other on each connection."""
    asked = {
        "STOPS": str(stops),
        "VEHICLES": str(FLEET.vehicles),
        "STOPS_FROM": str(FLEET.done + 1),
        "STOPS_TO": str(FLEET.stops),
    }
    command = ["wrk", "-t1", f"-c{clients}", f"-d{for_s}s", "--timeout", "30s", "-s", str(SCRIPT), url]
    done = subprocess.run(command, env={**os.environ, **asked}, capture_output=True, text=True, check=True)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("FIGURES")]
    p50_s, p95_s, p99_s, requests, took_s, failed = map(float, line.split()[1:])
    return Run(p50_s, p95_s, p99_s, int(requests), took_s, int(failed))


def _p50s(stops: int, seen: list[Run]) -> Callable[[Path], tuple[Work, Work | None]]:
    def prepare(_: Path) -> tuple[Work, Work | None]:
        servers = arena()

        def ours() -> Took:
            seen.append(load(servers.ours, stops=stops))
            return Took(seen[-1].p50_s)

        return ours, lambda: Took(load(servers.bare, stops=stops).p50_s)

    return prepare


def _pooled(seen: list[Run]) -> dict[str, Any]:
    """Over all runs but the one to warm up."""
    runs = sorted(seen[1:], key=lambda run: run.p99_s)
    return {
        "p95_ms": max(run.p95_s for run in runs) * 1e3,
        "p99_ms": runs[len(runs) // 2].p99_s * 1e3,
        "per_s": sum(run.requests for run in runs) / sum(run.took_s for run in runs),
        "failed": sum(run.failed for run in runs),
    }


_SINGLE: list[Run] = []
_BATCH: list[Run] = []
_CONCURRENT: list[Run] = []


def _prepare_concurrent(_: Path) -> tuple[Work, None]:
    servers = arena()

    def ours() -> Took:
        _CONCURRENT.append(load(servers.ours, stops=1, clients=CLIENTS))
        return Took(_CONCURRENT[-1].p95_s)

    return ours, None


def _met_single(ratio: float | None, figures: Mapping[str, Any]) -> bool:
    fast = figures["p50_ms"] <= SINGLE_P50_S * 1e3 and figures["p99_ms"] <= SINGLE_P99_S * 1e3
    return fast and ratio is not None and ratio <= SINGLE_RATIO and not figures["failed"]


BENCHMARKS = (
    Benchmark(
        name="http_single",
        reach="p50 <= 5 ms, p99 <= 30 ms, p50 <= 2x the bare server's",
        peer="bare Starlette on uvicorn, the same models and scoring: p50",
        prepare=_p50s(1, _SINGLE),
        met=_met_single,
        figures=lambda ours, theirs: {"p50_ms": ours * 1e3},
        measure=lambda _: _pooled(_SINGLE),
    ),
    Benchmark(
        name="http_batch",
        reach=">= 10,000 stops/s, <= 1.15x the bare server's time",
        peer="bare Starlette on uvicorn, the same models and scoring: p50 of a call of 500 stops",
        prepare=_p50s(BATCH, _BATCH),
        met=lambda ratio, figures: (
            ratio is not None and ratio <= BATCH_RATIO and figures["stops_per_s"] >= BATCH_STOPS_PER_S
        ),
        figures=lambda ours, theirs: {"stops_per_s": BATCH / ours},
        measure=lambda _: _pooled(_BATCH),
    ),
    Benchmark(
        name="http_concurrent",
        reach="8 clients: p95 <= 40 ms, >= 400 requests/s, no error",
        prepare=_prepare_concurrent,
        met=lambda ratio, figures: (
            figures["p95_ms"] <= CONCURRENT_P95_S * 1e3
            and figures["per_s"] >= CONCURRENT_PER_S
            and not figures["failed"]
        ),
        measure=lambda _: _pooled(_CONCURRENT),
    ),
)
