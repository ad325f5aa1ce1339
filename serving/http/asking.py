"""What a call is asked for: its runtime, its body, and the parameters of its query, each checked."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from math import isfinite
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from serving.engine.picture_reader import Box
from serving.http.problems import ProblemError, unprocessable

if TYPE_CHECKING:
    from serving.api.runtime import Runtime

Asked = TypeVar("Asked", bound=BaseModel)


def runtime_of(request: Request) -> Runtime:
    """What the worker holds open."""
    runtime: Any = request.app.state.runtime
    return runtime


def model_of(model: type[Asked], body: bytes) -> Asked:
    """A JSON body as a model; a problem that names its first fault where it is none."""
    try:
        return model.model_validate(orjson.loads(body))
    except orjson.JSONDecodeError as error:
        detail = f"the body is not JSON: {error}"
        raise ProblemError(HTTPStatus.BAD_REQUEST, "malformed-json", detail) from None
    except ValidationError as error:
        raise unprocessable(_first_fault(error)) from None


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in fault["loc"])
    told = fault["msg"].removeprefix("Value error, ")
    return f"{where}: {told}" if where else told


def limit_of(request: Request, most: int, default: int) -> int:
    """The query's ``limit``: a whole number from 1 to ``most``."""
    text = request.query_params.get("limit", str(min(default, most)))
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= most:
        raise unprocessable(f"limit: {text[:20]!r} is not a whole number from 1 to {most}")
    return int(text)


def one_of(request: Request, name: str, words: Sequence[str], default: str) -> str:
    """A query parameter that is one of some words."""
    word = request.query_params.get(name, default)
    if word not in words:
        raise unprocessable(f"{name}: {word[:40]!r} is unknown; give one of {', '.join(words)}")
    return word


def box_of(request: Request) -> Box | None:
    """The query's ``bbox``, west,south,east,north in degrees."""
    text = request.query_params.get("bbox")
    if text is None:
        return None
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError:
        raise unprocessable(f"bbox: {text[:80]!r} is not west,south,east,north in degrees") from None
    if not all(map(isfinite, (west, south, east, north))) or west > east or south > north:
        raise unprocessable(f"bbox: {text[:80]!r} must have west <= east and south <= north")
    return west, south, east, north
