"""``sender.db``: who subscribed, what is on its way to them, and every attempt.

The sender and the API both write it, in short transactions. One is all or nothing: events taken from the
outbox enter together with the position they were taken up to, and an attempt together with what follows it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import orjson

from serving.engine.ops import OutboxEvent
from serving.storage.database import connect, immediate, statements
from serving.webhooks.policy import Answer, MessageState, Next, Why
from serving.webhooks.signing import Generation


class WebhookState(StrEnum):
    ACTIVE = "active"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """Who is sent what: a URL, or a channel by its name. No types mean every type.

    Events up to ``after_position`` of the outbox were before its time.
    """

    webhook_id: str
    url: str | None
    channel: str | None
    description: str
    types: frozenset[str]
    state: WebhookState
    reason: str | None
    created_us: int
    changed_us: int
    after_position: int
    rests_until_us: int = 0

    def takes(self, position: int, event: OutboxEvent) -> bool:
        is_meant = not self.types or event.type in self.types
        return is_meant and self.state is WebhookState.ACTIVE and position > self.after_position


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """An event of the outbox with the payload that its receivers get."""

    position: int
    event: OutboxEvent
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class DueMessage:
    """An event that a webhook is to be sent now; ``tries`` attempts were made before."""

    webhook: Webhook
    event_id: str
    tries: int
    payload: bytes


class SenderStore:
    """One connection; any number of threads may ask."""

    def __init__(self, path: Path, synchronous: Literal["FULL", "NORMAL"] = "FULL") -> None:
        self._sql = statements("sender")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        self._connection = connect(path, synchronous=synchronous, schema=self._sql["schema"])
        self._lock = threading.RLock()

    def close(self) -> None:
        self._connection.close()

    # --- subscriptions ------------------------------------------------------------------------------------

    def webhooks(self) -> list[Webhook]:
        return [_webhook(row) for row in self._rows("webhooks")]

    def webhook(self, webhook_id: str) -> Webhook | None:
        rows = self._rows("webhook", webhook_id)
        return _webhook(rows[0]) if rows else None

    def add(self, webhook: Webhook, most: int, masked: bytes | None = None) -> bool:
        """Store a new one with its first secret, ``masked`` if it was brought, unless there are ``most`` already."""
        row = astuple(webhook)
        types = orjson.dumps(sorted(webhook.types)).decode()
        with self._lock, immediate(self._connection) as tx:
            if tx.execute(self._sql["count_webhooks"]).fetchone()[0] >= most:
                return False
            tx.execute(self._sql["add_webhook"], (*row[:4], types, *row[5:]))
            tx.execute(self._sql["add_generation"], (webhook.webhook_id, webhook.created_us, masked))
        return True

    def remove(self, webhook_id: str) -> bool:
        """Forget a webhook with everything that was or is to be sent to it."""
        with self._lock, immediate(self._connection) as tx:
            for kind in ("messages", "attempts", "generations"):
                tx.execute(self._sql[f"remove_{kind}"], (webhook_id,))
            return tx.execute(self._sql["remove_webhook"], (webhook_id,)).rowcount == 1

    def enable(self, webhook_id: str, at_us: int, after_position: int) -> bool:
        """Send to it again; what came while it was disabled is left out."""
        with self._lock, immediate(self._connection) as tx:
            return tx.execute(self._sql["enable"], (at_us, after_position, webhook_id)).rowcount == 1

    def rotate(self, webhook_id: str, at_us: int, old_until_us: int) -> Generation | None:
        """Add a secret; older ones sign beside it until they expire. Give its generation."""
        with self._lock, immediate(self._connection) as tx:
            if not tx.execute(self._sql["webhook"], (webhook_id,)).fetchone():
                return None
            tx.execute(self._sql["expire_generations"], (webhook_id, old_until_us))
            tx.execute(self._sql["add_generation"], (webhook_id, at_us, None))
        return self.generations(webhook_id, at_us)[0]

    def generations(self, webhook_id: str, at_us: int) -> list[Generation]:
        """Secrets that are good at an instant, the newest first."""
        return [Generation(number, masked) for number, masked in self._rows("generations", webhook_id, at_us)]

    # --- what is sent -------------------------------------------------------------------------------------

    def position(self) -> int:
        """The last event of the outbox that was taken."""
        rows = self._rows("position")
        return int(rows[0][0]) if rows else 0

    def step_back(self, last: int) -> None:
        """The outbox ends before what was taken: it was made anew, and is read from its new end on."""
        with self._lock, immediate(self._connection) as tx:
            tx.execute(self._sql["save_position"], (last,))
            tx.execute(self._sql["step_back"], (last,))

    def take(self, taken: Sequence[Taken], webhooks: Sequence[Webhook], at_us: int) -> int:
        """Enter events for those who want them, up to the last one's position; give how many messages."""
        with self._lock, immediate(self._connection) as tx:
            count = 0
            for each in taken:
                event = each.event
                wanting = [webhook for webhook in webhooks if webhook.takes(each.position, event)]
                if wanting:
                    row = (event.event_id, each.position, event.type, event.subject, at_us, each.payload)
                    tx.execute(self._sql["add_event"], row)
                for webhook in wanting:
                    message = (webhook.webhook_id, event.event_id, each.position, at_us, at_us)
                    count += tx.execute(self._sql["add_message"], message).rowcount
            tx.execute(self._sql["save_position"], (taken[-1].position,))
        return count

    def enter(self, taken: Taken, webhook_id: str, at_us: int) -> None:
        """Enter one event for one webhook, whatever it subscribed to."""
        event = taken.event
        row = (event.event_id, taken.position, event.type, event.subject, at_us, taken.payload)
        with self._lock, immediate(self._connection) as tx:
            tx.execute(self._sql["add_event"], row)
            tx.execute(self._sql["add_message"], (webhook_id, event.event_id, taken.position, at_us, at_us))

    def due(self, webhook: Webhook, at_us: int, limit: int) -> list[DueMessage]:
        """What a webhook is to be sent by now, the longest due first."""
        return [
            DueMessage(webhook=webhook, event_id=event_id, tries=tries, payload=payload)
            for event_id, tries, payload in self._rows("due", webhook.webhook_id, at_us, limit)
        ]

    def settle(self, message: DueMessage, answer: Answer, then: Next, at_us: int) -> None:
        """Keep an attempt and what follows from it."""
        webhook_id, event_id = message.webhook.webhook_id, message.event_id
        attempt = (at_us, answer.took_ms, answer.outcome.value, answer.status, answer.detail)
        done_us = None if then.state is MessageState.PENDING else at_us
        moved = (then.state.value, then.why.value, message.tries + 1, then.due_us, done_us)
        with self._lock, immediate(self._connection) as tx:
            tx.execute(self._sql["add_attempt"], (webhook_id, event_id, *attempt))
            tx.execute(self._sql["settle"], (*moved, webhook_id, event_id))
            if then.disables:
                tx.execute(self._sql["disable"], (Why.GONE.value, at_us, webhook_id))
            if then.rests_until_us is not None:
                tx.execute(self._sql["rest"], (then.rests_until_us, webhook_id))

    def redeliver(self, webhook_id: str, at_us: int, event_ids: Sequence[str] | None = None) -> int:
        """Send events once more from the start of the schedule: those named, or all dead letters."""
        with self._lock, immediate(self._connection) as tx:
            if event_ids is None:
                return tx.execute(self._sql["redeliver_dead"], (webhook_id, at_us)).rowcount
            named = orjson.dumps(list(event_ids)).decode()
            return tx.execute(self._sql["redeliver"], (webhook_id, at_us, named)).rowcount

    def forget(self, before_us: int) -> None:
        """Drop what ended before an instant; nothing that is still to be sent."""
        with self._lock, immediate(self._connection) as tx:
            for kind in ("attempts", "messages", "events", "generations"):
                tx.execute(self._sql[f"forget_{kind}"], (before_us,))

    # --- what is told of it -------------------------------------------------------------------------------

    def messages(self, webhook_id: str, state: str | None, limit: int) -> list[dict[str, Any]]:
        """What was entered for a webhook, the newest first."""
        return self._dicts("messages", webhook_id, state, limit)

    def attempts(self, webhook_id: str, event_id: str | None, limit: int) -> list[dict[str, Any]]:
        """The delivery log of a webhook, the newest first."""
        return self._dicts("attempts", webhook_id, event_id, limit)

    def counts(self, webhook_id: str) -> dict[str, int]:
        """Messages of a webhook by their state."""
        found = dict(self._rows("counts", webhook_id))
        return {state.value: found.get(state.value, 0) for state in MessageState}

    def figures(self) -> dict[str, Any]:
        return self._dicts("figures")[0]

    def _rows(self, name: str, *arguments: Any) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._connection.execute(self._sql[name], arguments).fetchall()

    def _dicts(self, name: str, *arguments: Any) -> list[dict[str, Any]]:
        with self._lock:
            cursor = self._connection.execute(self._sql[name], arguments)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _webhook(row: tuple[Any, ...]) -> Webhook:
    names = ("webhook_id", "url", "channel", "description", "types", "state", "reason")
    named = dict(zip(names, row[:7], strict=True))
    created_us, changed_us, after_position, rests_until_us = row[7:]
    return Webhook(
        **named | {"types": frozenset(orjson.loads(named["types"])), "state": WebhookState(named["state"])},
        created_us=created_us,
        changed_us=changed_us,
        after_position=after_position,
        rests_until_us=rests_until_us,
    )
