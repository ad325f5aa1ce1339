"""What follows an attempt: pure decisions on its answer, the attempts before it, and the clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from http import HTTPStatus
from ipaddress import ip_network

from serving.times import US

MINUTE_S, HOUR_S, DAY_S = 60.0, 3600.0, 86_400.0
#: Statuses whose ``Retry-After`` speaks for the whole receiver, not for one message.
RESTING = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)


class Outcome(StrEnum):
    """How an attempt ended."""

    ACCEPTED = "ACCEPTED"
    REFUSED = "REFUSED"
    REDIRECTED = "REDIRECTED"
    GONE = "GONE"
    TIMED_OUT = "TIMED_OUT"
    UNREACHABLE = "UNREACHABLE"
    BROKEN_ANSWER = "BROKEN_ANSWER"
    FORBIDDEN_ADDRESS = "FORBIDDEN_ADDRESS"
    CHANNEL_FAILED = "CHANNEL_FAILED"


class MessageState(StrEnum):
    """Where one event for one webhook stands."""

    PENDING = "pending"
    SENT = "sent"
    DEAD = "dead"


class Why(StrEnum):
    """Why a message goes on as it does."""

    ACCEPTED = "ACCEPTED"
    SCHEDULED = "SCHEDULED"
    RETRY_AFTER = "RETRY_AFTER"
    ATTEMPTS_SPENT = "ATTEMPTS_SPENT"
    GONE = "GONE"


@dataclass(frozen=True, slots=True, kw_only=True)
class SendingPolicy:
    """How hard to try, how long to wait, and where to send.

    ``retry_s`` holds the wait before each attempt, counted from the one before; ``jitter`` is the largest
    share by which a wait is lengthened. Only addresses that are public, or lie in ``allowed_networks``, are
    connected to. ``channels`` are Apprise URLs by name.
    """

    retry_s: tuple[float, ...] = (
        *(0.0, 5.0, 5 * MINUTE_S, 30 * MINUTE_S),
        *(2 * HOUR_S, 5 * HOUR_S, 10 * HOUR_S, 14 * HOUR_S, 20 * HOUR_S, 24 * HOUR_S),
    )
    jitter: float = 0.1
    longest_retry_after_s: float = DAY_S
    timeout_s: float = 15.0
    payload_bytes: int = 20_000
    per_webhook: int = 8
    in_flight: int = 64
    look_s: float = 0.1
    secret_overlap_s: float = DAY_S
    keep_s: float = 30 * DAY_S
    most_webhooks: int = 100
    plain_http: bool = False
    allowed_networks: tuple[str, ...] = ()
    channels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for network in self.allowed_networks:
            ip_network(network)
        if not self.retry_s or min(self.retry_s) < 0:
            raise ValueError("retry_s needs one wait for each attempt, none below 0")
        if self.payload_bytes < 4000:
            raise ValueError(f"payload_bytes is {self.payload_bytes}; an event needs 4,000 at least")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of one attempt."""

    outcome: Outcome
    detail: str = ""
    status: int | None = None
    retry_after_s: float | None = None
    took_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Next:
    """How a message goes on; ``rests_until_us`` holds back everything for the same receiver."""

    state: MessageState
    why: Why
    due_us: int | None = None
    rests_until_us: int | None = None
    disables: bool = False


def follow(answer: Answer, tries: int, key: str, at_us: int, policy: SendingPolicy) -> Next:
    """What follows the ``tries``-th attempt (from 1) of a message, made at ``at_us``."""
    if answer.outcome is Outcome.ACCEPTED:
        return Next(state=MessageState.SENT, why=Why.ACCEPTED)
    if answer.outcome is Outcome.GONE:
        return Next(state=MessageState.DEAD, why=Why.GONE, disables=True)
    asked_us = _asked_us(answer, at_us, policy)
    rests_us = asked_us if answer.status in RESTING else None
    if tries >= len(policy.retry_s):
        return Next(state=MessageState.DEAD, why=Why.ATTEMPTS_SPENT, rests_until_us=rests_us)
    due_us = at_us + int(wait_s(tries, key, policy) * US)
    if asked_us is not None and asked_us > due_us:
        due_us, why = asked_us, Why.RETRY_AFTER
    else:
        why = Why.SCHEDULED
    return Next(state=MessageState.PENDING, why=why, due_us=due_us, rests_until_us=rests_us)


def wait_s(tries: int, key: str, policy: SendingPolicy) -> float:
    """The wait after ``tries`` attempts, lengthened by a share that differs from message to message."""
    drawn = int.from_bytes(blake2b(f"{key}|{tries}".encode(), digest_size=4).digest()) / 2**32
    return policy.retry_s[tries] * (1.0 + policy.jitter * drawn)


def outcome_of(status: int) -> Outcome:
    """What a status says; only 2xx is a yes, and 410 is for good."""
    if 200 <= status < 300:
        return Outcome.ACCEPTED
    if status == HTTPStatus.GONE:
        return Outcome.GONE
    return Outcome.REDIRECTED if 300 <= status < 400 else Outcome.REFUSED


def _asked_us(answer: Answer, at_us: int, policy: SendingPolicy) -> int | None:
    if answer.retry_after_s is None:
        return None
    return at_us + int(min(max(answer.retry_after_s, 0.0), policy.longest_retry_after_s) * US)
