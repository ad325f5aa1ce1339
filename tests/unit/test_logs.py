"""Log lines are JSON with a stable name, and hold nothing that opens anything."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator

import pytest
import structlog

from serving.http.keys import Scope, new_key
from serving.logs import HIDDEN, configure_logging, hide_secrets

_, KEY = new_key("k", {Scope.READ}, 1, 0)
WEBHOOK = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    sink = io.StringIO()
    monkeypatch.setattr(sys, "stderr", sink)
    configure_logging()
    yield sink
    structlog.reset_defaults()


@pytest.mark.parametrize(
    "value",
    [
        KEY,
        f"Bearer {KEY}",
        f"GET /v1/alerts?key={KEY} HTTP/1.1",
        {"headers": {"x": [KEY]}},
        [("authorization", f"Bearer {KEY}")],
        WEBHOOK,
        "authorization: bearer abcdefghij",
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_secret_is_hidden_wherever_it_stands(value: object) -> None:
    told = str(hide_secrets(None, "", {"event": "x", "value": value}))
    assert KEY.rpartition("_")[2] not in told and "MfKQ" not in told and "abcdefghij" not in told
    assert HIDDEN in told


def test_the_id_of_a_key_stays_so_that_it_can_be_revoked() -> None:
    assert KEY.split("_")[1] in str(hide_secrets(None, "", {"event": f"got {KEY}"}))


@pytest.mark.parametrize("name", ["authorization", "Cookie", "secret", "password", "token", "key"])
def test_fields_that_are_secrets_by_name_are_hidden(name: str) -> None:
    assert hide_secrets(None, "", {"event": "x", name: "anything"})[name] == HIDDEN


def test_a_failure_tells_its_place_and_not_the_values_in_it(lines: io.StringIO) -> None:
    held = "a secret that lies in a variable"
    try:
        raise ValueError(f"could not use {KEY}")
    except ValueError:
        structlog.get_logger("x").exception("it_failed", path="/v1/eta")
    line = json.loads(lines.getvalue())
    assert (line["event"], line["level"]) == ("it_failed", "error")
    assert (
        line["exception"][0]["frames"][-1]["name"]
        == "test_a_failure_tells_its_place_and_not_the_values_in_it"
    )
    assert held not in lines.getvalue() and KEY not in lines.getvalue()
