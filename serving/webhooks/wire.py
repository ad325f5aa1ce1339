"""What the webhook calls take and give."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from serving.http.wire import Id, Wire


class WebhookRequest(Wire):
    """A webhook to set up: a ``url``, or a ``channel`` that the settings name."""

    url: str | None = Field(default=None, max_length=2000)
    channel: Id | None = None
    types: Annotated[list[Id], Field(max_length=50)] = Field(
        default_factory=list, description="Only these types; `stop.delay.*` names several; none means all."
    )
    description: str = Field(default="", max_length=500)
    secret: str | None = Field(
        default=None,
        max_length=100,
        description="What the receiver verifies with already: `whsec_` and 24 to 64 bytes in base64.",
    )


class MessageCounts(Wire):
    pending: int
    sent: int
    dead: int


class Webhook(Wire):
    webhook_id: str
    url: str | None
    channel: str | None
    types: list[str]
    description: str
    state: Literal["active", "disabled"]
    reason: str | None = Field(description="Why it is disabled.")
    created_at: datetime
    changed_at: datetime
    rests_until: datetime | None = Field(description="Until when its receiver asked for rest.")
    messages: MessageCounts


class NewWebhook(Webhook):
    secret: str | None = Field(description="What its receiver verifies with; shown this once.")


class WebhookList(Wire):
    webhooks: list[Webhook]


class NewSecret(Wire):
    webhook_id: str
    secret: str = Field(description="Shown this once.")
    earlier_secrets_until: datetime = Field(description="Until then earlier ones sign beside it.")


class Message(Wire):
    """One event on its way to one webhook."""

    event_id: str
    type: str
    subject: str
    state: Literal["pending", "sent", "dead"]
    why: str | None = Field(description="Why it stands as it does.")
    tries: int = Field(description="Attempts since it was entered or sent once more.")
    created_at: datetime
    next_attempt_at: datetime | None
    done_at: datetime | None


class MessageList(Wire):
    messages: list[Message] = Field(description="The newest first.")


class Attempt(Wire):
    event_id: str
    at: datetime
    outcome: str
    status: int | None
    took_ms: int
    detail: str = Field(description="The first words of the answer, or what went wrong.")


class AttemptList(Wire):
    attempts: list[Attempt] = Field(description="The newest first.")


class RedeliveryRequest(Wire):
    """Which events to send once more; all dead letters where none are named."""

    event_ids: list[Id] | None = Field(default=None, min_length=1, max_length=1000)


class Redelivery(Wire):
    redelivered: int


class TestEvent(Wire):
    event_id: str
