"""The OpenAPI 3.1 document, composed by hand from the wire models, and a page that lists the calls."""

from __future__ import annotations

from functools import cache
from html import escape
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from data_contracts import __version__
from data_contracts.events import WIRE_EVENTS
from serving import wire
from serving.responses import JSON

ANSWERS: tuple[type[BaseModel], ...] = (
    wire.EtaRequest,
    wire.EtaAnswer,
    wire.Forecast,
    wire.StopHistory,
    wire.RouteEta,
    wire.RouteList,
    wire.AlertList,
    wire.Summary,
    wire.IngestAnswer,
    wire.Problem,
)
REF = "#/components/schemas/{model}"
LIMIT = {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "default": 100}}


@cache
def openapi_document() -> dict[str, Any]:
    """The whole document."""
    models = [(model, "validation") for model in (*ANSWERS, *WIRE_EVENTS.values())]
    _, schemas = models_json_schema(models, ref_template=REF)  # type: ignore[arg-type]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Punctual",
            "version": __version__,
            "description": "Delivery-window forecasts, late risk and alerts of last-mile fleets.",
        },
        "paths": _paths(),
        "components": {"schemas": schemas["$defs"]},
    }


def _paths() -> dict[str, Any]:
    return {
        "/v1/events": {"post": _post_events()},
        "/v1/eta": {
            "post": {
                "operationId": "score",
                "summary": "Score stops now",
                "requestBody": {"required": True, "content": {"application/json": _schema(wire.EtaRequest)}},
                "responses": _answers(
                    wire.EtaAnswer, "A forecast or an error for each stop.", 400, 404, 413, 422, 503
                ),
            }
        },
        "/v1/stops/{stop_id}/eta": {
            "get": _get("stopEta", "The latest forecast of a stop", wire.Forecast, 404, path="stop_id")
        },
        "/v1/stops/{stop_id}/history": {
            "get": _get(
                *("stopHistory", "How the forecast of a stop moved", wire.StopHistory, 404, 422),
                path="stop_id",
                query=[LIMIT],
            )
        },
        "/v1/routes/{route_id}/eta": {
            "get": _get("routeEta", "The latest forecasts of a route", wire.RouteEta, 404, path="route_id")
        },
        "/v1/routes": {"get": _get("routes", "Live routes", wire.RouteList, 422, query=[LIMIT])},
        "/v1/alerts": {
            "get": _get("alerts", "Alerts, the newest first", wire.AlertList, 422, query=_alert_filters())
        },
        "/v1/stream": {"get": _get_stream()},
        "/v1/summary": {"get": _get("summary", "Where the service stands", wire.Summary)},
    }


def _post_events() -> dict[str, Any]:
    event = {"oneOf": [{"$ref": REF.format(model=model.__name__)} for model in WIRE_EVENTS.values()]}
    event_or_list = {"schema": {"anyOf": [event, {"type": "array", "items": event, "minItems": 1}]}}
    lines = {"schema": {"type": "string", "description": "One event a line."}}
    return {
        "operationId": "ingest",
        "summary": "Append events to the log",
        "requestBody": {
            "required": True,
            "content": {"application/json": event_or_list, "application/x-ndjson": lines},
        },
        "responses": _answers(
            *(wire.IngestAnswer, "On disk; a verdict for each row.", 400, 413, 422, 503), status="202"
        ),
    }


def _get_stream() -> dict[str, Any]:
    several = {"type": "array", "items": {"type": "string"}}
    meanings = {
        "type": "Only these types; `stop.delay.*` names several.",
        "route_id": "Only events of these routes.",
        "subject": "Only events about these stops, routes or zones.",
    }
    position = {"type": "integer", "minimum": 0}
    listed = [
        {"name": name, "in": "query", "description": text, "schema": several, "explode": True}
        for name, text in meanings.items()
    ]
    after = [
        {"name": "Last-Event-ID", "in": "header", "description": "Where the client was.", "schema": position},
        {"name": "after", "in": "query", "description": "The same, for a first visit.", "schema": position},
    ]
    heard = {"text/event-stream": {"schema": {"type": "string", "description": "CloudEvents 1.0 as `data`."}}}
    answers = _answers(wire.Problem, "", 422, 503)
    return {
        "operationId": "stream",
        "summary": "Events as they happen",
        "parameters": [*listed, *after],
        "responses": answers | {"200": {"description": "Server-sent events, without end.", "content": heard}},
    }


def _alert_filters() -> list[dict[str, Any]]:
    state = {"name": "state", "in": "query", "schema": {"enum": ["open", "resolved"]}}
    ids = [{"name": name, "in": "query", "schema": {"type": "string"}} for name in ("stop_id", "route_id")]
    return [state, *ids, LIMIT]


def _get(
    operation: str,
    title: str,
    answer: type[BaseModel],
    *refusals: int,
    path: str | None = None,
    query: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    in_path = [{"name": path, "in": "path", "required": True, "schema": {"type": "string"}}] if path else []
    return {
        "operationId": operation,
        "summary": title,
        "parameters": [*in_path, *(query or [])],
        "responses": _answers(answer, title, *refusals),
    }


def _answers(answer: type[BaseModel], meaning: str, *refusals: int, status: str = "200") -> dict[str, Any]:
    refused = {"application/problem+json": _schema(wire.Problem)}
    return {
        status: {"description": meaning, "content": {"application/json": _schema(answer)}},
        **{str(code): {"description": "Refused, and why.", "content": refused} for code in refusals},
    }


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return {"schema": {"$ref": REF.format(model=model.__name__)}}


def openapi_json(_: Request) -> Response:
    return JSON(openapi_document())


def docs(_: Request) -> Response:
    rows = "".join(
        f"<tr><td><code>{method.upper()} {escape(path)}</code></td><td>{escape(call['summary'])}</td></tr>"
        for path, methods in openapi_document()["paths"].items()
        for method, call in methods.items()
    )
    return HTMLResponse(
        "<!doctype html><html lang=en><meta charset=utf-8><title>Punctual API</title>"
        "<style>body{font:16px system-ui;margin:3rem auto;max-width:48rem}td{padding:.3rem .8rem}</style>"
        f"<h1>Punctual API</h1><table>{rows}</table>"
        '<p>Every field: <a href="/openapi.json">openapi.json</a> (OpenAPI 3.1).</p></html>'
    )


DOCUMENT_CALLS = (
    Route("/openapi.json", openapi_json, methods=["GET"]),
    Route("/docs", docs, methods=["GET"]),
)
