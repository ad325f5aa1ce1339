"""The sender: takes events from the outbox, sends what is due, and keeps what came of it.

It may be killed anywhere. Events are taken together with the position that they reach to, so that none is
skipped; an attempt that was not kept is made again with the same id and payload, so that every event arrives
at least once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import structlog

from serving.engine.ops import OutboxEvent
from serving.meters import meters
from serving.times import US
from serving.webhooks.payload import fitted
from serving.webhooks.policy import Answer, SendingPolicy, follow
from serving.webhooks.store import DueMessage, SenderStore, Taken, WebhookState

log = structlog.get_logger(__name__)

#: Events taken at once.
ROWS = 500
SWEEP_S = 3600.0
#: A pause in which several attempts may end before the next look.
BREATH_S = 0.005
#: How long attempts that are on their way may take once the sender is told to stop.
GRACE_S = 3.0

Post = Callable[[DueMessage, int], Awaitable[Answer]]


class Outbox(Protocol):
    """Where events come from."""

    def outbox(self, after: int, limit: int) -> list[tuple[int, OutboxEvent]]: ...

    def outbox_span(self) -> tuple[int, int]: ...


class Sender:
    """One sender of one workspace. ``now_us`` is the wall's clock."""

    def __init__(
        self, outbox: Outbox, store: SenderStore, post: Post, policy: SendingPolicy, now_us: Callable[[], int]
    ) -> None:
        self._outbox, self._store, self._post = outbox, store, post
        self._policy, self._now_us = policy, now_us
        self._flying: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._swept_us = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Send until told to stop; what is on its way then may arrive, or is sent again later.

        A failure of the sender's own, such as a full disk, ends it: it begins anew where it stood.
        """
        stopped = asyncio.create_task(stop.wait())
        async with asyncio.TaskGroup() as group:
            while not stop.is_set():
                full = self.take() == ROWS
                self._start_due(group)
                self._sweep()
                waiting = (stopped, *self._flying.values())
                timeout_s = 0.0 if full else self._policy.look_s
                await asyncio.wait(waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.sleep(BREATH_S)
            await self._land()

    def take(self) -> int:
        """Enter new events of the outbox for those who want them; give how many were read."""
        position = self._store.position()
        rows = self._outbox.outbox(position, ROWS)
        if rows and rows[0][0] > position + 1:
            self._tell_lost(position)
        if rows:
            webhooks, now_us = self._store.webhooks(), self._now_us()
            self._store.take([self._taken(*row) for row in rows], webhooks, now_us)
        elif (last := self._outbox.outbox_span()[1]) < position:
            log.warning("outbox_was_made_anew", taken=position, last=last)
            self._store.step_back(last)
        return len(rows)

    def _tell_lost(self, position: int) -> None:
        """Say so where the outbox forgot events before they were taken, as after months without a sender."""
        before_first, _ = self._outbox.outbox_span()
        if before_first > position > 0:
            log.error("events_lost", taken=position, goes_on_after=before_first)

    def _taken(self, position: int, event: OutboxEvent) -> Taken:
        return Taken(position=position, event=event, payload=fitted(event.body, self._policy.payload_bytes))

    def _start_due(self, group: asyncio.TaskGroup) -> None:
        """Start attempts, for those first of whom the fewest are on their way."""
        now_us = self._now_us()
        ready = [
            webhook
            for webhook in self._store.webhooks()
            if webhook.state is WebhookState.ACTIVE and webhook.rests_until_us <= now_us
        ]
        for webhook in sorted(ready, key=lambda each: self._count(each.webhook_id)):
            count = self._count(webhook.webhook_id)
            room = min(self._policy.per_webhook - count, self._policy.in_flight - len(self._flying))
            if room > 0:
                due = self._store.due(webhook, now_us, room + count)
                for message in self._grounded(due)[:room]:
                    key = (webhook.webhook_id, message.event_id)
                    self._flying[key] = group.create_task(self._attempt(message))

    def _count(self, webhook_id: str) -> int:
        """Attempts that are on their way to one receiver."""
        return sum(flying == webhook_id for flying, _ in self._flying)

    def _grounded(self, due: Sequence[DueMessage]) -> list[DueMessage]:
        return [each for each in due if (each.webhook.webhook_id, each.event_id) not in self._flying]

    async def _attempt(self, message: DueMessage) -> None:
        webhook_id, event_id = key = message.webhook.webhook_id, message.event_id
        try:
            answer = await self._post(message, self._now_us())
            at_us = self._now_us()
            then = follow(answer, message.tries + 1, f"{webhook_id}|{event_id}", at_us, self._policy)
            self._store.settle(message, answer, then, at_us)
        finally:
            del self._flying[key]
        meters().attempts.labels(answer.outcome.value).inc()
        log.info(
            "webhook_attempted",
            webhook_id=webhook_id,
            event_id=event_id,
            outcome=answer.outcome.value,
            status=answer.status,
            why=then.why.value,
        )

    def _sweep(self) -> None:
        now_us = self._now_us()
        if now_us - self._swept_us >= SWEEP_S * US:
            self._swept_us = now_us
            self._store.forget(now_us - int(self._policy.keep_s * US))

    async def _land(self) -> None:
        if self._flying:
            _, late = await asyncio.wait(list(self._flying.values()), timeout=GRACE_S)
            for task in late:
                task.cancel()
