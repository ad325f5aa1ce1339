"""``/v1/customers``: preferences, export and erasure; and what to tell the customer of a stop, and when."""

from __future__ import annotations

from http import HTTPStatus
from zoneinfo import ZoneInfo

import orjson
import structlog
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from serving.customers import wire
from serving.customers.advice import Advisor, CustomerStop
from serving.customers.store import CustomerStore, preferences_from
from serving.decisions.promises import DeliveryWindow
from serving.http.access import caller_of
from serving.http.asking import model_of, runtime_of
from serving.http.body import body_of
from serving.http.endpoint import Body, Endpoint
from serving.http.keys import Scope
from serving.http.problems import ProblemError, unknown, unprocessable
from serving.http.responses import JSON
from serving.times import from_rfc3339, wall_now_us

log = structlog.get_logger(__name__)

BODY_BYTES = 20_000
LONGEST_ID = 200


def get_preferences(request: Request) -> Response:
    """What a customer said."""
    customer_id = _id(request)
    kept = _store(request).export(customer_id)["preferences"]
    if kept is None:
        raise unknown("customer", customer_id)
    return JSON(kept)


async def put_preferences(request: Request) -> Response:
    """Replace what a customer said."""
    asked = model_of(wire.PreferencesBody, await body_of(request, BODY_BYTES))
    try:
        preferences = preferences_from(asked.model_dump())
    except ValueError as error:
        raise unprocessable(str(error)) from None
    customer_id = _id(request)
    await run_in_threadpool(_store(request).prefer, customer_id, preferences, wall_now_us())
    return JSON((await run_in_threadpool(_store(request).export, customer_id))["preferences"])


def delete_preferences(request: Request) -> Response:
    """Forget what a customer said; the operator's settings hold again."""
    if not _store(request).drop_preferences(_id(request)):
        raise unknown("customer", _id(request))
    return Response(status_code=HTTPStatus.NO_CONTENT)


def get_export(request: Request) -> Response:
    """Everything that is kept of a customer."""
    return JSON(_store(request).export(_id(request)))


def delete_customer(request: Request) -> Response:
    """Erase everything that is kept of a customer."""
    count = _store(request).erase(_id(request), wall_now_us())
    log.info("customer_erased", facts=count, key_id=caller_of(request).key_id)
    return JSON({"customer_id": _id(request), "erased": count})


def get_notification(request: Request) -> Response:
    """Whether, when and how to tell a stop's customer of the window that stands."""
    stop = _stop(request)
    promise = runtime_of(request).ops.promises_of([stop.stop_id]).get(stop.stop_id)
    if promise is not None:
        window = promise.told
    else:
        told = _forecast(request, stop.stop_id)["window"]
        window = DeliveryWindow(start_us=from_rfc3339(told["start"]), end_us=from_rfc3339(told["end"]))
    return JSON(_advisor(request).notification(stop, window))


def get_windows(request: Request) -> Response:
    """A window to propose, and hours at which somebody is more likely home."""
    stop = _stop(request)
    return JSON(_advisor(request).proposal(stop, _forecast(request, stop.stop_id)))


def _advisor(request: Request) -> Advisor:
    runtime = runtime_of(request)
    settings = runtime.settings
    return Advisor(
        store=runtime.customers,
        timing=settings.timing,
        promises=settings.engine.promises,
        coverage=settings.engine.coverage,
        now_us=runtime.now_us(),
    )


def _stop(request: Request) -> CustomerStop:
    stop_id = request.path_params["stop_id"]
    row = runtime_of(request).picture.stop(stop_id)
    if row is None:
        raise unknown("stop", stop_id)
    zone = ZoneInfo(row["timezone"] or "UTC")
    return CustomerStop(stop_id=stop_id, customer_id=row["customer_id"], zone=zone)


def _forecast(request: Request, stop_id: str) -> dict[str, dict[str, str]]:
    body = runtime_of(request).latest(stop_id)
    if body is None:
        detail = f"stop {stop_id!r} is known but not scored yet; POST /v1/eta scores it now"
        raise ProblemError(HTTPStatus.NOT_FOUND, "not-scored-yet", detail)
    found: dict[str, dict[str, str]] = orjson.loads(body)
    return found


def _store(request: Request) -> CustomerStore:
    return runtime_of(request).customers


def _id(request: Request) -> str:
    customer_id = str(request.path_params["customer_id"])
    if len(customer_id) > LONGEST_ID:
        raise unprocessable(f"customer_id: it has over {LONGEST_ID} characters")
    return customer_id


_PREFERENCES = "/v1/customers/{customer_id}/preferences"
_EXAMPLE = {"channel": "sms", "notice_minutes": 30, "quiet_from_hour": 21, "quiet_to_hour": 8}
CUSTOMER_CALLS = (
    Endpoint(
        method="GET",
        path=_PREFERENCES,
        scope=Scope.OPERATE,
        handle=get_preferences,
        name="preferences",
        summary="What a customer prefers",
        answer=wire.KeptPreferences,
        refusals=(404, 422),
    ),
    Endpoint(
        method="PUT",
        path=_PREFERENCES,
        scope=Scope.OPERATE,
        handle=put_preferences,
        name="setPreferences",
        summary="Say what a customer prefers",
        body=Body(
            content={"application/json": wire.PreferencesBody}, examples={"application/json": _EXAMPLE}
        ),
        answer=wire.KeptPreferences,
        refusals=(400, 408, 413, 415, 422),
    ),
    Endpoint(
        method="DELETE",
        path=_PREFERENCES,
        scope=Scope.OPERATE,
        handle=delete_preferences,
        name="dropPreferences",
        summary="Forget what a customer prefers",
        status=204,
        refusals=(404, 422),
    ),
    Endpoint(
        method="GET",
        path="/v1/customers/{customer_id}",
        scope=Scope.OPERATE,
        handle=get_export,
        name="exportCustomer",
        summary="Everything kept of a customer",
        answer=wire.CustomerExport,
        refusals=(422,),
    ),
    Endpoint(
        method="DELETE",
        path="/v1/customers/{customer_id}",
        scope=Scope.OPERATE,
        handle=delete_customer,
        name="eraseCustomer",
        summary="Erase a customer",
        answer=wire.Erasure,
        refusals=(422,),
    ),
    Endpoint(
        method="GET",
        path="/v1/stops/{stop_id}/notification",
        scope=Scope.OPERATE,
        handle=get_notification,
        name="notification",
        summary="Whether, when and how to tell a stop's customer",
        answer=wire.Notification,
        refusals=(404,),
    ),
    Endpoint(
        method="GET",
        path="/v1/stops/{stop_id}/windows",
        scope=Scope.OPERATE,
        handle=get_windows,
        name="windows",
        summary="A window to propose to a stop's customer",
        answer=wire.ProposedWindows,
        refusals=(404,),
    ),
)
