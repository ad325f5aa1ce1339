"""One attempt over HTTP: a signed POST to a guarded address, and what the receiver made of it.

A receiver is not trusted: it may be slow, answer without end, lie about its length, redirect or hang up. Its
status is all that counts; redirects are not followed, and little of its answer is read.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpcore

from data_contracts import __version__
from serving.times import US
from serving.webhooks.guard import AddressGuard, ForbiddenAddressError, GuardedBackend, Resolve
from serving.webhooks.policy import Answer, Outcome, SendingPolicy, outcome_of
from serving.webhooks.signing import Generation, Secrets
from serving.webhooks.store import DueMessage

CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
#: Of a receiver's answer this much is kept in the delivery log.
KEPT_BYTES = 500
#: How long to wait for the words of an answer whose status is known already.
WORDS_S = 1.0
IDLE_CONNECTION_S = 2.0


class WebhookPost:
    """Attempts over HTTP, through one pool of connections."""

    def __init__(
        self,
        secrets: Secrets,
        policy: SendingPolicy,
        *,
        resolve: Resolve | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._secrets, self._policy = secrets, policy
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=ssl_context,
            max_connections=policy.in_flight,
            max_keepalive_connections=policy.in_flight,
            keepalive_expiry=IDLE_CONNECTION_S,
            network_backend=GuardedBackend(AddressGuard(policy.allowed_networks), resolve),
        )

    async def __call__(self, message: DueMessage, generations: list[Generation], at_us: int) -> Answer:
        """Make one attempt; every failure is an answer."""
        webhook_id = message.webhook.webhook_id
        signed = self._secrets.headers(webhook_id, generations, message.event_id, message.payload, at_us)
        started_s = time.monotonic()
        try:
            answer = await self._exchange(message.webhook.url or "", signed, message.payload, at_us)
        except TimeoutError:
            detail = f"no answer within {self._policy.timeout_s:g} s"
            answer = Answer(outcome=Outcome.TIMED_OUT, detail=detail)
        except Exception as error:
            answer = Answer(outcome=_failure(error), detail=_words(error))
        return replace(answer, took_ms=int((time.monotonic() - started_s) * 1000))

    async def close(self) -> None:
        await self._pool.aclose()

    async def _exchange(self, url: str, signed: Mapping[str, str], payload: bytes, at_us: int) -> Answer:
        headers = {
            "Content-Type": CONTENT_TYPE,
            "User-Agent": f"Punctual/{__version__}",
            "Accept-Encoding": "identity",
            **signed,
        }
        async with AsyncExitStack() as stack:
            async with asyncio.timeout(self._policy.timeout_s):
                exchange = self._pool.stream("POST", url, headers=list(headers.items()), content=payload)
                response = await stack.enter_async_context(exchange)
            told = {name.lower(): value.decode("latin-1") for name, value in response.headers}
            return Answer(
                outcome=outcome_of(response.status),
                status=response.status,
                detail=await _beginning(response),
                retry_after_s=retry_after_s(told.get(b"retry-after"), at_us),
            )


def retry_after_s(text: str | None, at_us: int) -> float | None:
    """Seconds from now, of a number or of a date; None where it says neither."""
    if text is None:
        return None
    if text.strip().isascii() and text.strip().isdigit():
        return float(text.strip()[:9])
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.fromtimestamp(at_us / US, tz=UTC)).total_seconds())


async def _beginning(response: httpcore.Response) -> str:
    """The first words of an answer, if they come soon."""
    found = bytearray()
    try:
        async with asyncio.timeout(WORDS_S):
            async for chunk in response.aiter_stream():
                found += chunk
                if len(found) >= KEPT_BYTES:
                    break
    except (TimeoutError, httpcore.ProtocolError, httpcore.NetworkError):
        pass
    text = bytes(found[:KEPT_BYTES]).decode("utf-8", errors="replace")
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()


def _failure(error: Exception) -> Outcome:
    if isinstance(error, ForbiddenAddressError):
        return Outcome.FORBIDDEN_ADDRESS
    if isinstance(error, httpcore.TimeoutException):
        return Outcome.TIMED_OUT
    if isinstance(error, httpcore.ConnectError):
        return Outcome.UNREACHABLE
    return Outcome.BROKEN_ANSWER


def _words(error: Exception) -> str:
    return (str(error) or type(error).__name__)[:KEPT_BYTES]
