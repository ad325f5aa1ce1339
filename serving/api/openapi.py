"""The OpenAPI 3.1 document, made of the endpoints, and a page that lists the calls."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from data_contracts import __version__
from serving.http import wire
from serving.http.endpoint import REF, Endpoint
from serving.http.examples import example_of
from serving.http.responses import JSON

KEY_SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "description": "A key of the workspace. While it has none, calls from its own machine need no key.",
}


def openapi_document(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """The whole document."""
    paths: dict[str, dict[str, Any]] = {}
    schemas = _schemas(endpoints)
    for endpoint in endpoints:
        operation = endpoint.operation()
        _show(operation, schemas)
        paths.setdefault(endpoint.described_path, {})[endpoint.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Punctual",
            "version": __version__,
            "description": "Delivery-window forecasts, late risk and alerts of last-mile fleets.",
        },
        "paths": paths,
        "components": {"securitySchemes": {"key": KEY_SCHEME}, "schemas": schemas},
    }


def document_routes(endpoints: Sequence[Endpoint]) -> tuple[Route, ...]:
    """Where the document and the page are read; both are made once."""
    document = openapi_document(endpoints)
    text, page = JSON(document).body, _page(document)

    def openapi_json(_: Request) -> Response:
        return JSON(bytes(text))

    def docs(_: Request) -> Response:
        return HTMLResponse(page)

    return (
        Route("/openapi.json", openapi_json, methods=["GET"]),
        Route("/docs", docs, methods=["GET"]),
    )


def _show(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Give every body of JSON an example, where it has none of its own."""
    bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
    for body in bodies:
        for media_type, content in body.get("content", {}).items():
            if "json" in media_type and "ndjson" not in media_type:
                content.setdefault("example", example_of(content["schema"], schemas))


def _schemas(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    models: dict[type[BaseModel], None] = {wire.Problem: None}
    for endpoint in endpoints:
        models |= dict.fromkeys(endpoint.referred())
    _, schemas = models_json_schema([(model, "validation") for model in models], ref_template=REF)
    found: dict[str, Any] = schemas["$defs"]
    return found


def _page(document: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{method.upper()} {escape(path)}</code></td><td>{escape(call['summary'])}</td></tr>"
        for path, methods in document["paths"].items()
        for method, call in methods.items()
    )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Punctual API</title>"
        "<style>body{font:16px system-ui;margin:3rem auto;max-width:48rem}td{padding:.3rem .8rem}</style>"
        f"<h1>Punctual API</h1><table>{rows}</table>"
        '<p>Every field: <a href="/openapi.json">openapi.json</a> (OpenAPI 3.1).</p></html>'
    )
