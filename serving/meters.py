"""What is counted and timed while the service runs: API workers, engine and sender, told on one page.

Each process counts into files of its own in the folder that ``PUNCTUAL_METRICS`` names, and whichever worker is asked
adds them up; without the folder, as in tests, a process tells of itself alone. A meter is made when it is first
used, since making one opens its file.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

METRICS_VARIABLE = "PUNCTUAL_METRICS"
#: Where the library looks for the folder, each time it makes a meter; BentoML sets it to one of its own.
_LIBRARY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
CALL_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LAG_S = (0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Meters:
    """The meters of this process."""

    registry: CollectorRegistry
    call_s: Histogram
    calls: Counter
    rows: Counter
    steps_s: Histogram
    records: Counter
    stops: Counter
    event_to_forecast_s: Histogram
    engine_starts: Counter
    attempts: Counter
    streams: Gauge
    waiting: Gauge


@cache
def meters() -> Meters:
    """The meters, made once a process."""
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

    registry = CollectorRegistry()

    def counter(name: str, text: str, *labels: str) -> Counter:
        return Counter(f"punctual_{name}", text, labels, registry=registry)

    def gauge(name: str, text: str) -> Gauge:
        return Gauge(f"punctual_{name}", text, multiprocess_mode="livesum", registry=registry)

    def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"punctual_{name}", text, labels, buckets=buckets, registry=registry)

    return Meters(
        registry=registry,
        call_s=histogram("call_seconds", "From a request to the beginning of its answer.", CALL_S, "call"),
        calls=counter("calls", "Answers by call and status.", "call", "status"),
        rows=counter("ingested_rows", "Rows that were sent to POST /v1/events, by verdict.", "verdict"),
        steps_s=histogram("engine_step_seconds", "One micro-batch of the engine, committed.", LAG_S),
        records=counter("engine_records", "Records that the engine applied."),
        stops=counter("engine_scored_stops", "Forecasts that the engine committed."),
        event_to_forecast_s=histogram(
            "event_to_forecast_seconds",
            "From the reception of a route's newest event to the commit of a forecast that knows it.",
            LAG_S,
        ),
        engine_starts=counter("engine_starts", "How often the engine was started since the service was."),
        attempts=counter(
            "webhook_attempts", "Deliveries to webhooks that were tried, by outcome.", "outcome"
        ),
        streams=gauge("streams", "Open event streams."),
        waiting=gauge("scoring_waiting", "Requests that are scored or wait for it, in all workers."),
    )


def count_into_folder() -> None:
    """Count where the service's other processes do; called first by every process of a service."""
    if folder := os.environ.get(METRICS_VARIABLE):
        Path(folder).mkdir(parents=True, exist_ok=True)
        os.environ[_LIBRARY_VARIABLE] = folder


def counted() -> bytes:
    """What all processes counted, in Prometheus' text format."""
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    folder = os.environ.get(METRICS_VARIABLE)
    if not folder:
        return generate_latest(meters().registry)
    _forget_the_dead(Path(folder))
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=folder)
    return generate_latest(registry)


def _forget_the_dead(folder: Path) -> None:
    """Drop what processes that ended said of their present; what they counted stays."""
    for file in folder.glob("gauge_live*_*.db"):
        pid = file.stem.rpartition("_")[2]
        if pid.isdigit() and not _is_alive(int(pid)):
            file.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
