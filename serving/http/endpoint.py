"""One call of the API: where it is, who may make it, what answers it, and how the OpenAPI document tells of it.

Every module of calls declares its own endpoints; routes and document are both made of them, so that neither can
know a call that the other does not.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from pydantic import BaseModel
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope as Scoped

from serving.http import wire
from serving.http.access import Guard
from serving.http.keys import Scope
from serving.http.problems import PROBLEM_TYPE

Handler = Callable[[Request], Response] | Callable[[Request], Awaitable[Response]]
Described = Mapping[str, Any]

REF = "#/components/schemas/{model}"
LIMIT: Described = {
    "name": "limit",
    "in": "query",
    "description": "How many rows at most.",
    "schema": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100},
}
#: What any call with a scope may answer beside its own refusals.
GUARDED = (401, 403, 429)
#: What any call without one may.
OPEN = (429,)
#: Stands for a slash within an id while a path is matched; no text that was decoded holds it.
_SLASH = "\udc2f"
_IN_PATH = re.compile(r"{(\w+)(?::\w+)?}")


class IdRoute(Route):
    """A route whose ids may hold slashes, sent as ``%2F``: a path is cut where it was sent with a slash, not after."""

    def matches(self, scope: Scoped) -> tuple[Match, Scoped]:
        raw = scope.get("raw_path") or b""
        if b"%2f" not in raw.lower():
            return super().matches(scope)
        parts = raw.decode("ascii", "replace").split("/")
        path = "/".join(unquote(part).replace("/", _SLASH) for part in parts)
        match, found = super().matches({**scope, "path": path})
        if match is not Match.NONE:
            given = {name: value.replace(_SLASH, "/") for name, value in found["path_params"].items()}
            found["path_params"] = given
        return match, found


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What a call takes: a model, or a schema by media type, with an example of each."""

    content: Mapping[str, type[BaseModel] | Described]
    examples: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        content = {
            media_type: {"schema": schema_of(taken)} | _shown(self.examples.get(media_type))
            for media_type, taken in self.content.items()
        }
        return {"required": True, "content": content}


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A call. ``scope`` is None where anybody may make it; ``answer`` is None where the answer has no body.

    answer : a model, or a schema where the answer is no JSON of ours
    refusals : statuses of the problems that it answers, beside those that every call with a scope has
    models : further models that its schemas refer to
    """

    method: str
    path: str
    scope: Scope | None
    handle: Handler
    name: str
    summary: str
    answer: type[BaseModel] | Described | None = None
    example: Any = None
    media_type: str = "application/json"
    status: int = 200
    meaning: str = ""
    refusals: Sequence[int] = ()
    query: Sequence[Described] = ()
    body: Body | None = None
    models: Sequence[type[BaseModel]] = ()

    def route(self) -> Route:
        guard = Middleware(Guard, call=self.name, needed=self.scope)
        return IdRoute(self.path, self.handle, methods=[self.method], name=self.name, middleware=[guard])

    @property
    def described_path(self) -> str:
        return _IN_PATH.sub(r"{\1}", self.path)

    def operation(self) -> dict[str, Any]:
        """The OpenAPI operation object."""
        document: dict[str, Any] = {"operationId": self.name, "summary": self.summary}
        in_path = [
            {
                "name": name,
                "in": "path",
                "required": True,
                "description": "Percent-encoded, a slash in it as well (`%2F`).",
                "schema": {"type": "string"},
            }
            for name in _IN_PATH.findall(self.path)
        ]
        if in_path or self.query:
            document["parameters"] = [*in_path, *self.query]
        if self.body is not None:
            document["requestBody"] = self.body.document()
        if self.scope is not None:
            document["security"] = [{"key": [self.scope.value]}]
            document["description"] = f"Needs the scope `{self.scope.value}` where the workspace has keys."
        return document | {"responses": self._responses()}

    def referred(self) -> list[type[BaseModel]]:
        """Models whose schemas the document needs."""
        taken = list(self.body.content.values()) if self.body else []
        return [*(each for each in (self.answer, *taken) if isinstance(each, type)), *self.models]

    def _responses(self) -> dict[str, Any]:
        answered: dict[str, Any] = {"description": self.meaning or self.summary}
        if self.answer is not None:
            shown = {"schema": schema_of(self.answer)} | _shown(self.example)
            answered["content"] = {self.media_type: shown}
        guarded = OPEN if self.scope is None else GUARDED
        refused = {
            "description": "Refused, and why.",
            "content": {PROBLEM_TYPE: {"schema": schema_of(wire.Problem)}},
        }
        return {
            str(self.status): answered,
            **{str(code): refused for code in sorted({*guarded, *self.refusals})},
        }


def schema_of(given: type[BaseModel] | Described) -> dict[str, Any]:
    """A reference to a model's schema, or the schema as it stands."""
    return {"$ref": REF.format(model=given.__name__)} if isinstance(given, type) else dict(given)


def routes_of(endpoints: Iterable[Endpoint]) -> list[Route]:
    return [endpoint.route() for endpoint in endpoints]


def _shown(example: Any) -> dict[str, Any]:
    return {} if example is None else {"example": example}
