"""The call that makes a served forecast again: what it was made of, and whether it still comes out the same."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus

import orjson
from starlette.requests import Request
from starlette.responses import Response

from data_contracts.errors import NoLongerKeptError, UnknownIdError
from serving.api.runtime import Runtime
from serving.engine.explain import explained
from serving.engine.scoring import Forecaster
from serving.http import wire
from serving.http.asking import runtime_of
from serving.http.endpoint import Endpoint
from serving.http.keys import Scope
from serving.http.problems import ProblemError
from serving.http.responses import JSON
from serving.http.turns import ON_THE_SPOT

#: What it counts for in the line of those that are scored: it is done aside, since another model may have to be read.
AS_MANY_STOPS = ON_THE_SPOT + 1


async def prediction(request: Request) -> Response:
    """A forecast by its id, made again from what was kept of it."""
    runtime, prediction_id = runtime_of(request), request.path_params["prediction_id"]
    return JSON(await runtime.turns.take(AS_MANY_STOPS, partial(_explained, runtime, prediction_id)))


def _explained(runtime: Runtime, prediction_id: str) -> bytes:
    try:
        found = explained(runtime.ops, runtime.workspace.served, prediction_id, partial(_model, runtime))
    except NoLongerKeptError as error:
        raise ProblemError(HTTPStatus.GONE, "no-longer-kept", str(error)) from None
    except UnknownIdError as error:
        raise ProblemError(HTTPStatus.NOT_FOUND, "unknown-prediction", str(error)) from None
    return orjson.dumps(found.as_json())


def _model(runtime: Runtime, version: str) -> Forecaster:
    champion = runtime.champion
    model = champion.model if version == champion.version else runtime.shelf.get(version)
    if model is None:
        detail = f"version {version} of the model can no longer be loaded"
        raise ProblemError(HTTPStatus.GONE, "model-no-longer-kept", detail)
    return model


PREDICTION_CALLS = (
    Endpoint(
        method="GET",
        path="/v1/predictions/{prediction_id}",
        scope=Scope.READ,
        handle=prediction,
        name="prediction",
        summary="A served forecast, made again",
        meaning=(
            "The forecast made again from what was kept of it, and whether it comes out as it was served, to the last "
            "digit. What somebody was told of (an alert, a new window) is kept longest, `[serving.retention] told_s`, "
            "90 days; forecasts that only passed for `forecasts_s`, 7 days; what a request scored or read for "
            "`[serving.served] keep_s`, a day; each within a bound in bytes. After that the answer is 410, and says "
            "how far back it goes."
        ),
        answer=wire.Explanation,
        refusals=(404, 410, 503),
    ),
)
