"""What events carry as ``data``, by their type; the stream and webhooks give the same."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from serving.engine.outbox import EventType
from serving.http.wire import Alert, Forecast, Incident, Window, Wire


class CloudEvent(Wire):
    """The envelope of every event: CloudEvents 1.0, structured JSON."""

    specversion: Literal["1.0"]
    id: str = Field(description="The same however often the event is sent; also the header `webhook-id`.")
    source: str
    type: str
    subject: str = Field(description="The stop, route, depot, zone, area or model that it is about.")
    time: datetime = Field(description="When the log knew it.")
    datacontenttype: Literal["application/json"]
    data: dict[str, Any]


class WindowChanged(Wire):
    """A customer should be told a new window."""

    stop_id: str
    route_id: str
    reason: str = Field(description="WINDOW_MISSED, WINDOW_EARLY or WINDOW_RECOVERED.")
    revision: int = Field(description="How many windows were told after the first, this one included.")
    first: Window
    before: Window
    now: Window
    forecast: Forecast


class ChangeRequested(Wire):
    """A customer asked for something else."""

    stop_id: str
    route_id: str
    choice: str


class CalibrationDrifted(Wire):
    """Windows do not keep what they state any more: they hold fewer arrivals, or more, than they say."""

    model: str
    version: str
    stated_coverage: float
    measured_coverage: float
    outcomes: int = Field(description="How many arrivals that was measured on.")


class WebhookTest(Wire):
    """Nothing happened; somebody tries a receiver out."""

    text: str


EVENT_DATA: dict[EventType, type[BaseModel]] = {
    EventType.WINDOW_CHANGED: WindowChanged,
    EventType.DELAY_PREDICTED: Alert,
    EventType.DELAY_UPDATED: Alert,
    EventType.DELAY_RESOLVED: Alert,
    EventType.DISRUPTION_OPENED: Incident,
    EventType.DISRUPTION_UPDATED: Incident,
    EventType.DISRUPTION_CLOSED: Incident,
    EventType.CHANGE_REQUESTED: ChangeRequested,
    EventType.CALIBRATION_DRIFTED: CalibrationDrifted,
    EventType.WEBHOOK_TEST: WebhookTest,
}
MEANINGS: dict[EventType, str] = {
    EventType.WINDOW_CHANGED: (
        "The forecast left the window that the customer was told, by more than five minutes and half its width; "
        "at most three times a stop, and not within a quarter of an hour."
    ),
    EventType.DELAY_PREDICTED: "A stop is likely to be late: its alert was opened.",
    EventType.DELAY_UPDATED: "The expected lateness of a stop has moved by ten minutes.",
    EventType.DELAY_RESOLVED: "An alert is over: the risk receded, or the stop was reached or given up.",
    EventType.DISRUPTION_OPENED: "Several alerts have one cause: an incident was opened.",
    EventType.DISRUPTION_UPDATED: "An incident that was told has changed.",
    EventType.DISRUPTION_CLOSED: "An incident that was told is over.",
    EventType.CHANGE_REQUESTED: "A customer chose something else on their tracking page.",
    EventType.CALIBRATION_DRIFTED: "Windows no longer hold the share of arrivals that they state.",
    EventType.WEBHOOK_TEST: "Sent to one webhook when it is asked for, and never on the stream.",
}
