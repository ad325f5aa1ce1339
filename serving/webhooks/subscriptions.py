"""Setting up webhooks and looking after them: what the API and the command do, in one place."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from data_contracts.errors import SubscriptionError, UnknownIdError
from data_contracts.workspace import Workspace
from serving.engine.outbox import EventType, outbox_event
from serving.times import US, to_rfc3339, to_rfc3339_or_none
from serving.webhooks.guard import AddressGuard
from serving.webhooks.policy import MessageState, SendingPolicy
from serving.webhooks.signing import Generation, Secrets, brought_bytes, open_secrets
from serving.webhooks.store import SenderStore, Taken, Webhook, WebhookState

LONGEST_URL = 2000
SCHEMES = ("https", "http")
Document = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A webhook that somebody asks for: where to, a URL or a channel's name, and which events.

    secret : what the receiver verifies with already; a new one is made for it if None
    """

    url: str | None = None
    channel: str | None = None
    types: tuple[str, ...] = ()
    description: str = ""
    secret: str | None = None


class Subscriptions:
    """Webhooks of a workspace. ``last`` gives the position of the last event of the outbox."""

    def __init__(
        self, workspace: Workspace, policy: SendingPolicy, last: Callable[[], int], now_us: Callable[[], int]
    ) -> None:
        self._workspace, self._policy, self._last, self._now_us = workspace, policy, last, now_us
        self.store = SenderStore(workspace.sender)

    @cached_property
    def _secrets(self) -> Secrets:
        return open_secrets(self._workspace.webhook_key)

    def create(self, wanted: Wanted) -> Document:
        """Set up a webhook; its secret is in this answer alone."""
        checked(wanted, self._policy)
        now_us = self._now_us()
        webhook = Webhook(
            webhook_id="w-" + secrets.token_hex(12),
            url=wanted.url,
            channel=wanted.channel,
            description=wanted.description,
            types=event_types(wanted.types),
            state=WebhookState.ACTIVE,
            reason=None,
            created_us=now_us,
            changed_us=now_us,
            after_position=self._last(),
        )
        masked = self._masked(webhook.webhook_id, wanted.secret)
        if not self.store.add(webhook, self._policy.most_webhooks, masked):
            raise SubscriptionError(
                f"there are {self._policy.most_webhooks} webhooks already",
                next_step="remove one, or raise webhooks.most_webhooks",
            )
        is_told = webhook.url is not None and wanted.secret is None
        secret = self._secrets.secret(webhook.webhook_id, Generation(1)) if is_told else None
        return self.document(webhook) | {"secret": secret}

    def everything(self) -> list[Document]:
        return [self.document(webhook) for webhook in self.store.webhooks()]

    def get(self, webhook_id: str) -> Document:
        return self.document(self._known(webhook_id))

    def remove(self, webhook_id: str) -> None:
        """Forget it, with what was or is to be sent to it."""
        if not self.store.remove(webhook_id):
            raise _unknown(webhook_id)

    def rotate(self, webhook_id: str) -> Document:
        """Another secret; those before sign beside it until the time to change over has passed."""
        now_us = self._now_us()
        old_until_us = now_us + int(self._policy.secret_overlap_s * US)
        generation = self.store.rotate(webhook_id, now_us, old_until_us)
        if generation is None:
            raise _unknown(webhook_id)
        return {
            "webhook_id": webhook_id,
            "secret": self._secrets.secret(webhook_id, generation),
            "earlier_secrets_until": to_rfc3339(old_until_us),
        }

    def enable(self, webhook_id: str) -> Document:
        """Send to it again; events that came while it was disabled are not sent."""
        self._known(webhook_id)
        self.store.enable(webhook_id, self._now_us(), self._last())
        return self.get(webhook_id)

    def redeliver(self, webhook_id: str, event_ids: Sequence[str] | None) -> int:
        """Send events once more, or every dead letter; give how many."""
        self._known(webhook_id)
        return self.store.redeliver(webhook_id, self._now_us(), event_ids)

    def test(self, webhook_id: str) -> str:
        """Send an event that means nothing, to try a receiver out; give its id."""
        webhook, now_us = self._known(webhook_id), self._now_us()
        event = outbox_event(
            EventType.WEBHOOK_TEST, webhook_id, now_us, {"text": "A test; nothing happened."}
        )
        taken = Taken(position=webhook.after_position, event=event, payload=event.body)
        self.store.enter(taken, webhook_id, now_us)
        return event.event_id

    def messages(self, webhook_id: str, state: str | None, limit: int) -> list[Document]:
        self._known(webhook_id)
        return [_message(row) for row in self.store.messages(webhook_id, state, limit)]

    def attempts(self, webhook_id: str, event_id: str | None, limit: int) -> list[Document]:
        self._known(webhook_id)
        return [_attempt(row) for row in self.store.attempts(webhook_id, event_id, limit)]

    def document(self, webhook: Webhook) -> Document:
        return {
            "webhook_id": webhook.webhook_id,
            "url": webhook.url,
            "channel": webhook.channel,
            "types": sorted(webhook.types),
            "description": webhook.description,
            "state": webhook.state.value,
            "reason": webhook.reason,
            "created_at": to_rfc3339(webhook.created_us),
            "changed_at": to_rfc3339(webhook.changed_us),
            "rests_until": to_rfc3339_or_none(webhook.rests_until_us or None),
            "messages": self.store.counts(webhook.webhook_id),
        }

    def close(self) -> None:
        self.store.close()

    def _masked(self, webhook_id: str, brought: str | None) -> bytes | None:
        """The first secret as it is stored, where the receiver brings it."""
        return None if brought is None else self._secrets.masked(webhook_id, 1, brought_bytes(brought))

    def _known(self, webhook_id: str) -> Webhook:
        webhook = self.store.webhook(webhook_id)
        if webhook is None:
            raise _unknown(webhook_id)
        return webhook


