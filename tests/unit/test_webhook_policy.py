"""What follows an attempt, which payload fits, and how it is signed: decided without a clock or a socket."""

from __future__ import annotations

import os
import stat
from base64 import b64encode
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from data_contracts.errors import SubscriptionError, WorkspaceError
from serving.engine.outbox import EventType, outbox_event
from serving.times import US, wall_now_us
from serving.webhooks.channels import worded
from serving.webhooks.payload import LEFT_OUT, fitted
from serving.webhooks.policy import (
    Answer,
    MessageState,
    Outcome,
    SendingPolicy,
    Why,
    follow,
    outcome_of,
    wait_s,
)
from serving.webhooks.post import CONTENT_TYPE, retry_after_s
from serving.webhooks.signing import KEY_VARIABLE, Generation, Secrets, brought_bytes, open_secrets

NOW_US = 1_772_452_800 * US
POLICY = SendingPolicy()
REFUSED = Answer(outcome=Outcome.REFUSED, status=500)
HOURS_S = 3600.0


def test_the_schedule_is_the_one_that_is_documented() -> None:
    minutes, hours = 60.0, 3600.0
    told = (0, 5, 5 * minutes, 30 * minutes, *(h * hours for h in (2, 5, 10, 14, 20, 24)))
    assert POLICY.retry_s == told


def test_a_message_that_is_refused_is_tried_ten_times_and_then_dead() -> None:
    at_us, waits = NOW_US, []
    for tries in range(1, 10):
        then = follow(REFUSED, tries, "w|e", at_us, POLICY)
        assert (then.state, then.why) == (MessageState.PENDING, Why.SCHEDULED)
        assert then.due_us is not None
        waits.append((then.due_us - at_us) / US)
        at_us = then.due_us
    for wait, planned in zip(waits, POLICY.retry_s[1:], strict=True):
        assert planned <= wait <= 1.1 * planned
    last = follow(REFUSED, 10, "w|e", at_us, POLICY)
    assert (last.state, last.why, last.disables) == (MessageState.DEAD, Why.ATTEMPTS_SPENT, False)


def test_an_accepted_message_is_done() -> None:
    then = follow(Answer(outcome=Outcome.ACCEPTED, status=204), 3, "w|e", NOW_US, POLICY)
    assert (then.state, then.why, then.due_us) == (MessageState.SENT, Why.ACCEPTED, None)


def test_gone_is_for_good() -> None:
    then = follow(Answer(outcome=Outcome.GONE, status=410), 1, "w|e", NOW_US, POLICY)
    assert (then.state, then.why, then.disables) == (MessageState.DEAD, Why.GONE, True)


def test_a_receiver_that_asks_for_time_gets_it_and_only_rests_where_it_speaks_for_itself() -> None:
    busy = Answer(outcome=Outcome.REFUSED, status=429, retry_after_s=3600)
    then = follow(busy, 1, "w|e", NOW_US, POLICY)
    assert (then.why, then.due_us, then.rests_until_us) == (
        Why.RETRY_AFTER,
        NOW_US + 3600 * US,
        NOW_US + 3600 * US,
    )
    assert follow(replace(busy, status=500), 1, "w|e", NOW_US, POLICY).rests_until_us is None


def test_a_wish_for_less_time_than_the_schedule_changes_nothing() -> None:
    then = follow(Answer(outcome=Outcome.REFUSED, status=503, retry_after_s=1), 3, "w|e", NOW_US, POLICY)
    assert then.why is Why.SCHEDULED and then.due_us is not None and then.due_us >= NOW_US + 1800 * US


@given(
    st.sampled_from(Outcome),
    st.integers(1, 12),
    st.none() | st.floats(-1e9, 1e12, allow_nan=False),
    st.text(max_size=20),
)
def test_whatever_comes_a_message_ends_or_has_a_time(
    outcome: Outcome, tries: int, asked_s: float | None, key: str
) -> None:
    then = follow(Answer(outcome=outcome, status=503, retry_after_s=asked_s), tries, key, NOW_US, POLICY)
    if then.state is MessageState.PENDING:
        assert then.due_us is not None
        assert NOW_US <= then.due_us <= NOW_US + 1.1 * 24 * HOURS_S * US
    else:
        assert then.due_us is None


def test_jitter_spreads_messages_and_is_the_same_for_one() -> None:
    waits = {wait_s(2, f"w|e-{n}", POLICY) for n in range(50)}
    assert len(waits) > 40 and wait_s(2, "w|e-1", POLICY) in waits


def test_only_2xx_is_a_yes() -> None:
    assert {status: outcome_of(status) for status in (200, 204, 301, 308, 404, 410, 500)} == {
        200: Outcome.ACCEPTED,
        204: Outcome.ACCEPTED,
        301: Outcome.REDIRECTED,
        308: Outcome.REDIRECTED,
        404: Outcome.REFUSED,
        410: Outcome.GONE,
        500: Outcome.REFUSED,
    }


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("Mon, 02 Mar 2026 12:01:00 GMT", 60.0),
        ("Mon, 02 Mar 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("", None),
        ("9" * 40, 999_999_999.0),
        ("²", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str | None, seconds: float | None) -> None:
    assert retry_after_s(text, NOW_US) == seconds


@pytest.mark.parametrize("changes", [{"retry_s": ()}, {"retry_s": (-1.0,)}, {"payload_bytes": 10}])
def test_a_policy_that_cannot_be_kept_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"retry_s|payload_bytes"):
        replace(POLICY, **changes)  # type: ignore[arg-type]


# --- payload ----------------------------------------------------------------------------------------------


def test_an_event_that_fits_goes_out_as_it_lies() -> None:
    body = outbox_event(EventType.DELAY_PREDICTED, "S-1", NOW_US, {"stop_id": "S-1"}).body
    assert fitted(body, 20_000) is body


