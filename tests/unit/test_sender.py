"""The sender against receivers that verify, refuse, lie and hang: nothing is lost, and nobody holds up others."""

from __future__ import annotations

import asyncio
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from standardwebhooks import Webhook as Verifier

from data_contracts.workspace import Workspace
from serving.engine.ops import OpsStore
from serving.engine.outbox import EventType, outbox_event
from serving.engine.readings import OpsReader
from serving.sender_process import run
from serving.times import US, wall_now_us
from serving.webhooks import sender as sender_module
from serving.webhooks.policy import Answer, MessageState, Outcome, SendingPolicy
from serving.webhooks.sender import Sender
from serving.webhooks.signing import Generation, open_secrets
from serving.webhooks.store import DueMessage, SenderStore, Webhook, WebhookState
from tests.receivers import (
    Behave,
    Flood,
    Receiver,
    answering,
    crawling,
    dripping,
    receiving,
    resetting,
    saying,
    silent,
)

POLICY = SendingPolicy(
    retry_s=(0.0, 0.05, 0.05),
    timeout_s=3.0,
    look_s=0.02,
    plain_http=True,
    allowed_networks=("127.0.0.0/8",),
)


class Scene:
    """A workspace whose outbox grows, and those who subscribed to it."""

    def __init__(self, root: Path) -> None:
        self.workspace = Workspace(root)
        self.ops, self.store = OpsStore(self.workspace.ops), SenderStore(self.workspace.sender)
        self.outbox, self.ids = OpsReader(self.workspace.ops), list[str]()

    def put(self, count: int = 1, event_type: EventType = EventType.DELAY_PREDICTED) -> list[str]:
        events = [
            outbox_event(event_type, "S-1", len(self.ids) + n, {"stop_id": "S-1", "n": len(self.ids) + n})
            for n in range(count)
        ]
        with self.ops.transaction() as tx:
            tx.enqueue(events)
        self.ids += [event.event_id for event in events]
        return [event.event_id for event in events]

    def subscribe(
        self,
        webhook_id: str,
        url: str | None,
        channel: str | None = None,
        types: frozenset[str] = frozenset(),
    ) -> Webhook:
        webhook = Webhook(
            webhook_id=webhook_id,
            url=url,
            channel=channel,
            description="",
            types=types,
            state=WebhookState.ACTIVE,
            reason=None,
            created_us=wall_now_us(),
            changed_us=wall_now_us(),
            after_position=self.outbox.outbox_span()[1],
        )
        assert self.store.add(webhook, 100)
        return webhook

    def states(self, webhook_id: str) -> list[str]:
        """States of a webhook's messages, the oldest first."""
        return [row["state"] for row in reversed(self.store.messages(webhook_id, None, 1000))]

    def outcomes(self, webhook_id: str) -> list[str]:
        return [row["outcome"] for row in reversed(self.store.attempts(webhook_id, None, 1000))]

    @contextmanager
    def sending(self, policy: SendingPolicy = POLICY) -> Iterator[None]:
        """The sender as its process runs it, in a thread."""
        stop, loops = asyncio.Event(), list[asyncio.AbstractEventLoop]()

        async def live() -> None:
            loops.append(asyncio.get_running_loop())
            await run(self.workspace, policy, stop)

        thread = threading.Thread(target=lambda: asyncio.run(live()))
        thread.start()
        until(lambda: bool(loops))
        try:
            yield
        finally:
            loops[0].call_soon_threadsafe(stop.set)
            thread.join()


@pytest.fixture(autouse=True)
def _short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender_module, "GRACE_S", 0.2)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path / "w")


def until(holds: Callable[[], bool], within_s: float = 10.0) -> None:
    deadline_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline_s, f"nothing happened within {within_s} s"
        time.sleep(0.01)


def ids(receiver: Receiver) -> list[str]:
    return [each.headers["webhook-id"] for each in receiver.received]


def test_a_subscriber_verifies_what_it_is_sent_with_the_reference_library(scene: Scene) -> None:
    with receiving() as receiver, scene.sending():
        webhook = scene.subscribe("w-1", receiver.url)
        (event_id,) = scene.put()
        (request,) = receiver.wait_for(1)
        until(lambda: scene.states("w-1") == ["sent"])
    secret = open_secrets(scene.workspace.webhook_key).secret(webhook.webhook_id, Generation(1))
    event = Verifier(secret).verify(request.body, request.headers)
    assert (event["id"], event["specversion"], request.headers["webhook-id"]) == (event_id, "1.0", event_id)
    assert request.headers["content-type"].startswith("application/cloudevents+json")


