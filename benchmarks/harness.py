"""How a benchmark is run and told: interleaved repetitions, medians, and the ratio to the peer."""

from __future__ import annotations

import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

REPORTS = Path("reports") / "bench"
RUNS = 5

Work = Callable[[], Any]


class Took(float):
    """Seconds that a work has measured itself, where its whole run says nothing: a latency, or CPU time."""


class Skipped(Exception):
    """A benchmark cannot run here, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one benchmark found; ``ratio`` is our median time by the peer's: below 1 is faster."""

    name: str
    ratio: float | None
    median_s: float
    peer: str | None
    peer_median_s: float | None
    runs: int
    figures: dict[str, Any]
    reach: str
    met: bool
    machine: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """Work, the peer that does the same work, and the reach that the ratio or figures are held against.

    prepare : gives the work and the peer's work, None where there is no peer, in a folder of its own
    figures : other numbers, from the medians of both
    measure : numbers that take a run of their own, in the folder after the repetitions
    """

    name: str
    reach: str
    prepare: Callable[[Path], tuple[Work, Work | None]]
    met: Callable[[float | None, Mapping[str, Any]], bool]
    peer: str | None = None
    figures: Callable[[float, float | None], dict[str, Any]] = field(default=lambda ours, theirs: {})
    measure: Callable[[Path], dict[str, Any]] = field(default=lambda folder: {})
    runs: int = RUNS


def run(benchmark: Benchmark, tell: Callable[[str], None]) -> Result:
    """One warm-up of each side, then both in turn."""
    ours: list[float] = []
    theirs: list[float] = []
    with tempfile.TemporaryDirectory(prefix="punctual-bench-") as folder:
        tell(f"{benchmark.name}: preparing")
        work, peer = benchmark.prepare(Path(folder))
        for repetition in range(benchmark.runs + 1):
            tell(f"{benchmark.name}: {repetition} of {benchmark.runs}")
            mine, other = seconds(work), seconds(peer) if peer else None
            if repetition:
                ours.append(mine)
                theirs += [other] if other is not None else []
        measured = benchmark.measure(Path(folder))
    median_s = statistics.median(ours)
    peer_s = statistics.median(theirs) if theirs else None
    ratio = median_s / peer_s if peer_s else None
    figures = benchmark.figures(median_s, peer_s) | measured
    return Result(
        name=benchmark.name,
        ratio=ratio,
        median_s=median_s,
        peer=benchmark.peer,
        peer_median_s=peer_s,
        runs=benchmark.runs,
        figures=figures,
        reach=benchmark.reach,
        met=benchmark.met(ratio, figures),
        machine=machine(),
    )


def seconds(work: Work) -> float:
    started = time.perf_counter()
    result = work()
    return result if isinstance(result, Took) else time.perf_counter() - started


def write(result: Result) -> Path:
    """Keep a result as ``reports/bench/<name>.json``."""
    REPORTS.mkdir(parents=True, exist_ok=True)
    path = REPORTS / f"{result.name}.json"
    path.write_text(json.dumps(asdict(result), indent=2) + "\n")
    return path


def machine() -> str:
    """What it ran on, without naming it."""
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {memory_gb:.0f} GB, Python {platform.python_version()}, {platform.machine()}"
