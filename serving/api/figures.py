"""``/metrics``: one page for all processes: where log and engine stand, and what was counted and timed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from serving.api.runtime import Runtime
from serving.engine.heartbeat import silent_s
from serving.engine.history import TOLD
from serving.http.endpoint import Endpoint
from serving.http.keys import Scope
from serving.meters import counted
from serving.times import US, wall_now_us

if TYPE_CHECKING:
    from prometheus_client import Metric

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
COVERAGE_OVER_US = 24 * 3600 * US
#: What ``OpsReader.counts`` counts, as gauges.
COUNTS = {
    "live_routes": "Routes with a stop left to reach.",
    "stops": "Stops that are known.",
    "forecasts": "Stops with a latest forecast.",
    "open_alerts": "Alerts that are open.",
    "alerts": "Alerts that are kept, open or not.",
    "revised_promises": "Promises that were revised at least once.",
    "outbox": "Events in the outbox.",
}


def metrics(request: Request) -> Response:
    """What Prometheus collects."""
    return PlainTextResponse(figures(request.app.state.runtime), media_type=MEDIA_TYPE)


def figures(runtime: Runtime) -> bytes:
    """Prometheus' text format; every worker tells the same."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(State(runtime))
    return generate_latest(registry) + counted()


class State:
    """Figures that are read from the workspace when they are asked for."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def collect(self) -> Iterator[Metric]:
        yield from self._engine()
        yield from self._feeds()
        yield from self._sender()
        yield from self._coverage()
        yield from self._history()
        yield from self._files()
        for name, number in self._runtime.ops.counts().items():
            yield _gauge(name, COUNTS.get(name, f"Count of {name.replace('_', ' ')}."), number)

    def _engine(self) -> Iterator[Metric]:
        head, checkpoint = self._runtime.log.last(), self._runtime.ops.checkpoint()
        behind_us = head.received_us - checkpoint.as_of_us if checkpoint.as_of_us else 0
        yield _gauge("log_records", "Sequence of the last record of the log.", head.seq)
        yield _gauge("engine_behind_records", "Records not yet applied.", max(0, head.seq - checkpoint.seq))
        text = "Log time between the last record and the last one applied."
        yield _gauge("engine_behind_seconds", text, max(0, behind_us) / US)
        text = "Since the engine last gave a sign of life; -1 while none applies the log."
        silence_s = silent_s(self._runtime.workspace.heartbeat)
        yield _gauge("engine_silent_seconds", text, -1.0 if silence_s is None else silence_s)
        yield _gauge("model_ready", "Whether a model serves.", int(self._runtime.has_model))

    def _feeds(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        now_us = self._runtime.log.now_us()
        records = CounterMetricFamily("punctual_log_appended", "Records appended, by type.", labels=["type"])
        ages = GaugeMetricFamily(
            "punctual_feed_age_seconds", "Since the last record of a type was received.", labels=["type"]
        )
        for feed in self._runtime.log.feeds():
            records.add_metric([feed.type], feed.records)
            ages.add_metric([feed.type], max(0, now_us - feed.received_us) / US)
        yield records
        yield ages

    def _sender(self) -> Iterator[Metric]:
        sending = self._runtime.subscriptions.store.figures()
        oldest_us = sending["oldest_pending_us"] or wall_now_us()
        behind = self._runtime.ops.outbox_span()[1] - sending["position"]
        yield _gauge("webhooks", "Webhooks that are sent to.", sending["active_webhooks"])
        yield _gauge("webhooks_disabled", "Webhooks that are not.", sending["disabled_webhooks"])
        yield _gauge("webhook_messages_pending", "Events still to be sent.", sending["pending_messages"])
        yield _gauge("webhook_messages_dead", "Dead letters.", sending["dead_messages"])
        text = "Age of the oldest event that is still to be sent to an active webhook."
        yield _gauge("webhook_oldest_pending_seconds", text, max(0, wall_now_us() - oldest_us) / US)
        text = "Events of the outbox that the sender has not taken."
        yield _gauge("sender_behind_events", text, max(0, behind))

    def _coverage(self) -> Iterator[Metric]:
        """How served windows fared whose stops were reached in the last day."""
        from prometheus_client.core import GaugeMetricFamily

        labels = ["ahead_min"]
        told = {
            "covered": ("live_coverage", "Share of served windows that contained the arrival."),
            "promised": ("promised_coverage", "Share of them that was stated."),
            "windows": ("live_windows", "Windows that were decided in the last day."),
        }
        families = {
            column: GaugeMetricFamily(f"punctual_{name}", text, labels=labels)
            for column, (name, text) in told.items()
        }
        since_us = self._runtime.log.now_us() - COVERAGE_OVER_US
        for row in self._runtime.picture.window_outcomes(since_us):
            for column, family in families.items():
                family.add_metric([str(row["ahead_min"])], float(row[column]))
        yield from families.values()

    def _history(self) -> Iterator[Metric]:
        """How far back served forecasts can be made again."""
        from prometheus_client.core import GaugeMetricFamily

        sizes = GaugeMetricFamily("punctual_history_bytes", "Size of kept forecasts.", labels=["kind"])
        text = "Age of the oldest forecast that is kept."
        ages = GaugeMetricFamily("punctual_history_age_seconds", text, labels=["kind"])
        now_us = self._runtime.log.now_us()
        for kind, span in sorted(self._runtime.ops.history_spans().items()):
            name = "told" if kind == TOLD else "passing"
            sizes.add_metric([name], span.size_bytes)
            if span.since_us is not None:
                ages.add_metric([name], max(0, now_us - span.since_us) / US)
        yield sizes
        yield ages

    def _files(self) -> Iterator[Metric]:
        from prometheus_client.core import GaugeMetricFamily

        workspace = self._runtime.workspace
        sizes = GaugeMetricFamily("punctual_file_bytes", "Size of a workspace's file.", labels=["file"])
        for path in (workspace.log, workspace.ops, workspace.online, workspace.sender):
            for part in (path, path.with_name(f"{path.name}-wal")):
                if part.exists():
                    sizes.add_metric([part.name], part.stat().st_size)
        yield sizes
        text = "Space left on the disk of the workspace."
        yield _gauge("disk_free_bytes", text, shutil.disk_usage(workspace.root).free)


def _gauge(name: str, text: str, value: float) -> Any:
    from prometheus_client.core import GaugeMetricFamily

    return GaugeMetricFamily(f"punctual_{name}", text, value=value)


FIGURE_CALLS = (
    Endpoint(
        method="GET",
        path="/metrics",
        scope=Scope.READ,
        handle=metrics,
        name="metrics",
        summary="Figures for Prometheus",
        answer={"type": "string"},
        media_type="text/plain",
    ),
)
