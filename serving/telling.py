"""What is told of a decision: the alert as it is stored, and the events in the outbox."""

from __future__ import annotations

from typing import Any

import orjson
import structlog

from serving.alerts import LATE_RISK, Action, AlertPolicy, Decision
from serving.batch import Batch
from serving.desk import Judgement, Revision
from serving.forecasts import window_document
from serving.ops import StoredAlert
from serving.outbox import EventType, outbox_event
from serving.times import from_rfc3339, to_rfc3339, to_rfc3339_or_none

log = structlog.get_logger(__name__)

Document = dict[str, Any]

EVENT_OF = {
    Action.OPEN: EventType.DELAY_PREDICTED,
    Action.UPDATE: EventType.DELAY_UPDATED,
    Action.RESOLVE: EventType.DELAY_RESOLVED,
}


class Telling:
    """Open alerts by id, and how a judgement becomes text."""

    def __init__(self, policy: AlertPolicy) -> None:
        self._policy = policy
        self.open: dict[str, Document] = {}

    def restore(self, alerts: list[Document]) -> None:
        self.open = {alert["alert_id"]: alert for alert in alerts}

    def judgement(
        self, judgement: Judgement, forecast: Document, expected_late_s: float, at_us: int, batch: Batch
    ) -> None:
        """Tell what a score led to."""
        if judgement.revision is not None:
            _tell_revision(judgement.revision, forecast, at_us, batch)
        if judgement.alert.action is Action.RESOLVE:
            self.resolution(judgement.alert, at_us, batch)
        elif judgement.alert.action in (Action.OPEN, Action.UPDATE):
            level = judgement.plan.service_level if judgement.plan else None
            severity = self._policy.severity(expected_late_s, level)
            self._tell(judgement.alert, _risk(forecast, severity), at_us, batch)

    def resolution(self, decision: Decision, at_us: int, batch: Batch, arrived_us: int | None = None) -> None:
        """Tell that an alert is over."""
        self._tell(decision, {"arrived_at": to_rfc3339_or_none(arrived_us)}, at_us, batch)

    def _tell(self, decision: Decision, news: Document, at_us: int, batch: Batch) -> None:
        alert_id, watch = decision.alert_id or "", decision.watch
        is_over = decision.action is Action.RESOLVE
        known = self.open.get(alert_id) or _new_alert(alert_id, watch.stop_id, watch.route_id, at_us)
        alert = (
            known
            | news
            | {
                "state": "resolved" if is_over else "open",
                "updated_at": to_rfc3339(at_us),
                "resolved_at": to_rfc3339(at_us) if is_over else None,
                "decision": decision.reason.value,
            }
        )
        if is_over:
            self.open.pop(alert_id, None)
        else:
            self.open[alert_id] = alert
        batch.alerts[alert_id] = _stored(alert, at_us)
        event_type = EVENT_OF[decision.action]
        batch.outbox.append(outbox_event(event_type, watch.stop_id, at_us, alert, about=alert_id))
        log.info(
            f"alert_{decision.action.value}",
            alert_id=alert_id,
            stop_id=watch.stop_id,
            reason=decision.reason.value,
        )


def _new_alert(alert_id: str, stop_id: str, route_id: str, at_us: int) -> Document:
    return {
        "alert_id": alert_id,
        "rule": LATE_RISK,
        "state": "open",
        "stop_id": stop_id,
        "route_id": route_id,
        "opened_at": to_rfc3339(at_us),
        "updated_at": to_rfc3339(at_us),
        "resolved_at": None,
        "arrived_at": None,
    }


def _risk(forecast: Document, severity: str) -> Document:
    reasons = forecast["reasons"]
    return {
        "severity": severity,
        "late": forecast["late"],
        "eta": forecast["eta"],
        "promise": forecast["promise"],
        "main_reason": reasons[0] if reasons else None,
        "prediction_id": forecast["prediction_id"],
    }


def _stored(alert: Document, at_us: int) -> StoredAlert:
    is_over = alert["state"] == "resolved"
    return StoredAlert(
        alert_id=alert["alert_id"],
        rule=alert["rule"],
        stop_id=alert["stop_id"],
        route_id=alert["route_id"],
        state=alert["state"],
        opened_us=from_rfc3339(alert["opened_at"]),
        updated_us=at_us,
        resolved_us=at_us if is_over else None,
        body=orjson.dumps(alert),
    )


def _tell_revision(revision: Revision, forecast: Document, at_us: int, batch: Batch) -> None:
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
