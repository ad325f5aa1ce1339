"""A session for a browser: a key is exchanged for a cookie that scripts cannot read.

The cookie holds a signed name of the key and no secret. What changes something needs the session's CSRF token in a
header too, which only a page of this service can have read.
"""

from __future__ import annotations

import asyncio
import secrets
from http import HTTPStatus

import orjson
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from serving.http import wire_rooms
from serving.http.access import Access, caller_of
from serving.http.asking import runtime_of
from serving.http.body import body_of
from serving.http.endpoint import Body, Endpoint
from serving.http.keys import Caller, Scope
from serving.http.problems import unprocessable
from serving.http.responses import JSON
from serving.http.sessions import COOKIE, csrf_of
from serving.http.signing import Purpose
from serving.times import US, to_rfc3339, wall_now_us

SESSION_S = 12 * 3600
LARGEST_BODY = 2_000


async def begin(request: Request) -> Response:
    """Exchange a key for a session."""
    access: Access = request.app.state.access
    try:
        asked = wire_rooms.SignIn.model_validate(orjson.loads(await body_of(request, LARGEST_BODY)))
    except (orjson.JSONDecodeError, ValidationError):
        raise unprocessable('send {"key": "punctual_..."}') from None
    caller = await asyncio.to_thread(access.caller_of_key, asked.key, request.scope)
    until_us = wall_now_us() + SESSION_S * US
    token = access.signer.seal(
        Purpose.SESSION, {"key_id": caller.key_id, "nonce": secrets.token_hex(8)}, until_us
    )
    answer = JSON(_session(caller, csrf_of(access.signer, token), until_us))
    is_safe = request.url.scheme == "https" or runtime_of(request).settings.tls.is_on
    answer.set_cookie(
        COOKIE, token, max_age=SESSION_S, httponly=True, samesite="strict", secure=is_safe, path="/"
    )
    return answer


def current(request: Request) -> Response:
    """Who is signed in, and the token that changes need."""
    access: Access = request.app.state.access
    caller, token = caller_of(request), request.cookies.get(COOKIE)
    claims = access.signer.open(Purpose.SESSION, token, wall_now_us()) if token else None
    if not isinstance(claims, dict) or claims.get("key_id") != caller.key_id:
        return JSON(_session(caller, None, None))
    return JSON(_session(caller, csrf_of(access.signer, token or ""), claims["until"]))


def end(_: Request) -> Response:
    """Forget the session."""
    answer = Response(status_code=HTTPStatus.NO_CONTENT)
    answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return answer


def _session(caller: Caller, csrf: str | None, until_us: int | None) -> dict[str, object]:
    return {
        "name": caller.name,
        "scopes": sorted(scope.value for scope in caller.scopes),
        "csrf_token": csrf,
        "expires_at": None if until_us is None else to_rfc3339(until_us),
    }


SESSION_CALLS = (
    Endpoint(
        method="POST",
        path="/v1/session",
        scope=None,
        handle=begin,
        name="signIn",
        summary="Exchange a key for a browser's session",
        answer=wire_rooms.Session,
        refusals=(401, 403, 413, 422, 429, 503),
        body=Body(content={"application/json": wire_rooms.SignIn}),
    ),
    Endpoint(
        method="GET",
        path="/v1/session",
        scope=Scope.READ,
        handle=current,
        name="session",
        summary="Who is signed in",
        answer=wire_rooms.Session,
    ),
    Endpoint(
        method="DELETE",
        path="/v1/session",
        scope=None,
        handle=end,
        name="signOut",
        summary="End a browser's session",
        status=204,
    ),
)
