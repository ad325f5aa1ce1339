"""Waiting for the outbox to grow: one look at the database wakes every listener of a worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from starlette.concurrency import run_in_threadpool

from serving.meters import meters

log = structlog.get_logger(__name__)

AFTER_FAILURE_S = 1.0


class OutboxTail:
    """Where the outbox ends, looked up only while somebody listens."""

    def __init__(self, last: Callable[[], int], every_s: float) -> None:
        """``last`` gives the position of the last event; it is asked every ``every_s`` seconds."""
        self._last, self._every_s = last, every_s
        self._grown = asyncio.Condition()
        self.position = 0
        self._watch: asyncio.Task[None] | None = None
        self.listeners = 0

    def admit(self, most: int) -> bool:
        """Count one more listener, unless there are ``most`` already; each admitted one leaves."""
        if self.listeners >= most:
            return False
        self.listeners += 1
        meters().streams.inc()
        if self._watch is None:
            self._watch = asyncio.create_task(self._look())
        return True

    def leave(self) -> None:
        self.listeners -= 1
        meters().streams.dec()
        if not self.listeners and self._watch is not None:
            self._watch.cancel()
            self._watch = None

    async def beyond(self, position: int, within_s: float) -> bool:
        """Whether the outbox has grown past ``position``, waiting for it at most ``within_s`` seconds."""
        try:
            async with asyncio.timeout(max(0.0, within_s)), self._grown:
                await self._grown.wait_for(lambda: self.position > position)
        except TimeoutError:
            return self.position > position
        return True

    async def _look(self) -> None:
        while True:
            try:
                last = await run_in_threadpool(self._last)
            except Exception:
                log.exception("outbox_not_read")
                await asyncio.sleep(AFTER_FAILURE_S)
                continue
            if last != self.position:
                async with self._grown:
                    self.position = last
                    self._grown.notify_all()
            await asyncio.sleep(self._every_s)
