"""``/v1/webhooks``: setting up, listing, removing, rotating, and what became of every event."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, TypeVar

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from data_contracts.errors import SubscriptionError, UnknownIdError
from serving.http.access import caller_of
from serving.http.asking import limit_of, model_of, runtime_of
from serving.http.body import body_of
from serving.http.endpoint import LIMIT, Body, Endpoint
from serving.http.keys import Scope
from serving.http.problems import ProblemError, unprocessable
from serving.http.responses import JSON
from serving.webhooks import wire
from serving.webhooks.policy import MessageState
from serving.webhooks.subscriptions import Subscriptions, Wanted

log = structlog.get_logger(__name__)

Found = TypeVar("Found")
BODY_BYTES = 200_000
DEFAULT_ROWS = 100
STATES = tuple(state.value for state in MessageState)


async def post_webhook(request: Request) -> Response:
    """Set up a webhook."""
    asked = model_of(wire.WebhookRequest, await body_of(request, BODY_BYTES))
    wanted = Wanted(**asked.model_dump() | {"types": tuple(asked.types)})
    made = await _ask(request, lambda each: each.create(wanted))
    _tell("webhook_created", request, made["webhook_id"])
    return JSON(made, HTTPStatus.CREATED)


async def get_webhooks(request: Request) -> Response:
    return JSON({"webhooks": await _ask(request, Subscriptions.everything)})


async def get_webhook(request: Request) -> Response:
    return JSON(await _ask(request, lambda each: each.get(_id(request))))


async def delete_webhook(request: Request) -> Response:
    await _ask(request, lambda each: each.remove(_id(request)))
    _tell("webhook_removed", request, _id(request))
    return Response(status_code=HTTPStatus.NO_CONTENT)


async def post_rotate(request: Request) -> Response:
    rotated = await _ask(request, lambda each: each.rotate(_id(request)))
    _tell("webhook_rotated", request, _id(request))
    return JSON(rotated)


async def post_enable(request: Request) -> Response:
    enabled = await _ask(request, lambda each: each.enable(_id(request)))
    _tell("webhook_enabled", request, _id(request))
    return JSON(enabled)


async def post_test(request: Request) -> Response:
    event_id = await _ask(request, lambda each: each.test(_id(request)))
    return JSON({"event_id": event_id}, HTTPStatus.ACCEPTED)


async def post_redeliver(request: Request) -> Response:
    """Send events once more, or all dead letters."""
    asked = model_of(wire.RedeliveryRequest, await body_of(request, BODY_BYTES) or b"{}")
    count = await _ask(request, lambda each: each.redeliver(_id(request), asked.event_ids))
    _tell("webhook_redelivered", request, _id(request))
    return JSON({"redelivered": count}, HTTPStatus.ACCEPTED)


async def get_messages(request: Request) -> Response:
    """What was entered for a webhook: what waits, what was sent, and dead letters."""
    state = request.query_params.get("state")
    if state is not None and state not in STATES:
        raise unprocessable(f"state: {state[:40]!r} is unknown; give one of {', '.join(STATES)}")
    limit = _limit(request)
    return JSON({"messages": await _ask(request, lambda each: each.messages(_id(request), state, limit))})


async def get_attempts(request: Request) -> Response:
    """The delivery log of a webhook."""
    event_id, limit = request.query_params.get("event_id"), _limit(request)
    return JSON({"attempts": await _ask(request, lambda each: each.attempts(_id(request), event_id, limit))})


async def _ask(request: Request, ask: Callable[[Subscriptions], Found]) -> Found:
    """Ask the subscriptions, away from the event loop; what they refuse is a problem."""
    try:
        return await run_in_threadpool(ask, runtime_of(request).subscriptions)
    except UnknownIdError as error:
        raise ProblemError(HTTPStatus.NOT_FOUND, "unknown-webhook", str(error)) from None
    except SubscriptionError as error:
        raise unprocessable(str(error)) from None


def _id(request: Request) -> str:
    return str(request.path_params["webhook_id"])


def _limit(request: Request) -> int:
    return limit_of(request, runtime_of(request).settings.limits.rows, DEFAULT_ROWS)


def _tell(event: str, request: Request, webhook_id: str) -> None:
    log.info(event, webhook_id=webhook_id, key_id=caller_of(request).key_id)


def _call(method: str, suffix: str, handle: Any, name: str, summary: str, **members: Any) -> Endpoint:
    """A call that manages webhooks; all of them need the same scope."""
    path = f"/v1/webhooks{suffix}"
    return Endpoint(
        method=method,
        path=path,
        scope=Scope.OPERATE,
        handle=handle,
        name=name,
        summary=summary,
        **members,
    )


ONE = "/{webhook_id}"
BODY_REFUSALS = (400, 408, 413, 415, 422)
_EXAMPLE = {"url": "https://hooks.example.com/punctual", "types": ["stop.delay.*", "disruption.*"]}
_STATE = {"name": "state", "in": "query", "schema": {"enum": list(STATES)}}
_EVENT = {"name": "event_id", "in": "query", "schema": {"type": "string"}}
WEBHOOK_CALLS = (
    _call(
        *("POST", "", post_webhook, "createWebhook", "Subscribe to events"),
        body=Body(content={"application/json": wire.WebhookRequest}, examples={"application/json": _EXAMPLE}),
        answer=wire.NewWebhook,
        status=201,
        refusals=BODY_REFUSALS,
    ),
    _call("GET", "", get_webhooks, "webhooks", "Webhooks", answer=wire.WebhookList),
    _call("GET", ONE, get_webhook, "webhook", "A webhook", answer=wire.Webhook, refusals=(404,)),
    _call("DELETE", ONE, delete_webhook, "removeWebhook", "Forget a webhook", status=204, refusals=(404,)),
    _call(
        *("POST", f"{ONE}/rotate", post_rotate, "rotateSecret", "Another secret"),
        answer=wire.NewSecret,
        refusals=(404,),
    ),
    _call(
        *("POST", f"{ONE}/enable", post_enable, "enableWebhook", "Send to a disabled webhook again"),
        answer=wire.Webhook,
        refusals=(404,),
    ),
    _call(
        *("POST", f"{ONE}/test", post_test, "testWebhook", "Send a test event"),
        answer=wire.TestEvent,
        status=202,
        refusals=(404,),
    ),
    _call(
        *("POST", f"{ONE}/redeliver", post_redeliver, "redeliver", "Send events once more"),
        body=Body(content={"application/json": wire.RedeliveryRequest}),
        answer=wire.Redelivery,
        status=202,
        refusals=(404, *BODY_REFUSALS),
    ),
    _call(
        *("GET", f"{ONE}/messages", get_messages, "messages", "What is and was sent, and dead letters"),
        answer=wire.MessageList,
        query=(_STATE, LIMIT),
        refusals=(404, 422),
    ),
    _call(
        *("GET", f"{ONE}/attempts", get_attempts, "attempts", "The delivery log"),
        answer=wire.AttemptList,
        query=(_EVENT, LIMIT),
        refusals=(404, 422),
    ),
)
