"""Errors as RFC 9457 problem details."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request

from serving.http.responses import JSON

log = structlog.get_logger(__name__)

PROBLEM_TYPE = "application/problem+json"


class ProblemError(Exception):
    """A request that cannot be answered, and why; ``kind`` is a stable word for programs."""

    def __init__(
        self, status: HTTPStatus, kind: str, detail: str, headers: dict[str, str] | None = None
    ) -> None:
        self.status, self.kind, self.detail, self.headers = status, kind, detail, headers
        super().__init__(detail)

    def document(self) -> dict[str, Any]:
        return problem(self.status, self.kind, self.detail)


def problem(status: HTTPStatus, kind: str, detail: str) -> dict[str, Any]:
    return {"type": f"/problems/{kind}", "title": status.phrase, "status": int(status), "detail": detail}


def unknown(what: str, identity: str) -> ProblemError:
    """404 for an id that the workspace has never seen."""
    return ProblemError(HTTPStatus.NOT_FOUND, f"unknown-{what}", f"{what} {identity!r} is not known")


def unprocessable(detail: str) -> ProblemError:
    return ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-request", detail)


async def on_problem(_: Request, error: Exception) -> JSON:
    assert isinstance(error, ProblemError)
    return JSON(error.document(), error.status, media_type=PROBLEM_TYPE, headers=error.headers)


async def on_http_error(_: Request, error: Exception) -> JSON:
    """What Starlette refuses by itself: unknown paths and methods."""
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    document = problem(status, status.phrase.lower().replace(" ", "-"), str(error.detail))
    return JSON(document, status, media_type=PROBLEM_TYPE, headers=dict(error.headers or {}))


async def on_failure(request: Request, error: Exception) -> JSON:
    """A fault of ours; its text stays in the log."""
    log.error("request_failed", method=request.method, path=request.url.path, exc_info=error)
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    return JSON(
        problem(status, "internal", "the service failed on this request"), status, media_type=PROBLEM_TYPE
    )
