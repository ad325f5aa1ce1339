"""Figures for Prometheus, read from the log and the operational store when asked for."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from serving.endpoint import Endpoint
from serving.keys import Scope
from serving.runtime import Runtime
from serving.times import US

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def metrics(request: Request) -> Response:
    """What Prometheus collects."""
    return PlainTextResponse(figures(request.app.state.runtime), media_type=MEDIA_TYPE)


def figures(runtime: Runtime) -> str:
    """Prometheus text format: every worker tells the same."""
    head, checkpoint = runtime.log.last(), runtime.ops.checkpoint()
    counts = runtime.ops.counts()
    gauges = {
        "punctual_log_records": ("Sequence of the last record of the log.", head.seq),
        "punctual_engine_behind_records": ("Records not yet applied.", max(0, head.seq - checkpoint.seq)),
        "punctual_engine_behind_seconds": (
            "Log time between the last record and the last one applied.",
            max(0, head.received_us - checkpoint.as_of_us) / US if checkpoint.as_of_us else 0,
        ),
        "punctual_model_ready": ("Whether a model serves.", int(runtime.is_ready)),
        **{f"punctual_{name}": (f"Count of {name.replace('_', ' ')}.", n) for name, n in counts.items()},
    }
    return "".join(
        f"# HELP {name} {text}\n# TYPE {name} gauge\n{name} {value}\n"
        for name, (text, value) in gauges.items()
    )


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
