"""The calls about silences: orders not to hear of something, as records of the log."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from serving.api.commanding import IDEMPOTENCY_KEY, asked_of, command_id_of, is_applied, until_us_of
from serving.api.runtime import Runtime
from serving.decisions.silences import Silence
from serving.engine.commands import SilenceCommand
from serving.http.access import caller_of
from serving.http.asking import runtime_of
from serving.http.endpoint import Body, Endpoint
from serving.http.keys import Scope
from serving.http.problems import ProblemError, unknown, unprocessable
from serving.http.responses import JSON
from serving.http.wire_silences import NewSilence, SilenceAnswer, SilenceList
from serving.times import to_rfc3339, to_rfc3339_or_none


def silences(request: Request) -> Response:
    """Silences that are not over, the oldest first."""
    runtime = runtime_of(request)
    now_us = runtime.now_us()
    return JSON({"silences": [silence_document(each) for each in runtime.ops.silences(now_us)]})


async def begin(request: Request) -> Response:
    """From now on nobody hears of something."""
    runtime, asked = runtime_of(request), await asked_of(request, NewSilence)
    now_us = await run_in_threadpool(runtime.now_us)
    command_id = command_id_of(request)
    order = SilenceCommand(
        silence_id=f"silence-{command_id.removeprefix('command-')}",
        who=caller_of(request).name,
        why=asked.why,
        until_us=until_us_of(asked, now_us),
        matchers=asked.matchers.model_dump(exclude_none=True),
    )
    if order.until_us is not None and order.until_us <= now_us:
        raise unprocessable("until: this is past; a silence ends later than now")
    return await _ordered(runtime, order, command_id, order.silence(now_us))


async def end(request: Request) -> Response:
    """What was silenced is told again."""
    runtime, silence_id = runtime_of(request), request.path_params["silence_id"]
    now_us = await run_in_threadpool(runtime.now_us)
    known = await run_in_threadpool(runtime.ops.silence, silence_id)
    if known is None:
        raise unknown("silence", silence_id)
    if not known.lasts(now_us):
        raise ProblemError(HTTPStatus.CONFLICT, "silence-over", f"silence {silence_id!r} is over already")
    order = SilenceCommand(silence_id=silence_id, who=caller_of(request).name, ends=True)
    return await _ordered(runtime, order, command_id_of(request), known)


async def _ordered(runtime: Runtime, order: SilenceCommand, command_id: str, silence: Silence) -> Response:
    """Put an order on disk; tell the silence as the engine has it, else as it will be."""
    seq = await run_in_threadpool(_append, runtime, order, command_id)
    applied = await is_applied(runtime, seq)
    done = await run_in_threadpool(runtime.ops.silence, order.silence_id)
    answer = {"command_id": command_id, "applied": applied, "silence": silence_document(done or silence)}
    return JSON(answer, HTTPStatus.ACCEPTED)


def _append(runtime: Runtime, order: SilenceCommand, command_id: str) -> int:
    runtime.log.append([order.event(command_id)])
    return runtime.log.last().seq


def silence_document(silence: Silence) -> dict[str, Any]:
    """A silence as the API tells it."""
    return {
        "silence_id": silence.silence_id,
        "who": silence.who,
        "why": silence.why,
        "from": to_rfc3339(silence.from_us),
        "until": to_rfc3339_or_none(silence.until_us),
        "matchers": dict(silence.matchers),
    }


_EXAMPLE = {"why": "road works, known", "minutes": 240, "matchers": {"zone_id": "Z-1", "rule": "zone_slowed"}}
SILENCE_CALLS = (
    Endpoint(
        method="GET",
        path="/v1/silences",
        scope=Scope.READ,
        handle=silences,
        name="silences",
        summary="Silences that are not over, the oldest first",
        answer=SilenceList,
    ),
    Endpoint(
        method="POST",
        path="/v1/silences",
        scope=Scope.OPERATE,
        handle=begin,
        name="beginSilence",
        summary="Nobody is told of something for a while",
        answer=SilenceAnswer,
        status=202,
        meaning="On disk; `applied` says whether the engine has done it already.",
        refusals=(400, 408, 413, 415, 422, 503),
        query=(IDEMPOTENCY_KEY,),
        body=Body(content={"application/json": NewSilence}, examples={"application/json": _EXAMPLE}),
    ),
    Endpoint(
        method="DELETE",
        path="/v1/silences/{silence_id}",
        scope=Scope.OPERATE,
        handle=end,
        name="endSilence",
        summary="End a silence before its time",
        answer=SilenceAnswer,
        status=202,
        meaning="On disk; `applied` says whether the engine has done it already.",
        refusals=(404, 409, 422, 503),
        query=(IDEMPOTENCY_KEY,),
    ),
)
