"""The calls that read: forecasts as the engine last made them, routes, and where the service stands."""

from __future__ import annotations

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from serving.api.runtime import Runtime
from serving.engine.forecasts import ModelName
from serving.http import wire
from serving.http.asking import limit_of, runtime_of
from serving.http.endpoint import LIMIT, Endpoint
from serving.http.keys import Scope
from serving.http.problems import ProblemError, unknown
from serving.http.responses import JSON, joined
from serving.times import to_rfc3339_or_none

DEFAULT_LIMIT = 100


def stop_eta(request: Request) -> Response:
    """The latest forecast of a stop."""
    runtime, stop_id = runtime_of(request), request.path_params["stop_id"]
    body = runtime.latest(stop_id)
    if body is None:
        raise _not_scored(runtime, stop_id)
    return JSON(body)


def stop_history(request: Request) -> Response:
    """How the forecast of a stop moved, the newest first."""
    runtime, stop_id = runtime_of(request), request.path_params["stop_id"]
    kept = runtime.ops.history(stop_id, _limit(request))
    if not kept:
        raise _not_scored(runtime, stop_id)
    return joined("forecasts", kept, stop_id=stop_id)


def route_eta(request: Request) -> Response:
    """The latest forecasts of the stops that a route still has to reach."""
    runtime, route_id = runtime_of(request), request.path_params["route_id"]
    remaining = runtime.eta.remaining(route_id)
    rows = runtime.ops.forecasts(remaining)
    runtime.served.keep(rows)
    return joined("forecasts", [body for _, body, *_ in rows], route_id=route_id)


def routes(request: Request) -> Response:
    """Live routes."""
    rows = runtime_of(request).ops.route_overview(_limit(request))
    return JSON(
        {
            "routes": [
                {
                    "route_id": row["route_id"],
                    "touched_at": to_rfc3339_or_none(row["touched_us"]),
                    "scored_at": to_rfc3339_or_none(row["scored_us"]),
                    "slip_s": row["whole_slip_s"],
                    "open_alerts": row["open_alerts"],
                    "next_stop_id": row["next_stop_id"],
                }
                for row in rows
            ]
        }
    )


def summary(request: Request) -> Response:
    """Where the log ends, how far the engine is, and what it holds."""
    runtime = runtime_of(request)
    checkpoint, head = runtime.ops.checkpoint(), runtime.log.last()
    model = runtime.champion.model
    return JSON(
        {
            "clock": runtime.settings.clock.value,
            "log": {"seq": head.seq, "received_at": _instant(head.received_us)},
            "checkpoint": {
                "seq": checkpoint.seq,
                "as_of": _instant(checkpoint.as_of_us),
                "scored_at": _instant(checkpoint.scored_us),
            },
            "behind": max(0, head.seq - checkpoint.seq),
            "model": None if model is None else ModelName.of(model).document(),
            "counts": runtime.ops.counts(),
        }
    )


READ_CALLS = (
    Endpoint(
        method="GET",
        path="/v1/stops/{stop_id}/eta",
        scope=Scope.READ,
        handle=stop_eta,
        name="stopEta",
        summary="The latest forecast of a stop",
        answer=wire.Forecast,
        refusals=(404,),
    ),
    Endpoint(
        method="GET",
        path="/v1/stops/{stop_id}/history",
        scope=Scope.READ,
        handle=stop_history,
        name="stopHistory",
        summary="How the forecast of a stop moved",
        answer=wire.StopHistory,
        refusals=(404, 422),
        query=(LIMIT,),
    ),
    Endpoint(
        method="GET",
        path="/v1/routes/{route_id}/eta",
        scope=Scope.READ,
        handle=route_eta,
        name="routeEta",
        summary="The latest forecasts of a route",
        answer=wire.RouteEta,
        refusals=(404,),
    ),
    Endpoint(
        method="GET",
        path="/v1/routes",
        scope=Scope.READ,
        handle=routes,
        name="routes",
        summary="Live routes",
        answer=wire.RouteList,
        refusals=(422,),
        query=(LIMIT,),
    ),
    Endpoint(
        method="GET",
        path="/v1/summary",
        scope=Scope.READ,
        handle=summary,
        name="summary",
        summary="Where the service stands",
        answer=wire.Summary,
    ),
)


def _limit(request: Request) -> int:
    return limit_of(request, runtime_of(request).settings.limits.rows, DEFAULT_LIMIT)


def _instant(at_us: int) -> str | None:
    return to_rfc3339_or_none(at_us or None)


def _not_scored(runtime: Runtime, stop_id: str) -> ProblemError:
    if not runtime.ops.routes_of_stops([stop_id]):
        return unknown("stop", stop_id)
    detail = f"stop {stop_id!r} is known but not scored yet; POST /v1/eta scores it now"
    return ProblemError(HTTPStatus.NOT_FOUND, "not-scored-yet", detail)
