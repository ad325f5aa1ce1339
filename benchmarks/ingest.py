"""Ingest over HTTP: batches of lines to the running service, each on disk before it is answered."""

from __future__ import annotations

import atexit
import http.client
import os
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson

from benchmarks.fleet import Fleet, build
from benchmarks.harness import Benchmark, Took, Work
from pipelines.demo import free_port
from serving.supervisor import running_service
from serving.times import to_rfc3339, wall_now_us

BATCH, BATCHES = 1_000, 20
EVENTS_PER_S = 10_000
LINES = {"Content-Type": "application/x-ndjson"}


def _bodies(turn: int) -> list[bytes]:
    """Batches of pings that nobody has sent before, as a fleet of 500 vehicles sends them."""
    at = to_rfc3339(wall_now_us())
    first = turn * BATCH * BATCHES
    return [
        b"\n".join(_ping(number, at) for number in range(start, start + BATCH))
        for start in range(first, first + BATCH * BATCHES, BATCH)
    ]


def _ping(number: int, at: str) -> bytes:
    vehicle = number % 500
    ping = {
        "type": "pings",
        "event_id": f"bench-{number}",
        "occurred_at": at,
        "vehicle_id": f"other-{vehicle}",
        "lat": 50.8 + vehicle * 1e-4,
        "lon": 4.3 + number % 997 * 1e-4,
        "speed_mps": 7.5,
    }
    return orjson.dumps(ping)


def _prepare(_: Path) -> tuple[Work, Work | None]:
    """The service, and beside it the disk alone: the same bytes to a file, with an fsync after each batch."""
    stack = ExitStack()
    atexit.register(stack.close)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="punctual-bench-")))
    workspace = build(folder / "w", Fleet(vehicles=2))
    workspace.settings.write_text('[serving]\nclock = "wall"\n')
    url = stack.enter_context(running_service(workspace, free_port(), output=folder / "service.log"))
    turns = iter(range(10**6))
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60.0)
    file = stack.enter_context((folder / "peer.log").open("ab", buffering=0))
    prepared: dict[str, list[bytes]] = {"ours": _bodies(next(turns)), "peer": _bodies(0)}

    def ours() -> Any:
        bodies, prepared["ours"] = prepared["ours"], []
        started_s = time.perf_counter()
        for body in bodies:
            connection.request("POST", "/v1/events", body=body, headers=LINES)
            answer = connection.getresponse()
            said = orjson.loads(answer.read())
            assert (answer.status, said["accepted"]) == (202, BATCH), said
        took_s = time.perf_counter() - started_s
        prepared["ours"] = _bodies(next(turns))
        return Took(took_s)

    def peer() -> Any:
        started_s = time.perf_counter()
        for body in prepared["peer"]:
            for line in body.split(b"\n"):
                orjson.loads(line)
            file.write(body)
            os.fsync(file.fileno())
        return Took(time.perf_counter() - started_s)

    return ours, peer


def _figures(ours_s: float, _: float | None) -> dict[str, Any]:
    return {"events_per_s": BATCH * BATCHES / ours_s, "batch_ms": ours_s / BATCHES * 1e3}


BENCHMARKS = (
    Benchmark(
        name="ingest",
        reach=f"NDJSON batches of {BATCH:,}, fsynced: >= {EVENTS_PER_S:,} events/s",
        prepare=_prepare,
        met=lambda ratio, figures: figures["events_per_s"] >= EVENTS_PER_S,
        peer="the same lines parsed and written to a file, with an fsync after each batch",
        figures=_figures,
    ),
)
