"""The body of a request, read no further than its limit and no longer than it may take."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from starlette.requests import Request

from serving.http.problems import ProblemError

#: How long a client may take to send a body, in seconds.
SLOWEST_S = 30.0


async def body_of(request: Request, limit_bytes: int) -> bytes:
    """The whole body; a problem where it is too large, too slow or packed."""
    packed = request.headers.get("content-encoding", "identity")
    if packed != "identity":
        detail = f"Content-Encoding {packed[:40]!r} is not taken; send the body as it is"
        raise ProblemError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "packed-body", detail)
    told = request.headers.get("content-length", "")
    if told.isascii() and told.isdigit() and int(told) > limit_bytes:
        raise _too_large(limit_bytes)
    try:
        async with asyncio.timeout(SLOWEST_S):
            return await _read(request, limit_bytes)
    except TimeoutError:
        detail = f"the body did not come whole within {SLOWEST_S:.0f} s; send it again"
        raise ProblemError(HTTPStatus.REQUEST_TIMEOUT, "slow-body", detail) from None


async def _read(request: Request, limit_bytes: int) -> bytes:
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit_bytes:
            raise _too_large(limit_bytes)
        chunks.append(chunk)
    return b"".join(chunks)


def _too_large(limit_bytes: int) -> ProblemError:
    detail = f"the body is larger than {limit_bytes:,} bytes; send smaller batches"
    return ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body-too-large", detail)
