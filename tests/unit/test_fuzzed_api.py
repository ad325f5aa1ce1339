"""Whatever is sent to a call, its answer is one that the OpenAPI document tells of."""

from __future__ import annotations

import os
from collections.abc import Iterator

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from test_stream import served

from data_contracts.workspace import Workspace
from serving.api.api import ENDPOINTS
from serving.http.key_file import KeyFile
from serving.http.keys import Scope
from serving.settings import ServiceSettings
from serving.storage.log import Clock
from serving.times import wall_now_us
from tests.api_client import crown, play
from tests.engine_bench import late_day

#: Requests to each call; as many more as ``PUNCTUAL_FUZZ`` says.
EXAMPLES = int(os.environ.get("PUNCTUAL_FUZZ", "6"))
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
ENDLESS = "/v1/stream"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A served workspace with a day in it, and a key that may do everything."""
    workspace = Workspace(tmp_path_factory.mktemp("fuzzed") / "w")
    crown(workspace)
    play(workspace, *late_day())
    _, key = KeyFile(workspace.keys).create("k", frozenset({Scope.ADMIN}), wall_now_us(), requests_per_s=1e6)
    with served(workspace, ServiceSettings(clock=Clock.LOG)) as url:
        yield url, key


@pytest.mark.parametrize("name", [each.name for each in ENDPOINTS if each.path != ENDLESS])
def test_every_answer_is_as_the_document_says(api: tuple[str, str], name: str) -> None:
    url, key = api
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json").include(operation_id=name)
    (operation,) = [result.ok() for result in schema.get_all_operations()]

    @hypothesis.settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy())
    def ask(case: schemathesis.Case) -> None:
        case.call_and_validate(headers={"Authorization": f"Bearer {key}"}, checks=CHECKS)

    ask()