def checked(wanted: Wanted, policy: SendingPolicy) -> None:
    """Refuse what could never be sent to.

    Raises
    ------
    SubscriptionError
    """
    if (wanted.url is None) == (wanted.channel is None):
        raise SubscriptionError("a webhook has a url or a channel", next_step="give one of the two")
    if wanted.channel is not None and wanted.channel not in policy.channels:
        named = ", ".join(sorted(policy.channels)) or "none"
        raise SubscriptionError(
            f"there is no channel {wanted.channel[:60]!r}; the settings name {named}",
            next_step="name it with its Apprise URL under [serving.webhooks.channels]",
        )
    if wanted.channel is not None and wanted.secret is not None:
        raise SubscriptionError("a channel is not signed", next_step="leave the secret out")
    if wanted.url is not None and (fault := url_fault(wanted.url, policy)):
        raise SubscriptionError(f"url: {fault}", next_step="give an https URL that the internet can reach")


def url_fault(url: str, policy: SendingPolicy) -> str | None:
    """Why a URL is refused, or None. Where its name leads is checked when it is connected to."""
    if len(url) > LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url:
        return f"it has over {LONGEST_URL:,} characters, or some that a URL has not"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        return str(error)
    if parts.scheme not in SCHEMES or not host:
        return "it is no http URL with a host"
    if parts.scheme == "http" and not policy.plain_http:
        return "plain http shows events to everybody on the way"
    if parts.username is not None or parts.password is not None or parts.fragment:
        return "it carries a user or a fragment, which are not sent"
    return _address_fault(host, policy)


def event_types(named: Iterable[str]) -> frozenset[str]:
    """Types by their names; ``stop.delay.*`` names several.

    Raises
    ------
    SubscriptionError
        for a name that no event bears
    """
    known = [event_type.value for event_type in EventType]
    found: set[str] = set()
    for name in named:
        fits = [each for each in known if each == name or (name[-2:] == ".*" and each.startswith(name[:-1]))]
        if not fits:
            raise SubscriptionError(f"type: {name[:60]!r} is unknown; there are {', '.join(known)}")
        found.update(fits)
    return frozenset(found)


def _address_fault(host: str, policy: SendingPolicy) -> str | None:
    try:
        ip_address(host)
    except ValueError:
        return None
    refusal = AddressGuard(policy.allowed_networks).refusal(host)
    return None if refusal is None else f"{host} is a {refusal} address"


def _message(row: Document) -> Document:
    state = MessageState(row["state"])
    return {
        "event_id": row["event_id"],
        "type": row["type"],
        "subject": row["subject"],
        "state": state.value,
        "why": row["why"],
        "tries": row["tries"],
        "created_at": to_rfc3339(row["created_us"]),
        "next_attempt_at": to_rfc3339(row["due_us"]) if state is MessageState.PENDING else None,
        "done_at": to_rfc3339_or_none(row["done_us"]),
    }


def _attempt(row: Document) -> Document:
    told = {name: row[name] for name in ("event_id", "outcome", "status", "took_ms", "detail")}
    return told | {"at": to_rfc3339(row["at_us"])}


def _unknown(webhook_id: str) -> UnknownIdError:
    return UnknownIdError(f"webhook {webhook_id[:60]!r} is not known", next_step="list them to see their ids")