def test_too_large_an_event_loses_its_largest_members_and_names_them() -> None:
    data = {"incident_id": "i-1", "stops": ["S"] * 9_000, "zones": ["Z"] * 50, "text": "x" * 4_000}
    body = outbox_event(EventType.DISRUPTION_OPENED, "Z-1", NOW_US, data).body
    event = orjson.loads(fitted(body, 20_000))
    assert event["data"] == {k: v for k, v in data.items() if k != "stops"} | {LEFT_OUT: ["stops"]}
    assert event["id"] == orjson.loads(body)["id"]


@given(
    st.dictionaries(
        st.text(max_size=30), st.text(max_size=3000) | st.lists(st.integers(0, 10**6)), max_size=40
    )
)
def test_every_payload_is_under_the_limit_and_still_an_event(data: dict[str, object]) -> None:
    body = outbox_event(EventType.DELAY_PREDICTED, "S" * 200, NOW_US, data).body
    payload = fitted(body, 4_000)
    assert len(payload) < 4_000
    assert orjson.loads(payload)["id"] == orjson.loads(body)["id"]


def test_a_payload_is_a_cloud_event_to_the_reference_library() -> None:
    own = outbox_event(EventType.WINDOW_CHANGED, "S-1", NOW_US, {"stop_id": "S-1", "text": "é"})
    message = HTTPMessage(headers={"content-type": CONTENT_TYPE}, body=own.body)
    event = from_http_event(message)
    assert (event.get_id(), event.get_type(), event.get_subject()) == (own.event_id, own.type, "S-1")
    assert event.get_specversion() == "1.0" and event.get_data()["text"] == "é"
    time = event.get_time()
    assert time is not None and int(time.timestamp()) * US == NOW_US


def test_a_person_reads_what_happened() -> None:
    data = {"stop_id": "S-1", "severity": "high", "eta": None}
    title, text = worded(outbox_event(EventType.DELAY_PREDICTED, "S-1", NOW_US, data).body)
    assert title == "stop.delay.predicted S-1"
    assert "severity: high" in text and "eta" not in text


# --- signatures -------------------------------------------------------------------------------------------


def signed(secrets: Secrets, generations: list[int], payload: bytes = b'{"a":"\xc3\xa9"}') -> dict[str, str]:
    return secrets.headers("w-1", list(map(Generation, generations)), "e-1", payload, wall_now_us())


def test_the_reference_library_verifies_each_secret_that_is_still_good() -> None:
    secrets = Secrets(b"k" * 32)
    headers = signed(secrets, [2, 1])
    for generation in (1, 2):
        verifier = Verifier(secrets.secret("w-1", Generation(generation)))
        assert verifier.verify(b'{"a":"\xc3\xa9"}', headers) == {"a": "é"}
    for stranger in (secrets.secret("w-1", Generation(3)), secrets.secret("w-2", Generation(1))):
        with pytest.raises(WebhookVerificationError):
            Verifier(stranger).verify(b'{"a":"\xc3\xa9"}', headers)


@given(st.binary(min_size=24, max_size=64))
def test_a_receiver_verifies_with_the_secret_that_it_brought(raw: bytes) -> None:
    secrets, brought = Secrets(b"k" * 32), "whsec_" + b64encode(raw).decode()
    masked = secrets.masked("w-1", 1, brought_bytes(brought))
    generations = [Generation(2), Generation(1, masked)]
    headers = secrets.headers("w-1", generations, "e-1", b"{}", wall_now_us())
    assert masked != raw and secrets.secret("w-1", generations[1]) == brought
    for secret in (brought, secrets.secret("w-1", Generation(2))):
        assert Verifier(secret).verify(b"{}", headers) == {}
    assert Secrets(b"j" * 32).secret("w-1", generations[1]) != brought


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_%", "whsec_" + "YQ==" * 2, "whsec_" + "YWFh" * 22, "YWFh" * 8]
)
def test_a_secret_that_is_too_short_too_long_or_none_is_refused(secret: str) -> None:
    with pytest.raises(SubscriptionError, match="none of Standard Webhooks"):
        brought_bytes(secret)


@pytest.mark.parametrize("changed", ["webhook-id", "webhook-timestamp", "body"])
def test_what_was_changed_on_the_way_does_not_verify(changed: str) -> None:
    secrets = Secrets(b"k" * 32)
    headers, body = signed(secrets, [1]), b'{"a":"\xc3\xa9"}'
    if changed == "body":
        body = b'{"a":"b"}'
    else:
        headers[changed] = str(wall_now_us() // US + 1) if "time" in changed else "e-2"
    with pytest.raises(WebhookVerificationError):
        Verifier(secrets.secret("w-1", Generation(1))).verify(body, headers)


def test_the_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "w" / "webhook.key"
    first = open_secrets(path).secret("w-1", Generation(1))
    assert open_secrets(path).secret("w-1", Generation(1)) == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["webhook.key"]
    assert open_secrets(tmp_path / "other.key").secret("w-1", Generation(1)) != first


def test_the_key_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "ab" * 32)
    path = tmp_path / "webhook.key"
    assert open_secrets(path).secret("w", Generation(1)) == Secrets(bytes.fromhex("ab" * 32)).secret(
        "w", Generation(1)
    )
    assert not path.exists()


@pytest.mark.parametrize("text", ["", "zz", "ab" * 8])
def test_a_key_that_is_none_is_refused_rather_than_replaced(tmp_path: Path, text: str) -> None:
    path = tmp_path / "webhook.key"
    path.write_text(text)
    os.environ.pop(KEY_VARIABLE, None)
    with pytest.raises(WorkspaceError, match="bring back"):
        open_secrets(path)
