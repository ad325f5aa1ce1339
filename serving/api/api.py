"""The HTTP API of one workspace: a Starlette app that BentoML mounts, and that tests call in process."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route

from data_contracts.events import WIRE_EVENTS
from data_contracts.workspace import Workspace
from serving.api.calls import READ_CALLS
from serving.api.figures import FIGURE_CALLS
from serving.api.incident_calls import INCIDENT_CALLS
from serving.api.ingest import REJECTED, ingest, rows_of
from serving.api.map_calls import MAP_CALLS
from serving.api.openapi import document_routes
from serving.api.pages import page_routes
from serving.api.prediction_calls import PREDICTION_CALLS
from serving.api.route_calls import ROUTE_CALLS
from serving.api.runtime import Runtime, open_runtime, serving
from serving.api.scoring_calls import SCORING_CALLS
from serving.api.session_calls import SESSION_CALLS
from serving.api.silence_calls import SILENCE_CALLS
from serving.api.stream import STREAM_CALLS
from serving.api.today import TODAY_CALLS
from serving.api.track_calls import TRACK_CALLS
from serving.customers.calls import CUSTOMER_CALLS
from serving.engine.models import Load, load_forecaster
from serving.http import wire
from serving.http.access import Access, caller_of
from serving.http.body import body_of
from serving.http.endpoint import Body, Endpoint, routes_of, schema_of
from serving.http.key_file import KeyRing
from serving.http.keys import Scope
from serving.http.problems import ProblemError, on_failure, on_http_error, on_problem, problem
from serving.http.rates import Rates
from serving.http.responses import JSON
from serving.http.signing import Signer
from serving.meters import meters
from serving.settings import ServiceSettings
from serving.storage.database import is_full
from serving.storage.log import Clock, Verdict
from serving.times import wall_now_us
from serving.webhooks.calls import WEBHOOK_CALLS


def create_app(workspace: Workspace, settings: ServiceSettings, load: Load = load_forecaster) -> Starlette:
    """The API of a workspace; nothing is opened before the app's lifespan begins."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        runtime = await run_in_threadpool(open_runtime, workspace, settings, load)
        async with serving(runtime):
            app.state.runtime = runtime
            yield

    app = Starlette(
        routes=[
            *routes_of(ENDPOINTS),
            *document_routes(ENDPOINTS),
            *page_routes(),
            Route("/v1/{path:path}", unknown_path, methods=METHODS),
        ],
        exception_handlers={
            ProblemError: on_problem,
            HTTPException: on_http_error,
            sqlite3.OperationalError: on_storage,
            Exception: on_failure,
        },
        lifespan=lifespan,
    )
    app.state.access = Access(
        KeyRing(workspace.keys, wall_now_us),
        Rates(workspace.run / "rates"),
        settings.limits,
        Signer(workspace.signing),
    )
    return app


async def post_events(request: Request) -> Response:
    """Append events to the log; on disk before the answer."""
    runtime: Runtime = request.app.state.runtime
    limits = runtime.settings.limits
    if runtime.settings.clock is Clock.LOG and not caller_of(request).may(Scope.ADMIN):
        detail = (
            "with clock = 'log' events say themselves when they were received, which needs the scope admin"
        )
        raise ProblemError(HTTPStatus.FORBIDDEN, "scope-missing", detail)
    body = await body_of(request, limits.body_bytes)
    verdicts = await run_in_threadpool(_ingest, runtime, body, request.headers.get("content-type", ""))
    counts = Counter(verdict["verdict"] for verdict in verdicts)
    for verdict, count in counts.items():
        meters().rows.labels(verdict).inc(count)
    if counts[REJECTED] == len(verdicts):
        detail = f"none of {len(verdicts)} events was accepted; first: {verdicts[0]['reason']}"
        refused = problem(HTTPStatus.UNPROCESSABLE_ENTITY, "no-event-accepted", detail)
        return JSON(
            refused | {"rows": verdicts},
            HTTPStatus.UNPROCESSABLE_ENTITY,
            media_type="application/problem+json",
        )
    words = (Verdict.ACCEPTED.value, Verdict.DUPLICATE.value, REJECTED)
    return JSON({word: counts[word] for word in words} | {"rows": verdicts}, HTTPStatus.ACCEPTED)


