"""What calls that command the engine have in common: bodies, ids that count once, and the wait for the engine."""

from __future__ import annotations

import asyncio
import uuid
from http import HTTPStatus
from typing import TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from serving.api.runtime import Runtime
from serving.http.body import body_of
from serving.http.endpoint import Described
from serving.http.problems import ProblemError, unprocessable
from serving.http.wire import HowLong
from serving.times import US, to_us

Asked = TypeVar("Asked", bound=BaseModel)
#: How long an answer waits for the engine to have done what was asked.
APPLIED_WITHIN_S = 1.0
LOOK_S = 0.02
LARGEST_BODY = 16_384
IDEMPOTENCY_KEY: Described = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "A request sent twice with one key counts once.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[!-~]+$"},
}


async def asked_of(request: Request, model: type[Asked]) -> Asked:
    """The body of a command.

    Raises
    ------
    ProblemError
        where it is not JSON, or not what the model says
    """
    body = await body_of(request, LARGEST_BODY)
    try:
        return model.model_validate(orjson.loads(body or b"{}"))
    except orjson.JSONDecodeError as error:
        detail = f"the body is not JSON: {error}"
        raise ProblemError(HTTPStatus.BAD_REQUEST, "malformed-json", detail) from None
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise unprocessable(f"{where}: {fault['msg'].removeprefix('Value error, ')}".lstrip(": ")) from None


def command_id_of(request: Request) -> str:
    """The caller's own key, so that a request sent twice counts once, else a new one."""
    given = request.headers.get("idempotency-key")
    if given is None:
        return f"command-{uuid.uuid4().hex}"
    if not 1 <= len(given) <= 200:
        raise unprocessable("Idempotency-Key: give 1 to 200 characters")
    return f"command-{given}"


async def is_applied(runtime: Runtime, seq: int) -> bool:
    """Whether the engine has come as far as a record, after a short wait."""
    for _ in range(int(APPLIED_WITHIN_S / LOOK_S)):
        if (await run_in_threadpool(runtime.ops.checkpoint)).seq >= seq:
            return True
        await asyncio.sleep(LOOK_S)
    return False


def until_us_of(asked: HowLong, now_us: int) -> int:
    """When what was asked for ends."""
    return now_us + int((asked.minutes or 0) * 60 * US) if asked.until is None else to_us(asked.until)
