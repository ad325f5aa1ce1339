"""Channels that Apprise speaks (chat, mail, SMS): named in the settings, addressed like a webhook."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import structlog

from serving.webhooks.policy import Answer, Outcome, SendingPolicy
from serving.webhooks.store import DueMessage

log = structlog.get_logger(__name__)

#: Members of an event's data that are worth a line, in this order.
LINES = ("stop_id", "route_id", "zone_id", "cause", "reason", "severity", "state", "eta", "title")


class ChannelPost:
    """Attempts through Apprise, which waits where it sends and so has threads of its own."""

    def __init__(self, policy: SendingPolicy) -> None:
        self._policy = policy
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="apprise")

    async def __call__(self, message: DueMessage) -> Answer:
        name = message.webhook.channel or ""
        url = self._policy.channels.get(name)
        if url is None:
            detail = f"the settings name no channel {name!r}"
            return Answer(outcome=Outcome.CHANNEL_FAILED, detail=detail)
        started_s, loop = time.monotonic(), asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._policy.timeout_s):
                sent = await loop.run_in_executor(self._threads, _notify, url, *worded(message.payload))
        except TimeoutError:
            return Answer(outcome=Outcome.TIMED_OUT, detail=f"nothing within {self._policy.timeout_s:g} s")
        except Exception as error:
            log.exception("channel_failed", channel=name)
            return Answer(outcome=Outcome.CHANNEL_FAILED, detail=type(error).__name__)
        took_ms = int((time.monotonic() - started_s) * 1000)
        if sent:
            return Answer(outcome=Outcome.ACCEPTED, took_ms=took_ms)
        detail = f"channel {name!r} did not take it"
        return Answer(outcome=Outcome.CHANNEL_FAILED, detail=detail, took_ms=took_ms)

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def worded(payload: bytes) -> tuple[str, str]:
    """Title and text of an event as a person reads it."""
    event: Mapping[str, Any] = orjson.loads(payload)
    data: Mapping[str, Any] = event.get("data") or {}
    lines = [f"{name.removesuffix('_id')}: {data[name]}" for name in LINES if data.get(name)]
    title = f"{event['type']} {event['subject']}"
    return title, "\n".join([f"at {event['time']}", *lines, f"event {event['id']}"])


def _notify(url: str, title: str, text: str) -> bool:
    from apprise import Apprise

    channel = Apprise()
    return bool(channel.add(url)) and bool(channel.notify(title=title, body=text))
