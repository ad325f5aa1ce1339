"""The call that scores now: stops by id, a route by id, or a route that the caller brings along."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from serving.api.runtime import Runtime
from serving.http import wire
from serving.http.asking import model_of
from serving.http.body import body_of
from serving.http.endpoint import Body, Endpoint
from serving.http.keys import Scope
from serving.http.problems import ProblemError
from serving.http.responses import JSON
from serving.http.wire import EtaRequest
from serving.times import to_rfc3339

#: What a whole route counts for while nobody has looked how many stops it has left.
STOPS_OF_A_ROUTE = 60


async def post_eta(request: Request) -> Response:
    """Score now, when the worker has a turn to give."""
    runtime: Runtime = request.app.state.runtime
    limits = runtime.settings.limits
    asked = _asked(await body_of(request, limits.body_bytes), limits.stops)
    stops = len(asked.stop_ids or asked.stops or ()) or STOPS_OF_A_ROUTE
    return JSON(await runtime.turns.take(stops, lambda: orjson.dumps(_score(runtime, asked))))


def _score(runtime: Runtime, asked: EtaRequest) -> dict[str, Any]:
    as_of_us = runtime.now_us()
    if not as_of_us:
        detail = "with clock = 'log', time begins with the first event; none was received yet"
        raise ProblemError(HTTPStatus.CONFLICT, "no-time-yet", detail)
    if asked.stop_ids is not None:
        forecasts = runtime.eta.of_stops(asked.stop_ids, as_of_us, asked.reasons)
    elif asked.route_id is not None:
        forecasts = runtime.eta.of_route(asked.route_id, as_of_us, asked.reasons)
    else:
        route, stops = asked.route or {}, asked.stops or []
        forecasts = runtime.eta.of_inline(route, stops, asked.events, as_of_us, asked.reasons)
    return {"as_of": to_rfc3339(as_of_us), "forecasts": forecasts}


def _asked(body: bytes, most_stops: int) -> EtaRequest:
    asked = model_of(EtaRequest, body)
    count = len(asked.stop_ids or asked.stops or ())
    if count > most_stops:
        detail = f"{count} stops in one request; send at most {most_stops}"
        raise ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-many-stops", detail)
    return asked


QUESTION = {"stop_ids": ["S-17", "S-99"], "reasons": True}
SCORING_CALLS = (
    Endpoint(
        method="POST",
        path="/v1/eta",
        scope=Scope.READ,
        handle=post_eta,
        name="score",
        summary="Score stops now",
        body=Body(content={"application/json": wire.EtaRequest}, examples={"application/json": QUESTION}),
        meaning="A forecast or an error for each stop.",
        answer=wire.EtaAnswer,
        refusals=(400, 404, 408, 409, 413, 415, 422, 503),
    ),
)