def test_every_subscriber_gets_what_it_asked_for_and_nothing_of_before(scene: Scene) -> None:
    scene.put()
    with receiving() as one, receiving() as other, scene.sending():
        scene.subscribe("w-1", one.url)
        scene.subscribe("w-2", other.url, types=frozenset({"disruption.opened"}))
        delays = scene.put(3)
        opened = scene.put(1, EventType.DISRUPTION_OPENED)
        one.wait_for(4)
        other.wait_for(1)
        until(lambda: scene.states("w-1") == ["sent"] * 4)
    assert sorted(ids(one)) == sorted(delays + opened) and ids(other) == opened


def test_both_secrets_sign_while_one_takes_over_and_then_only_the_new(scene: Scene) -> None:
    with receiving() as receiver, scene.sending():
        scene.subscribe("w-1", receiver.url)
        now_us = wall_now_us()
        assert scene.store.rotate("w-1", now_us, now_us + US) == Generation(2)
        scene.put()
        (during,) = receiver.wait_for(1)
        time.sleep(1.05)
        scene.put()
        after = receiver.wait_for(2)[1]
    secrets = open_secrets(scene.workspace.webhook_key)
    for generation in (1, 2):
        Verifier(secrets.secret("w-1", Generation(generation))).verify(during.body, during.headers)
    assert len(during.headers["webhook-signature"].split()) == 2
    Verifier(secrets.secret("w-1", Generation(2))).verify(after.body, after.headers)
    assert len(after.headers["webhook-signature"].split()) == 1


def test_a_retry_has_the_same_id_and_payload_and_a_new_timestamp(scene: Scene) -> None:
    policy = replace(POLICY, retry_s=(0.0, 1.1, 0.1))
    with receiving(answering(500)) as receiver, scene.sending(policy):
        scene.subscribe("w-1", receiver.url)
        scene.put()
        receiver.wait_for(1)
        receiver.behave = answering(204, b"")
        first, second = receiver.wait_for(2)
        until(lambda: scene.states("w-1") == ["sent"])
    assert (first.body, first.headers["webhook-id"]) == (second.body, second.headers["webhook-id"])
    assert int(second.headers["webhook-timestamp"]) > int(first.headers["webhook-timestamp"])
    assert scene.outcomes("w-1") == ["REFUSED", "ACCEPTED"]


def test_a_message_whose_attempts_are_spent_is_a_dead_letter_that_can_be_sent_again(scene: Scene) -> None:
    with receiving(answering(500)) as receiver, scene.sending():
        scene.subscribe("w-1", receiver.url)
        (event_id,) = scene.put()
        until(lambda: scene.states("w-1") == ["dead"])
        assert len(receiver.received) == 3
        receiver.behave = answering()
        assert scene.store.redeliver("w-1", wall_now_us()) == 1
        until(lambda: scene.states("w-1") == ["sent"])
        assert scene.store.redeliver("w-1", wall_now_us(), [event_id, "e-unknown"]) == 1
        receiver.wait_for(5)
        until(lambda: scene.states("w-1") == ["sent"])
    assert set(ids(receiver)) == {event_id}


def test_gone_disables_a_webhook_until_it_is_enabled_again(scene: Scene) -> None:
    with receiving(answering(410)) as receiver, scene.sending():
        scene.subscribe("w-1", receiver.url)
        scene.put()
        until(lambda: scene.states("w-1") == ["dead"])
        webhook = scene.store.webhook("w-1")
        assert webhook is not None and (webhook.state, webhook.reason) == (WebhookState.DISABLED, "GONE")
        missed = scene.put()
        until(lambda: scene.store.position() == 2)
        receiver.behave = answering()
        assert scene.store.enable("w-1", wall_now_us(), scene.outbox.outbox_span()[1])
        later = scene.put()
        receiver.wait_for(2)
    assert missed[0] not in ids(receiver) and ids(receiver)[1:] == later


def test_a_receiver_that_asks_for_rest_gets_no_message_meanwhile(scene: Scene) -> None:
    with receiving(answering(429, Retry_After="1")) as receiver, scene.sending():
        scene.subscribe("w-1", receiver.url)
        scene.put()
        receiver.wait_for(1)
        receiver.behave = answering()
        until(lambda: scene.outcomes("w-1") == ["REFUSED"])
        begun_s = time.monotonic()
        scene.put(3)
        receiver.wait_for(5)
        assert time.monotonic() - begun_s > 0.7
        until(lambda: scene.states("w-1") == ["sent"] * 4)


