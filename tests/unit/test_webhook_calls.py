"""Webhooks over the API and by the command: set up, looked at, rotated, sent once more, and nothing told twice."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from data_contracts.errors import SubscriptionError
from data_contracts.workspace import Workspace
from pipelines.cli import app as command
from serving.api.api import create_app
from serving.engine.ops import OpsStore
from serving.engine.outbox import EventType, outbox_event
from serving.engine.readings import OpsReader
from serving.http.key_file import KeyFile
from serving.http.keys import Scope
from serving.http.limits import Limits
from serving.settings import ServiceSettings
from serving.storage.log import Clock
from serving.times import wall_now_us
from serving.webhooks import wire
from serving.webhooks.policy import Answer, Next, Outcome, SendingPolicy, follow
from serving.webhooks.sender import Sender
from serving.webhooks.signing import Generation, open_secrets
from serving.webhooks.store import SenderStore
from serving.webhooks.subscriptions import event_types, url_fault
from tests.api_client import PROBLEM, Client, calling
from tests.engine_bench import FakeForecaster

POLICY = SendingPolicy(most_webhooks=5, channels={"ops": "json://127.0.0.1:1/"}, retry_s=(0.0,))
SETTINGS = ServiceSettings(clock=Clock.LOG, limits=Limits(rows=50), webhooks=POLICY)
URL = "https://hooks.example.com/punctual?a=1"
BROUGHT = "whsec_" + "c2VjcmV0LWFu" * 3


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "w")


@pytest.fixture
def client(workspace: Workspace) -> Iterator[Client]:
    with calling(create_app(workspace, SETTINGS, load=lambda folder: FakeForecaster(folder.name))) as client:
        yield client


def delete(client: Client, path: str) -> httpx.Response:
    return client._portal.call(partial(client._client.delete, path))


def made(client: Client, **changes: Any) -> dict[str, Any]:
    answer = client.post("/v1/webhooks", json={"url": URL} | changes)
    assert answer.status_code == 201, answer.text
    wire.NewWebhook.model_validate(answer.json())
    document: dict[str, Any] = answer.json()
    return document


def fill(workspace: Workspace, count: int, outcome: Outcome = Outcome.REFUSED) -> list[str]:
    """Let events happen, and every attempt at them end like this."""
    ops, outbox, store = OpsStore(workspace.ops), OpsReader(workspace.ops), SenderStore(workspace.sender)
    events = [
        outbox_event(EventType.DELAY_PREDICTED, "S-1", wall_now_us() + n, {"n": n}) for n in range(count)
    ]
    with ops.transaction() as tx:
        tx.enqueue(events)

    async def nothing(*_: object) -> Answer:
        raise AssertionError

    Sender(outbox, store, nothing, POLICY, wall_now_us).take()
    for webhook in store.webhooks():
        for message in store.due(webhook, wall_now_us(), 1000):
            answer = Answer(outcome=outcome, status=500, detail="no")
            then: Next = follow(answer, message.tries + 1, "k", wall_now_us(), POLICY)
            store.settle(message, answer, then, wall_now_us())
    for each in (ops, outbox, store):
        each.close()
    return [event.event_id for event in events]


def test_a_secret_is_shown_when_it_is_made_and_never_again(client: Client, workspace: Workspace) -> None:
    first = made(client, types=["stop.delay.*"], description="shop")
    assert first["types"] == ["stop.delay.predicted", "stop.delay.resolved", "stop.delay.updated"]
    assert first["secret"] == open_secrets(workspace.webhook_key).secret(first["webhook_id"], Generation(1))
    listed = client.get("/v1/webhooks")
    assert len(wire.WebhookList.model_validate(listed.json()).webhooks) == 1
    one = client.get(f"/v1/webhooks/{first['webhook_id']}")
    assert "whsec" not in listed.text + one.text
    stored = b"".join(path.read_bytes() for path in workspace.root.glob("sender.db*"))
    assert first["secret"].removeprefix("whsec_").encode() not in stored


def test_a_secret_that_a_receiver_brings_is_told_nobody_and_stored_under_a_mask(
    client: Client, workspace: Workspace
) -> None:
    own = made(client, secret=BROUGHT)
    assert own["secret"] is None and BROUGHT not in client.get(f"/v1/webhooks/{own['webhook_id']}").text
    store = SenderStore(workspace.sender)
    (generation,) = store.generations(own["webhook_id"], 0)
    store.close()
    assert open_secrets(workspace.webhook_key).secret(own["webhook_id"], generation) == BROUGHT
    raw = b64decode(BROUGHT.removeprefix("whsec_"))
    assert raw not in workspace.sender.read_bytes() and generation.masked != raw


def test_rotation_gives_another_secret_and_says_how_long_the_old_one_signs(client: Client) -> None:
    first = made(client)
    rotated = client.post(f"/v1/webhooks/{first['webhook_id']}/rotate")
    secret = wire.NewSecret.model_validate(rotated.json())
    assert secret.secret != first["secret"] and secret.earlier_secrets_until.year >= 2026


def test_what_is_removed_is_not_known_any_more(client: Client) -> None:
    webhook_id = made(client)["webhook_id"]
    assert delete(client, f"/v1/webhooks/{webhook_id}").status_code == 204
    for answer in (
        delete(client, f"/v1/webhooks/{webhook_id}"),
        client.get(f"/v1/webhooks/{webhook_id}"),
        client.get(f"/v1/webhooks/{webhook_id}/attempts"),
        client.get(f"/v1/webhooks/{webhook_id}/messages"),
        *(
            client.post(f"/v1/webhooks/{webhook_id}/{verb}")
            for verb in ("rotate", "enable", "test", "redeliver")
        ),
    ):
        assert (answer.status_code, answer.headers["content-type"]) == (404, PROBLEM), answer.text


def test_dead_letters_are_listed_with_their_attempts_and_sent_once_more(
    client: Client, workspace: Workspace
) -> None:
    webhook_id = made(client)["webhook_id"]
    ids = fill(workspace, 3)
    assert client.get(f"/v1/webhooks/{webhook_id}").json()["messages"] == {
        "pending": 0,
        "sent": 0,
        "dead": 3,
    }
    dead = client.get(f"/v1/webhooks/{webhook_id}/messages?state=dead&limit=2").json()
    assert [each.event_id for each in wire.MessageList.model_validate(dead).messages] == ids[:0:-1]
    tried = client.get(f"/v1/webhooks/{webhook_id}/attempts?event_id={ids[0]}").json()
    (attempt,) = wire.AttemptList.model_validate(tried).attempts
    assert (attempt.outcome, attempt.status, attempt.detail) == ("REFUSED", 500, "no")
    named = client.post(f"/v1/webhooks/{webhook_id}/redeliver", json={"event_ids": [ids[0], "e-x"]})
    assert (named.status_code, named.json()) == (202, {"redelivered": 1})
    assert client.post(f"/v1/webhooks/{webhook_id}/redeliver").json() == {"redelivered": 2}
    assert client.get(f"/v1/webhooks/{webhook_id}").json()["messages"]["pending"] == 3


def test_a_test_event_goes_to_one_webhook_whatever_it_subscribed_to(
    client: Client, workspace: Workspace
) -> None:
    webhook_id = made(client, types=["disruption.opened"])["webhook_id"]
    made(client)
    event_id = client.post(f"/v1/webhooks/{webhook_id}/test").json()["event_id"]
    (message,) = client.get(f"/v1/webhooks/{webhook_id}/messages").json()["messages"]
    assert (message["event_id"], message["type"], message["state"]) == (event_id, "webhook.test", "pending")


def test_a_webhook_that_was_given_up_can_be_enabled(client: Client, workspace: Workspace) -> None:
    webhook_id = made(client)["webhook_id"]
    fill(workspace, 1, Outcome.GONE)
    assert client.get(f"/v1/webhooks/{webhook_id}").json()["state"] == "disabled"
    enabled = wire.Webhook.model_validate(client.post(f"/v1/webhooks/{webhook_id}/enable").json())
    assert (enabled.state, enabled.reason) == ("active", None)


REFUSED = {
    "no place": {},
    "two places": {"url": URL, "channel": "ops"},
    "an unknown channel": {"channel": "nobody"},
    "plain http": {"url": "http://hooks.example.com/"},
    "another scheme": {"url": "ftp://hooks.example.com/"},
    "a file": {"url": "file:///etc/passwd"},
    "no host": {"url": "https:///path"},
    "a user": {"url": "https://me:secret@hooks.example.com/"},
    "a fragment": {"url": "https://hooks.example.com/#x"},
    "a private address": {"url": "https://10.0.0.1/"},
    "the metadata address": {"url": "https://169.254.169.254/latest"},
    "this host in IPv6": {"url": "https://[::1]/"},
    "this host as IPv4 in IPv6": {"url": "https://[::ffff:127.0.0.1]/"},
    "a port that is none": {"url": "https://hooks.example.com:99999/"},
    "a line break": {"url": "https://hooks.example.com/\r\nX: y"},
    "letters of other scripts": {"url": "https://hööks.example.com/"},
    "an unknown type": {"url": URL, "types": ["stop.delayed"]},
    "everything by a star": {"url": URL, "types": ["*"]},
    "a member that is not known": {"url": URL, "colour": "red"},
    "a secret that is none": {"url": URL, "secret": "whsec_x"},
    "a secret for a channel": {"url": None, "channel": "ops", "secret": BROUGHT},
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_sent_to_is_refused_when_it_is_set_up(client: Client, name: str) -> None:
    answer = client.post("/v1/webhooks", json=REFUSED[name])
    assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM), answer.text
    assert len(answer.json()["detail"]) > 20
    assert client.get("/v1/webhooks").json() == {"webhooks": []}


@given(st.text(max_size=60))
def test_any_text_is_a_url_or_has_a_reason(text: str) -> None:
    for url in (text, f"https://{text}"):
        fault = url_fault(url, POLICY)
        assert fault is None or fault


def test_there_is_an_end_to_webhooks(client: Client) -> None:
    for _ in range(5):
        made(client, url=None, channel="ops")
    assert client.post("/v1/webhooks", json={"url": URL}).status_code == 422


def test_a_key_without_the_scope_manages_no_webhooks(client: Client, workspace: Workspace) -> None:
    reader, operator = (
        KeyFile(workspace.keys).create(name, frozenset({scope}), wall_now_us())[1]
        for name, scope in (("reader", Scope.READ), ("operator", Scope.OPERATE))
    )
    asked = partial(client.post, "/v1/webhooks", json={"url": URL})
    assert asked().status_code == 401
    assert asked(headers={"authorization": f"Bearer {reader}"}).status_code == 403
    assert asked(headers={"authorization": f"Bearer {operator}"}).status_code == 201


def test_the_figures_page_tells_of_the_sender(client: Client, workspace: Workspace) -> None:
    made(client)
    fill(workspace, 2)
    page = client.get("/metrics").text
    assert "punctual_webhooks 1.0" in page and "punctual_webhook_messages_dead 2.0" in page
    assert "punctual_sender_behind_events 0.0" in page


def test_types_are_named_alone_or_by_their_beginning() -> None:
    every = {event_type for event_type in EventType if event_type.startswith("disruption.")}
    assert event_types(["disruption.*", "disruption.opened"]) == every and len(every) > 1
    for wrong in ("*", ".*", "stop", "stop.delay", ""):
        with pytest.raises(SubscriptionError):
            event_types([wrong])


# --- the command ------------------------------------------------------------------------------------------


def run(workspace: Workspace, *words: str) -> str:
    done = CliRunner().invoke(command, ["webhooks", *words, "--workspace", str(workspace.root)])
    assert done.exit_code == 0, (done.output, done.exception)
    return str(done.stdout)


def test_the_command_does_what_the_api_does(workspace: Workspace) -> None:
    new = orjson.loads(run(workspace, "add", URL, "--type", "stop.delay.*", "--json"))
    webhook_id = new["webhook_id"]
    assert webhook_id in run(workspace, "list")
    assert orjson.loads(run(workspace, "list", "--json"))[0]["url"] == URL
    rotated = orjson.loads(run(workspace, "rotate", webhook_id, "--json"))
    assert rotated["secret"].startswith("whsec_") and rotated["secret"] != new["secret"]
    ids = fill(workspace, 2)
    assert ids[0] in run(workspace, "messages", webhook_id, "--state", "dead")
    assert len(orjson.loads(run(workspace, "attempts", webhook_id, "--json"))) == 2
    assert "2 events" in run(workspace, "redeliver", webhook_id)
    assert "1 events" in run(workspace, "redeliver", webhook_id, "--event", ids[0])
    assert "on its way" in run(workspace, "test", webhook_id)
    assert "active" in run(workspace, "enable", webhook_id)
    run(workspace, "remove", webhook_id)
    assert orjson.loads(run(workspace, "list", "--json")) == []


def test_the_command_prints_the_secret_alone_so_that_it_can_be_piped(workspace: Workspace) -> None:
    assert run(workspace, "add", URL).startswith("whsec_")


def test_the_command_refuses_with_a_next_step(workspace: Workspace) -> None:
    done = CliRunner().invoke(command, ["webhooks", "add", "http://x.test", "-w", str(workspace.root)])
    assert isinstance(done.exception, SubscriptionError) and "https" in str(done.exception)


def test_settings_of_webhooks_are_read_and_checked(tmp_path: Path) -> None:
    from data_contracts.errors import WorkspaceError
    from serving.settings import load_settings

    place = Workspace(tmp_path)
    place.settings.write_text(
        '[serving.webhooks]\nretry_s = [0, 1]\nallowed_networks = ["10.0.0.0/8"]\n'
        '[serving.webhooks.channels]\nops = "mailto://x"\n'
    )
    policy = load_settings(place).webhooks
    assert load_settings(place).shown()["webhooks"]["channels"] == {"ops": "mailto://..."}
    assert list(policy.retry_s) == [0, 1] and policy.channels == {"ops": "mailto://x"}
    place.settings.write_text('[serving.webhooks]\nallowed_networks = ["10.0.0.1/8"]\n')
    with pytest.raises(WorkspaceError, match="host bits"):
        load_settings(place)
    assert replace(policy, plain_http=True).plain_http


def test_an_app_may_be_opened_twice_at_once(workspace: Workspace) -> None:
    """Two workers make one key between them."""

    def opened() -> str:
        with calling(create_app(workspace, SETTINGS, load=lambda folder: FakeForecaster(folder.name))) as one:
            return str(made(one)["secret"])

    async def both() -> list[str]:
        return await asyncio.gather(*(asyncio.to_thread(opened) for _ in range(2)))

    first, second = asyncio.run(both())
    assert first != second
    assert len({open_secrets(workspace.webhook_key).secret("w", Generation(1)) for _ in range(2)}) == 1
