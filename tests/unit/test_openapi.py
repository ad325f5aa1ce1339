"""The document is OpenAPI 3.1, and every example in it is what its schema says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema
import orjson
import pytest
from test_access import OPEN_CALLS

from data_contracts.events import parse
from serving.api.api import ENDPOINTS
from serving.api.openapi import openapi_document
from serving.http.wire import EtaRequest

DOCUMENT = openapi_document(ENDPOINTS)
ROOT = {"components": DOCUMENT["components"]}


def bodies() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            parts = {"request": operation.get("requestBody", {}), **operation["responses"]}
            for part, body in parts.items():
                for media_type, content in body.get("content", {}).items():
                    yield f"{method} {path} {part} {media_type}", content


@pytest.mark.parametrize("path", DOCUMENT["paths"])
def test_every_example_is_valid(path: str) -> None:
    for where, content in bodies():
        if where.split()[1] != path or "json" not in where or "ndjson" in where:
            continue
        validator = jsonschema.Draft202012Validator(content["schema"] | ROOT)
        faults = [error.message for error in validator.iter_errors(content["example"])]
        assert not faults, f"{where}: {faults}"


def test_the_example_of_an_event_is_taken() -> None:
    content = DOCUMENT["paths"]["/v1/events"]["post"]["requestBody"]["content"]
    assert parse(content["application/json"]["example"]).event_id
    for line in content["application/x-ndjson"]["example"].splitlines():
        assert parse(orjson.loads(line)).event_id


def test_the_example_of_a_question_is_taken() -> None:
    example = DOCUMENT["paths"]["/v1/eta"]["post"]["requestBody"]["content"]["application/json"]["example"]
    assert EtaRequest.model_validate(example).stop_ids


def test_names_are_given_once_and_every_call_is_described() -> None:
    operations = [each for methods in DOCUMENT["paths"].values() for each in methods.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names) == len(ENDPOINTS)
    for operation in operations:
        assert operation["summary"]
        assert any(code.startswith("2") for code in operation["responses"])


def test_only_some_calls_need_no_key_and_they_are_counted_by_address() -> None:
    assert {each.name for each in ENDPOINTS if each.scope is None} == OPEN_CALLS
    for endpoint in ENDPOINTS:
        operation = DOCUMENT["paths"][endpoint.described_path][endpoint.method.lower()]
        assert ("security" in operation) == (endpoint.scope is not None)
        assert "429" in operation["responses"]


def test_every_reference_leads_somewhere() -> None:
    def references(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            yield from ([node["$ref"]] if isinstance(node.get("$ref"), str) else [])
            for value in node.values():
                yield from references(value)
        elif isinstance(node, list):
            for value in node:
                yield from references(value)

    known = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}
    assert set(references(DOCUMENT)) <= known
