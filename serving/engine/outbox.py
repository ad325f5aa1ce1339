"""Events on their way out: CloudEvents 1.0 whose id is the same however often they are made."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from hashlib import blake2b
from typing import Any

import orjson

from serving.engine.ops import OutboxEvent
from serving.times import to_rfc3339

SOURCE = "/punctual/engine"


class EventType(StrEnum):
    DELAY_PREDICTED = "stop.delay.predicted"
    DELAY_UPDATED = "stop.delay.updated"
    DELAY_RESOLVED = "stop.delay.resolved"
    WINDOW_CHANGED = "eta.window.changed"
    DISRUPTION_OPENED = "disruption.opened"
    DISRUPTION_UPDATED = "disruption.updated"
    DISRUPTION_CLOSED = "disruption.closed"
    CHANGE_REQUESTED = "delivery.change.requested"
    CALIBRATION_DRIFTED = "model.calibration.drifted"
    WEBHOOK_TEST = "webhook.test"
    """Never in the outbox: sent to one webhook that asks for it."""


def outbox_event(
    event_type: EventType, subject: str, at_us: int, data: Mapping[str, Any], about: str = ""
) -> OutboxEvent:
    """One event at one instant of the log.

    ``subject`` is the stop, route, zone or model; ``about`` names the alert or incident, where a subject may
    have several at once. A ``route_id`` in the data is what listeners can choose by.
    """
    made_of = f"{event_type}|{subject}|{at_us}|{about}"
    event_id = "e-" + blake2b(made_of.encode(), digest_size=12).hexdigest()
    body = {
        "specversion": "1.0",
        "id": event_id,
        "source": SOURCE,
        "type": event_type.value,
        "subject": subject,
        "time": to_rfc3339(at_us),
        "datacontenttype": "application/json",
        "data": data,
    }
    return OutboxEvent(
        event_id=event_id,
        type=event_type.value,
        subject=subject,
        route_id=data.get("route_id"),
        at_us=at_us,
        body=orjson.dumps(body),
    )
