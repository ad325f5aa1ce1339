"""The calls behind a customer's page: whoever holds a signed link may look at one delivery and choose for it."""

from __future__ import annotations

import uuid
from http import HTTPStatus
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from serving.api.track import OPEN_STATES, track_document
from serving.http import wire_rooms
from serving.http.access import Access
from serving.http.asking import runtime_of
from serving.http.body import body_of
from serving.http.endpoint import Body, Endpoint
from serving.http.keys import Scope
from serving.http.problems import ProblemError, unknown, unprocessable
from serving.http.responses import JSON
from serving.http.signing import Purpose, Signer, Void
from serving.storage.changes import Choice, DeliveryChange
from serving.storage.log import NewEvent
from serving.times import US, to_rfc3339, wall_now_us

LARGEST_BODY = 2_000
LONGEST_LINK_S = 30 * 86_400
Asked = TypeVar("Asked", bound=BaseModel)


def make_link(request: Request) -> Response:
    """A link for the customer of a stop."""
    stop_id = request.path_params["stop_id"]
    if runtime_of(request).picture.stop(stop_id) is None:
        raise unknown("stop", stop_id)
    hours = request.query_params.get("hours", "48")
    if not hours.isascii() or not hours.isdigit() or not 1 <= int(hours) * 3600 <= LONGEST_LINK_S:
        raise unprocessable(f"hours: {hours[:20]!r} is not a whole number from 1 to {LONGEST_LINK_S // 3600}")
    access: Access = request.app.state.access
    until_us = wall_now_us() + int(hours) * 3600 * US
    return JSON(
        {"path": track_path(access.signer, stop_id, until_us), "expires_at": to_rfc3339(until_us)},
        HTTPStatus.CREATED,
    )


def track_path(signer: Signer, stop_id: str, until_us: int) -> str:
    """The path of a customer's page. The token stands behind ``#``, which browsers keep to themselves."""
    return f"/track#{signer.seal(Purpose.TRACK, {'stop_id': stop_id}, until_us)}"


def track(request: Request) -> Response:
    """How one delivery stands."""
    runtime, claims = runtime_of(request), _claims(request)
    stop = _stop(request, claims)
    forecast = _forecast(request, claims["stop_id"]) if stop["state"] == "ahead" else None
    return JSON(
        track_document(stop, forecast, runtime.now_us(), claims["until"]),
        headers={"Cache-Control": "no-store"},
    )


async def change(request: Request) -> Response:
    """What should become of the delivery."""
    claims = await run_in_threadpool(_claims, request)
    asked = await _asked(request, wire_rooms.ChangeAsked)
    stop = await run_in_threadpool(_stop, request, claims)
    if stop["state"] not in OPEN_STATES:
        detail = "the delivery is at the door or over; nothing can be changed any more"
        raise ProblemError(HTTPStatus.CONFLICT, "delivery-over", detail)
    wanted = DeliveryChange(stop_id=claims["stop_id"], choice=Choice(asked.choice))
    event = wanted.event(f"change-{uuid.uuid4().hex}")
    await run_in_threadpool(runtime_of(request).log.append, [event])
    return JSON({"choice": asked.choice}, HTTPStatus.ACCEPTED)


async def preferences(request: Request) -> Response:
    """How the customer wants to be told."""
    runtime, claims = runtime_of(request), await run_in_threadpool(_claims, request)
    asked = await _asked(request, wire_rooms.PreferencesAsked)
    stop = await run_in_threadpool(_stop, request, claims)
    if stop["customer_id"] is None:
        detail = "the plan of this delivery names no customer whose preferences could be kept"
        raise ProblemError(HTTPStatus.CONFLICT, "no-customer", detail)
    wanted = asked.model_dump(exclude_none=True)
    now_us = await run_in_threadpool(runtime.now_us)
    body = {"customer_id": stop["customer_id"], "occurred_at": now_us, **wanted}
    event = NewEvent(type="customers", event_id=f"preference-{uuid.uuid4().hex}", body=body)
    await run_in_threadpool(runtime.log.append, [event])
    return JSON(wanted, HTTPStatus.ACCEPTED)


def _claims(request: Request) -> dict[str, Any]:
    access: Access = request.app.state.access
    found = access.signer.open(Purpose.TRACK, request.path_params["token"], wall_now_us())
    if found is Void.EXPIRED:
        raise ProblemError(HTTPStatus.GONE, "link-expired", "this link has expired; ask for a new one")
    if isinstance(found, Void):
        raise ProblemError(HTTPStatus.NOT_FOUND, "link-invalid", "this link is not valid")
    return found


def _stop(request: Request, claims: dict[str, Any]) -> dict[str, Any]:
    stop = runtime_of(request).picture.stop(claims["stop_id"])
    if stop is None:
        raise ProblemError(HTTPStatus.GONE, "link-expired", "this delivery was over long ago")
    return stop


def _forecast(request: Request, stop_id: str) -> dict[str, Any] | None:
    """The latest forecast, with reasons as they were last told."""
    runtime = runtime_of(request)
    body = runtime.latest(stop_id)
    if body is None:
        return None
    forecast: dict[str, Any] = orjson.loads(body)
    if not forecast["reasons"]:
        kept = (orjson.loads(each) for each in runtime.ops.history(stop_id, 50))
        forecast["reasons"] = next((each["reasons"] for each in kept if each["reasons"]), [])
    return forecast


async def _asked(request: Request, model: type[Asked]) -> Asked:
    try:
        return model.model_validate(orjson.loads(await body_of(request, LARGEST_BODY)))
    except orjson.JSONDecodeError as error:
        detail = f"the body is not JSON: {error}"
        raise ProblemError(HTTPStatus.BAD_REQUEST, "malformed-json", detail) from None
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise unprocessable(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None


HOURS = {
    "name": "hours",
    "in": "query",
    "description": "How long the link opens.",
    "schema": {"type": "integer", "minimum": 1, "maximum": LONGEST_LINK_S // 3600, "default": 48},
}
TRACK_CALLS = (
    Endpoint(
        method="POST",
        path="/v1/stops/{stop_id}/link",
        scope=Scope.OPERATE,
        handle=make_link,
        name="makeLink",
        summary="A signed, expiring link for a stop's customer",
        answer=wire_rooms.Link,
        status=201,
        query=(HOURS,),
        refusals=(404, 422),
    ),
    Endpoint(
        method="GET",
        path="/v1/track/{token}",
        scope=None,
        handle=track,
        name="track",
        summary="How a customer's delivery stands",
        answer=wire_rooms.Track,
        refusals=(404, 410),
    ),
    Endpoint(
        method="POST",
        path="/v1/track/{token}/changes",
        scope=None,
        handle=change,
        name="changeDelivery",
        summary="A customer asks for a change",
        answer=wire_rooms.ChangeAsked,
        status=202,
        meaning="On disk; operators see it in the stop's timeline and on the stream.",
        refusals=(400, 404, 408, 409, 410, 413, 415, 422, 503),
        body=Body(content={"application/json": wire_rooms.ChangeAsked}),
    ),
    Endpoint(
        method="PUT",
        path="/v1/track/{token}/preferences",
        scope=None,
        handle=preferences,
        name="setTrackPreferences",
        summary="A customer says how to be told",
        answer=wire_rooms.PreferencesAsked,
        status=202,
        meaning="On disk.",
        refusals=(400, 404, 408, 409, 410, 413, 415, 422, 503),
        body=Body(content={"application/json": wire_rooms.PreferencesAsked}),
    ),
)