FLOOD = Flood()
HOSTILE: dict[str, tuple[Behave, Outcome]] = {
    "silent": (silent, Outcome.TIMED_OUT),
    "a status byte by byte": (crawling, Outcome.TIMED_OUT),
    "a body byte by byte": (dripping, Outcome.ACCEPTED),
    "10 MB": (FLOOD, Outcome.ACCEPTED),
    "a reset": (resetting, Outcome.BROKEN_ANSWER),
    "nothing": (saying(b""), Outcome.BROKEN_ANSWER),
    "no HTTP": (saying(b"\x00\xff" * 50 + b"\r\n\r\n"), Outcome.BROKEN_ANSWER),
    "a head without end": (saying(b"HTTP/1.1 200 OK\r\n" + b"X-A: " + b"a" * 300_000), Outcome.BROKEN_ANSWER),
    "a length that lies": (saying(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\nshort"), Outcome.ACCEPTED),
    "two lengths": (
        saying(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
        Outcome.BROKEN_ANSWER,
    ),
    "broken chunks": (
        saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        Outcome.ACCEPTED,
    ),
    "a redirect to itself": (answering(307, Location="/hook"), Outcome.REDIRECTED),
    "a wish to wait for ever": (answering(503, Retry_After="9" * 30), Outcome.REFUSED),
    "words that are no text": (answering(400, bytes(range(256)) * 100), Outcome.REFUSED),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_receiver_costs_little_and_holds_up_nobody(scene: Scene, name: str) -> None:
    behave, outcome = HOSTILE[name]
    policy = replace(POLICY, retry_s=(0.0,), timeout_s=2.0)
    with receiving(behave) as bad, receiving() as good, scene.sending(policy):
        scene.subscribe("w-bad", bad.url)
        scene.subscribe("w-good", good.url)
        scene.put()
        good.wait_for(1)
        until(lambda: scene.outcomes("w-bad")[:1] == [outcome.value])
        until(lambda: scene.states("w-good") == ["sent"])
    (row,) = scene.store.attempts("w-bad", None, 1000)[-1:]
    assert len(row["detail"]) <= 500 and row["detail"].isprintable()
    assert row["took_ms"] < 1000 * (policy.timeout_s + 4)


def test_of_ten_megabytes_little_is_read() -> None:
    """What the kernel buffers on both sides, and not what was offered."""
    assert 0 < FLOOD.sent < 8_000_000


def test_where_nobody_listens_the_schedule_goes_on(scene: Scene) -> None:
    with receiving() as receiver:
        url = receiver.url
    with scene.sending():
        scene.subscribe("w-1", url)
        scene.put()
        until(lambda: scene.states("w-1") == ["dead"])
    assert scene.outcomes("w-1") == ["UNREACHABLE"] * 3


def test_slow_receivers_do_not_take_every_place(scene: Scene) -> None:
    policy = replace(POLICY, timeout_s=30.0, per_webhook=4, in_flight=12)
    with receiving(silent) as slow, receiving() as good, scene.sending(policy):
        scene.subscribe("w-a", slow.url)
        scene.subscribe("w-b", slow.url)
        scene.subscribe("w-good", good.url)
        scene.put(40)
        good.wait_for(40)
        until(lambda: scene.states("w-good") == ["sent"] * 40)
        assert len(slow.received) == 8


def test_a_removed_webhook_is_sent_nothing_more(scene: Scene) -> None:
    with receiving(answering(500)) as receiver, scene.sending(replace(POLICY, retry_s=(0.0, 0.3))):
        scene.subscribe("w-1", receiver.url)
        scene.put()
        receiver.wait_for(1)
        assert scene.store.remove("w-1") and not scene.store.remove("w-1")
        scene.put()
        until(lambda: scene.store.position() == 2)
        time.sleep(0.4)
        assert len(receiver.received) == 1
    assert scene.store.messages("w-1", None, 10) == scene.store.attempts("w-1", None, 10) == []


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
def test_a_channel_is_spoken_to_through_apprise(scene: Scene) -> None:
    with receiving() as receiver:
        channels = {"ops": f"json://127.0.0.1:{receiver.port}/told", "down": "json://127.0.0.1:1/"}
        with scene.sending(replace(POLICY, channels=channels, retry_s=(0.0,), timeout_s=5.0)):
            scene.subscribe("w-ops", None, "ops")
            scene.subscribe("w-down", None, "down")
            scene.subscribe("w-none", None, "no such")
            (event_id,) = scene.put()
            (request,) = receiver.wait_for(1)
            until(lambda: scene.states("w-ops") == ["sent"])
            until(lambda: scene.states("w-down") == scene.states("w-none") == ["dead"])
    told = orjson.loads(request.body)
    assert told["title"] == "stop.delay.predicted S-1" and event_id in told["message"]
    assert scene.outcomes("w-down") == scene.outcomes("w-none") == ["CHANNEL_FAILED"]


# --- crashes ----------------------------------------------------------------------------------------------


def manual(scene: Scene, post: Callable[[DueMessage, int], object]) -> Sender:
    return Sender(scene.outbox, scene.store, post, POLICY, wall_now_us)  # type: ignore[arg-type]


def test_an_attempt_that_was_made_but_not_kept_is_made_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []

    async def post(message: DueMessage, _: int) -> Answer:
        sent.append(message.event_id)
        return Answer(outcome=Outcome.ACCEPTED, status=200)

    def full(*_: object) -> None:
        raise OSError("disk full")

    scene.subscribe("w-1", "https://example.test/")
    (event_id,) = scene.put()
    with monkeypatch.context() as patched:
        patched.setattr(SenderStore, "settle", full)
        with pytest.raises(ExceptionGroup) as caught:
            asyncio.run(manual(scene, post).run(asyncio.Event()))
    assert "disk full" in str(caught.value.exceptions)
    assert (sent, scene.states("w-1")) == ([event_id], ["pending"])

    async def again() -> None:
        stop = asyncio.Event()
        running = asyncio.create_task(manual(scene, post).run(stop))
        while scene.states("w-1") != ["sent"]:
            await asyncio.sleep(0.01)
        stop.set()
        await running

    asyncio.run(asyncio.wait_for(again(), 10))
    assert sent == [event_id] * 2


def test_events_enter_with_the_position_that_they_reach_to_or_not_at_all(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.subscribe("w-1", "https://example.test/")
    scene.put(3)
    sender = manual(scene, lambda *_: None)
    statements = dict(scene.store._sql)
    with monkeypatch.context() as patched:
        patched.setattr(scene.store, "_sql", statements | {"save_position": "INSERT INTO nowhere VALUES (?)"})
        with pytest.raises(Exception, match="nowhere"):
            sender.take()
    assert (scene.store.position(), scene.states("w-1")) == (0, [])
    assert (sender.take(), sender.take()) == (3, 0)
    assert (scene.store.position(), len(scene.states("w-1"))) == (3, 3)


def test_an_outbox_that_was_made_anew_is_read_again_and_known_events_are_not_sent_twice(
    scene: Scene, tmp_path: Path
) -> None:
    scene.subscribe("w-1", "https://example.test/")
    scene.put(5)
    manual(scene, lambda *_: None).take()
    anew = Scene(tmp_path / "anew")
    sender = Sender(anew.outbox, scene.store, lambda *_: None, POLICY, wall_now_us)  # type: ignore[arg-type, return-value]
    assert (sender.take(), scene.store.position()) == (0, 0)
    anew.put(7)
    assert (sender.take(), scene.store.position()) == (7, 7)
    assert len(scene.states("w-1")) == 7


def test_events_that_were_forgotten_before_they_were_taken_are_told(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.subscribe("w-1", "https://example.test/")
    sender = manual(scene, lambda *_: None)
    scene.put(2)
    sender.take()
    assert "events_lost" not in capsys.readouterr().out
    scene.put(4)
    scene.ops._connection.execute("DELETE FROM outbox WHERE position <= 4")
    assert sender.take() == 2
    assert "events_lost" in capsys.readouterr().out


def test_what_ended_long_ago_is_forgotten_and_what_is_to_be_sent_is_not(scene: Scene) -> None:
    webhook = scene.subscribe("w-1", "https://example.test/")
    scene.put(2)
    manual(scene, lambda *_: None).take()
    first = scene.store.due(webhook, wall_now_us(), 1)[0]
    from serving.webhooks.policy import Next, Why

    gone = Next(state=MessageState.SENT, why=Why.ACCEPTED)
    scene.store.settle(first, Answer(outcome=Outcome.ACCEPTED, status=200), gone, wall_now_us())
    scene.store.forget(wall_now_us() + US)
    assert scene.states("w-1") == ["pending"] and scene.store.attempts("w-1", None, 10) == []
    assert len(scene.store.due(webhook, wall_now_us(), 10)) == 1
    assert scene.store._connection.execute("SELECT count(*) FROM events").fetchone() == (1,)


def test_a_stopping_sender_lets_attempts_arrive_but_does_not_wait_for_ever(scene: Scene) -> None:
    with receiving(silent) as receiver:
        with scene.sending(replace(POLICY, timeout_s=30.0)):
            scene.subscribe("w-1", receiver.url)
            scene.put()
            receiver.wait_for(1)
            begun_s = time.monotonic()
        assert time.monotonic() - begun_s < 10.0
    assert scene.states("w-1") == ["pending"]


def test_only_its_owner_reads_the_senders_file(scene: Scene) -> None:
    assert stat.S_IMODE(scene.workspace.sender.stat().st_mode) == 0o600


def test_the_figures_tell_what_waits(scene: Scene) -> None:
    scene.subscribe("w-1", "https://example.test/")
    scene.put(2)
    assert scene.store.figures()["oldest_pending_us"] is None
    manual(scene, lambda *_: None).take()
    figures = scene.store.figures()
    assert (figures["active_webhooks"], figures["pending_messages"], figures["position"]) == (1, 2, 2)
    assert abs(figures["oldest_pending_us"] - wall_now_us()) < 60 * US