async def unknown_path(request: Request) -> Response:
    """A path of no call, or a call by another method."""
    partial = [route for route in request.app.routes if route.matches(request.scope)[0] is Match.PARTIAL]
    if partial:
        allowed = ", ".join(sorted(set().union(*(route.methods for route in partial))))
        detail = f"{request.url.path} takes {allowed}"
        raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED, detail, headers={"Allow": allowed})
    raise HTTPException(HTTPStatus.NOT_FOUND, f"{request.url.path} is not part of this API; see /docs")


async def on_storage(_: Request, error: Exception) -> JSON:
    """The log or its disk cannot take it now; nothing was acknowledged."""
    status = HTTPStatus.SERVICE_UNAVAILABLE
    kind = "storage-full" if is_full(error) else "storage-busy"
    return JSON(
        problem(status, kind, f"{error}; nothing of this request was stored, send it again"),
        status,
        media_type="application/problem+json",
        headers={"Retry-After": "2"},
    )


def _ingest(runtime: Runtime, body: bytes, content_type: str) -> list[dict[str, Any]]:
    rows = rows_of(body, content_type, runtime.settings.limits.events)
    return ingest(rows, runtime.log, runtime.customers.prefer)


_EVENT = {"oneOf": [schema_of(model) for model in WIRE_EVENTS.values()]}
_EVENTS = {"anyOf": [_EVENT, {"type": "array", "items": _EVENT, "minItems": 1}]}
_LINES = {"type": "string", "description": "One event a line."}
_ARRIVED = {
    "type": "stop_events",
    "event_id": "scan-88123",
    "occurred_at": "2026-03-02T11:59:58Z",
    "route_id": "R-3",
    "stop_id": "S-17",
    "kind": "arrived",
}
_PING = {
    "type": "pings",
    "event_id": "ping-4711",
    "occurred_at": "2026-03-02T11:59:55Z",
    "vehicle_id": "V-3",
    "lat": 50.8466,
    "lon": 4.3528,
}
_TWO_LINES = "\n".join(orjson.dumps(each).decode() for each in (_ARRIVED, _PING))
WRITE_CALLS = (
    Endpoint(
        method="POST",
        path="/v1/events",
        scope=Scope.INGEST,
        handle=post_events,
        name="ingest",
        summary="Append events to the log",
        body=Body(
            content={"application/json": _EVENTS, "application/x-ndjson": _LINES},
            examples={"application/json": _ARRIVED, "application/x-ndjson": _TWO_LINES},
        ),
        status=202,
        meaning=(
            "On disk; a verdict for each row. An `event_id` counts once for as long as the log keeps it: seven days, "
            "or what `[serving.retention] log_s` says. A later event corrects an earlier one: a plan by a higher "
            "`plan_version`, what was told of a stop by `withdrawn` and what really happened."
        ),
        answer=wire.IngestAnswer,
        refusals=(400, 408, 413, 415, 422, 503),
        models=tuple(WIRE_EVENTS.values()),
    ),
)
#: Every call of the API, in the order in which the document tells them.
ENDPOINTS = (
    *WRITE_CALLS,
    *SCORING_CALLS,
    *READ_CALLS,
    *PREDICTION_CALLS,
    *INCIDENT_CALLS,
    *SILENCE_CALLS,
    *MAP_CALLS,
    *ROUTE_CALLS,
    *TODAY_CALLS,
    *SESSION_CALLS,
    *TRACK_CALLS,
    *STREAM_CALLS,
    *WEBHOOK_CALLS,
    *CUSTOMER_CALLS,
    *FIGURE_CALLS,
)
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
