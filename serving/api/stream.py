"""``GET /v1/stream``: the outbox as server-sent events, which go on exactly where a client stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson
from sse_starlette.event import ServerSentEvent
from sse_starlette.sse import EventSourceResponse, SendTimeoutError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from data_contracts.errors import SubscriptionError
from serving.api.runtime import Runtime
from serving.engine.ops import OutboxEvent
from serving.engine.readings import OpsReader
from serving.http import keys
from serving.http.access import Access, caller_of
from serving.http.endpoint import Endpoint
from serving.http.problems import ProblemError, unprocessable
from serving.settings import StreamSettings
from serving.storage.tail import OutboxTail
from serving.webhooks.subscriptions import event_types

#: Events read at once.
ROWS = 200
#: The event that tells a client that it missed some.
GAP = "stream.gap"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which events a listener takes; an empty part takes everything."""

    types: frozenset[str] = frozenset()
    routes: frozenset[str] = frozenset()
    subjects: frozenset[str] = frozenset()

    def takes(self, event: OutboxEvent) -> bool:
        return (
            (not self.types or event.type in self.types)
            and (not self.routes or event.route_id in self.routes)
            and (not self.subjects or event.subject in self.subjects)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where a stream begins: after ``position``, and what could not be given before it, if anything."""

    position: int
    gap: dict[str, Any] | None = None


def start(asked_after: int | None, before_first: int, last: int) -> Start:
    """A new listener begins with the present; a returning one after what it saw, or is told what it missed."""
    if asked_after is None:
        return Start(position=last)
    if asked_after > last:
        return Start(position=last, gap=_gap("UNKNOWN_POSITION", asked_after, last))
    if asked_after < before_first:
        return Start(position=before_first, gap=_gap("FORGOTTEN", asked_after, before_first))
    return Start(position=asked_after)


async def messages(
    ops: OpsReader,
    tail: OutboxTail,
    wanted: Wanted,
    begin: Start,
    settings: StreamSettings,
    is_welcome: Callable[[], bool],
) -> AsyncIterator[ServerSentEvent]:
    """What a listener hears for as long as it is welcome.

    Every message moves its ``Last-Event-ID``, also one that says nothing else.
    """
    clock = asyncio.get_running_loop().time
    ends_s, position = clock() + settings.longest_s, begin.position
    yield ServerSentEvent(id=str(position), retry=int(settings.retry_s * 1000), comment="punctual")
    if begin.gap is not None:
        yield ServerSentEvent(id=str(position), event=GAP, data=orjson.dumps(begin.gap).decode())
    told_s = clock()
    while clock() < ends_s and is_welcome():
        seen = tail.position
        rows = await run_in_threadpool(ops.outbox, position, ROWS)
        for position, event in rows:
            if wanted.takes(event):
                yield _message(position, event)
                told_s = clock()
        if clock() - told_s >= settings.heartbeat_s:
            yield ServerSentEvent(id=str(position), comment="heartbeat")
            told_s = clock()
        if len(rows) < ROWS:
            await tail.beyond(seen, min(told_s + settings.heartbeat_s, ends_s) - clock())


class Stream(EventSourceResponse):
    """A stream of an admitted listener, which ends without an error when its client does not read."""

    def __init__(
        self, heard: AsyncIterator[ServerSentEvent], tail: OutboxTail, send_timeout_s: float
    ) -> None:
        super().__init__(heard, ping=0, sep="\n", send_timeout=send_timeout_s)
        self._tail = tail

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with suppress(SendTimeoutError):
                await super().__call__(scope, receive, send)
        finally:
            self._tail.leave()


async def stream(request: Request) -> Stream:
    """Events from now on, or from where the client was."""
    runtime: Runtime = request.app.state.runtime
    settings, tail = runtime.settings.stream, runtime.tail
    wanted, after = _wanted(request), _after(request)
    span = await run_in_threadpool(runtime.ops.outbox_span)
    if not tail.admit(settings.most):
        detail = f"this server has {settings.most} streams open, as many as it may; try again later"
        raise ProblemError(
            HTTPStatus.SERVICE_UNAVAILABLE, "too-many-streams", detail, headers={"Retry-After": "10"}
        )
    access: Access = request.app.state.access
    caller = caller_of(request)
    begin = start(after, *span)
    heard = messages(runtime.ops, tail, wanted, begin, settings, lambda: access.ring.is_still_good(caller))
    return Stream(heard, tail, settings.send_timeout_s)


_SEVERAL = {"type": "array", "items": {"type": "string"}}
_MEANINGS = {
    "type": "Only these types; `stop.delay.*` names several.",
    "route_id": "Only events of these routes.",
    "subject": "Only events about these stops, routes or zones.",
}
_POSITION = {"type": "integer", "minimum": 0}
_CHOICE = [
    {"name": name, "in": "query", "description": text, "schema": _SEVERAL, "explode": True}
    for name, text in _MEANINGS.items()
]
_AFTER = [
    {"name": "Last-Event-ID", "in": "header", "description": "Where the client was.", "schema": _POSITION},
    {"name": "after", "in": "query", "description": "The same, for a first visit.", "schema": _POSITION},
]
STREAM_CALLS = (
    Endpoint(
        method="GET",
        path="/v1/stream",
        scope=keys.Scope.READ,
        handle=stream,
        name="stream",
        summary="Events as they happen",
        query=(*_CHOICE, *_AFTER),
        meaning="Server-sent events, without end.",
        answer={"type": "string", "description": "CloudEvents 1.0 as `data`."},
        media_type="text/event-stream",
        refusals=(422, 503),
    ),
)


def _message(position: int, event: OutboxEvent) -> ServerSentEvent:
    return ServerSentEvent(id=str(position), event=event.type, data=event.body.decode())


def _gap(reason: str, asked_after: int, goes_on_after: int) -> dict[str, Any]:
    return {"reason": reason, "asked_after": asked_after, "goes_on_after": goes_on_after}


def _wanted(request: Request) -> Wanted:
    try:
        types = event_types(_values(request, "type"))
    except SubscriptionError as error:
        raise unprocessable(str(error)) from None
    return Wanted(
        types=types,
        routes=frozenset(_values(request, "route_id")),
        subjects=frozenset(_values(request, "subject")),
    )


def _values(request: Request, name: str) -> list[str]:
    """All values of a parameter, which may be given several times."""
    return [value for value in request.query_params.getlist(name) if value]


def _after(request: Request) -> int | None:
    """What a browser sends when it comes back; ``after`` is for a first visit, and counts less."""
    text = request.headers.get("last-event-id") or request.query_params.get("after")
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise unprocessable(f"Last-Event-ID: {text[:40]!r} is no position of this stream; leave it out")
    return int(text)
