"""What is told of a decision: the alert as it is stored, and the events in the outbox."""

from __future__ import annotations

from typing import Any

import orjson
import structlog

from serving.decisions.alerts import Action, AlertPolicy, Decision, Kind, Reason
from serving.decisions.incidents import Incident
from serving.engine.batch import Batch
from serving.engine.desk import Revision
from serving.engine.forecasts import window_document
from serving.engine.incident_documents import incident_document
from serving.engine.ops import StoredAlert
from serving.engine.outbox import EventType, outbox_event
from serving.times import from_rfc3339, to_rfc3339, to_rfc3339_or_none

log = structlog.get_logger(__name__)

Document = dict[str, Any]

EVENT_OF = {
    Action.OPEN: EventType.DELAY_PREDICTED,
    Action.UPDATE: EventType.DELAY_UPDATED,
    Action.RESOLVE: EventType.DELAY_RESOLVED,
}
#: Stops and steps that an event about an incident names, since events are short; the API gives all of them.
STOPS_IN_EVENT, STEPS_IN_EVENT = 60, 5


class Telling:
    """Open alerts by id, and how a judgement becomes text."""

    def __init__(self, policy: AlertPolicy) -> None:
        self._policy = policy
        self.open: dict[str, Document] = {}

    def restore(self, alerts: list[Document]) -> None:
        self.open = {alert["alert_id"]: alert for alert in alerts}

    def alert(
        self, decision: Decision, news: Document, at_us: int, batch: Batch, *, incident: Incident | None
    ) -> None:
        """An alert was opened or has changed, in an incident or in none."""
        self._keep(decision, news | {"incident_id": incident.incident_id if incident else None}, at_us, batch)

    def hush(self, decision: Decision, news: Document, at_us: int, batch: Batch) -> None:
        """It is time to tell of an open alert, and its incident speaks for it by now or nobody wants to hear."""
        self._keep(decision, news | {"inhibited": True}, at_us, batch)

    def silent(
        self, decision: Decision, news: Document, at_us: int, batch: Batch, *, incident: Incident | None
    ) -> None:
        """An alert was opened of which its incident speaks, or nobody wants to hear: no event of its own."""
        incident_id = incident.incident_id if incident else None
        self._keep(decision, news | {"incident_id": incident_id, "inhibited": True}, at_us, batch)

    def update(self, decision: Decision, news: Document, at_us: int, batch: Batch) -> None:
        """An open alert has moved."""
        self._keep(decision, news, at_us, batch)

    def resolution(self, decision: Decision, at_us: int, batch: Batch, arrived_us: int | None = None) -> None:
        """An alert is over."""
        self._keep(decision, {"arrived_at": to_rfc3339_or_none(arrived_us)}, at_us, batch)

    def moved(self, alert_ids: list[str], incident: Incident | None, at_us: int, batch: Batch) -> None:
        """Open alerts now belong to another incident, or to none."""
        incident_id = incident.incident_id if incident else None
        for alert_id in alert_ids:
            if (alert := self.open.get(alert_id)) is not None:
                self.open[alert_id] = alert | {"incident_id": incident_id}
                batch.alerts[alert_id] = _stored(self.open[alert_id], at_us)

    def _keep(self, decision: Decision, news: Document, at_us: int, batch: Batch) -> None:
        alert_id, is_over = decision.alert_id or "", decision.action is Action.RESOLVE
        known = self.open.get(alert_id) or _new_alert(decision, at_us)
        alert = (
            known
            | news
            | {
                "rule": known["rule"] if is_over else decision.watch.rule.value,
                "state": "resolved" if is_over else "open",
                "updated_at": to_rfc3339(at_us),
                "resolved_at": to_rfc3339(at_us) if is_over else None,
                "decision": decision.reason.value,
                "told_at": known["told_at"] or (to_rfc3339(at_us) if decision.is_news else None),
            }
        )
        if is_over:
            self.open.pop(alert_id, None)
        else:
            self.open[alert_id] = alert
        batch.alerts[alert_id] = _stored(alert, at_us)
        if alert["subject"]["kind"] == Kind.STOP and decision.is_news and not alert["inhibited"]:
            event_type, subject = _event_of(decision), alert["stop_id"]
            batch.outbox.append(outbox_event(event_type, subject, at_us, alert, about=alert_id))
        log.info(f"alert_{decision.action.value}", alert_id=alert_id, reason=decision.reason.value)


def tell_revision(revision: Revision, forecast: Document, at_us: int, batch: Batch) -> None:
    """A customer is told a new window."""
    now = revision.now
    data = {
        "stop_id": now.stop_id,
        "route_id": now.route_id,
        "reason": revision.reason.value,
        "revision": now.revisions,
        "first": window_document(now.first),
        "before": window_document(revision.before.told),
        "now": window_document(now.told),
        "forecast": forecast,
    }
    batch.outbox.append(outbox_event(EventType.WINDOW_CHANGED, now.stop_id, at_us, data))
    log.info("promise_revised", stop_id=now.stop_id, route_id=now.route_id, reason=revision.reason.value)


def tell_incident(
    incident: Incident,
    policy: AlertPolicy,
    at_us: int,
    batch: Batch,
    news: EventType = EventType.DISRUPTION_OPENED,
) -> None:
    """A disruption has begun, was moved on or is over; of one that was never told, nothing more is told."""
    if incident.told_us is None:
        return
    event_type = EventType.DISRUPTION_CLOSED if incident.is_over else news
    data = incident_document(incident, policy, STOPS_IN_EVENT, STEPS_IN_EVENT)
    batch.outbox.append(
        outbox_event(event_type, incident.subject_id, at_us, data, about=incident.incident_id)
    )
    log.info("incident_told", incident_id=incident.incident_id, state=incident.state.value)


def risk_news(forecast: Document, severity: str, told: str) -> Document:
    """What a forecast adds to the alert of its stop."""
    reasons = forecast["reasons"]
    return {
        "severity": severity,
        "told": told,
        "late": forecast["late"],
        "eta": forecast["eta"],
        "promise": forecast["promise"],
        "main_reason": reasons[0] if reasons else None,
        "prediction_id": forecast["prediction_id"],
    }


def _event_of(decision: Decision) -> EventType:
    is_first = decision.reason is Reason.TIME_TO_TELL
    return EventType.DELAY_PREDICTED if is_first else EVENT_OF[decision.action]


def _new_alert(decision: Decision, at_us: int) -> Document:
    watch = decision.watch
    return {
        "alert_id": decision.alert_id,
        "rule": watch.rule.value,
        "state": "open",
        "subject": {"kind": watch.kind.value, "id": watch.subject_id},
        "stop_id": watch.subject_id if watch.kind is Kind.STOP else None,
        "route_id": watch.route_id,
        "incident_id": None,
        "inhibited": False,
        "told_at": None,
        "opened_at": to_rfc3339(at_us),
        "updated_at": to_rfc3339(at_us),
        "resolved_at": None,
        "arrived_at": None,
        "severity": "low",
        "told": "",
        "late": None,
        "eta": None,
        "promise": None,
        "main_reason": None,
        "prediction_id": None,
    }


def _stored(alert: Document, at_us: int) -> StoredAlert:
    is_over = alert["state"] == "resolved"
    return StoredAlert(
        alert_id=alert["alert_id"],
        rule=alert["rule"],
        stop_id=alert["stop_id"],
        route_id=alert["route_id"],
        incident_id=alert["incident_id"],
        state=alert["state"],
        opened_us=from_rfc3339(alert["opened_at"]),
        updated_us=at_us,
        resolved_us=at_us if is_over else None,
        body=orjson.dumps(alert),
    )
