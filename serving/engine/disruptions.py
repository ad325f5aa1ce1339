"""From decisions to incidents: what opens, joins, moves and ends, and who hears of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import structlog

from features.live import LiveFeatures
from features.routes import StopPlan
from serving.decisions.alerts import Action, AlertPolicy, Decision, Reason, Rule, Signal
from serving.decisions.grouping import IncidentPolicy, Place, Zones
from serving.decisions.incidents import Cause, Incident, Refused
from serving.decisions.rules import RulePolicy
from serving.decisions.silences import labels_of_alert, of_settings
from serving.engine import surroundings
from serving.engine.advice import Adviser
from serving.engine.batch import Batch
from serving.engine.commands import incident_command, silence_command
from serving.engine.desk import Desk, Judgement
from serving.engine.incident_desk import IncidentDesk, NewAlert
from serving.engine.ops import OpsStore
from serving.engine.outbox import EventType
from serving.engine.silence_desk import SilenceDesk
from serving.engine.surroundings import Fleet
from serving.engine.telling import Document, Telling, risk_news, tell_incident, tell_revision
from serving.times import US

log = structlog.get_logger(__name__)

#: Causes that take over the late routes that they explain when they open.
TAKING_OVER = (Cause.STORM, Cause.BREAKDOWN)
HOUR_US = 3600 * US
#: A stop's alert asks for no centres of zones.
NO_ZONES = Zones(centres={})


class Disruptions:
    """Alerts and incidents of one engine."""

    def __init__(
        self,
        features: LiveFeatures,
        desk: Desk,
        alerts: AlertPolicy,
        rules: RulePolicy,
        incidents: IncidentPolicy,
    ) -> None:
        self._features, self._desk, self._policy, self._rules = features, desk, alerts, rules
        self._telling = Telling(alerts)
        self.incidents = IncidentDesk(policy=incidents)
        self.silences = SilenceDesk(standing=of_settings(incidents.silences))

    def restore(self, ops: OpsStore, as_of_us: int) -> None:
        self._telling.restore(ops.open_alerts())
        self.incidents.restore(ops.incidents(as_of_us - HOUR_US))
        self.silences.restore(ops.silences(as_of_us))

    def look(self, route_ids: Sequence[str], at_us: int, last_us: int, batch: Batch) -> None:
        """Ask the rules of routes, depots, zones and areas, once in a while."""
        every_us = max(1, int(self._rules.every_s * US))
        if at_us // every_us == last_us // every_us:
            return
        fleet = Fleet.of(self._features.book, route_ids)
        seen = set()
        for signal in surroundings.signals(self._features, fleet, at_us, self._rules):
            seen.add((signal.slot, signal.subject_id))
            decision = self._desk.follow(signal, batch)
            if decision is not None:
                self._followed(decision, signal, fleet, at_us, batch)
        self.ended(self._desk.missing(seen, at_us, batch), at_us, batch)

    def judged(
        self, judgement: Judgement, forecast: Document, expected_late_s: float, at_us: int, batch: Batch
    ) -> None:
        """What a score led to."""
        if judgement.revision is not None:
            tell_revision(judgement.revision, forecast, at_us, batch)
        decision, plan = judgement.alert, judgement.plan
        if decision is None or decision.action is Action.NONE:
            return
        if decision.action is Action.RESOLVE:
            self.ended([decision], at_us, batch)
            return
        priority = self._policy.priority(plan.service_level, plan.product_type, plan.value) if plan else 1.0
        weighed_min = expected_late_s / 60.0 * priority
        news = risk_news(forecast, self._policy.severity(weighed_min), judgement.told)
        if decision.action is Action.UPDATE:
            self.incidents.weighed(decision.alert_id or "", weighed_min, at_us, batch)
            self._updated(decision, plan, news, at_us, batch)
            return
        place = surroundings.place_of_stop(self._features.book, plan)
        alert = _new(decision, place, weighed_min, judgement.told)
        self._joined(decision, alert, news, at_us, NO_ZONES, batch)

    def _updated(
        self, decision: Decision, plan: StopPlan | None, news: Document, at_us: int, batch: Batch
    ) -> None:
        """The alert of a stop has moved, or it is time to tell of it."""
        hushed = decision.is_news and self._is_hushed(decision, plan, at_us)
        if hushed and decision.reason is Reason.TIME_TO_TELL:
            self._telling.hush(decision, news, at_us, batch)
        else:
            self._telling.update(
                replace(decision, is_news=decision.is_news and not hushed), news, at_us, batch
            )

    def _is_hushed(self, decision: Decision, plan: StopPlan | None, at_us: int) -> bool:
        incident = self.incidents.of_alert(decision.alert_id or "")
        if decision.reason is Reason.TIME_TO_TELL and incident is not None and self._is_inhibiting(incident):
            return True
        if self.silences.is_empty:
            return False
        again = _new(decision, surroundings.place_of_stop(self._features.book, plan))
        return self._is_silenced(again, incident, at_us)

    def ended(self, decisions: Iterable[Decision], at_us: int, batch: Batch) -> None:
        """Alerts that are over."""
        for decision in decisions:
            if decision.action is Action.RESOLVE:
                arrived_us = self._features.book.arrived(decision.watch.subject_id)
                self._telling.resolution(decision, at_us, batch, arrived_us)
                self.incidents.left(decision.alert_id or "", at_us, batch)

    def command(self, body: Mapping[str, Any], at_us: int, batch: Batch) -> None:
        """Do what an operator asked for; what may not be done is left, and logged."""
        if (order := silence_command(body)) is not None:
            if not self.silences.command(order, at_us, batch):
                log.warning("silence_refused", silence_id=order.silence_id, who=order.who)
            return
        asked = incident_command(body)
        if asked is None:
            return
        done = self.incidents.command(
            asked.incident_id, asked.step, at_us, asked.who, asked.why, asked.until_us, batch
        )
        if isinstance(done, Refused):
            log.warning("command_refused", incident_id=asked.incident_id, reason=done.value)
        else:
            tell_incident(done, self._policy, at_us, batch, EventType.DISRUPTION_UPDATED)

    def tick(self, at_us: int, batch: Batch, adviser: Adviser | None = None) -> None:
        """Wake, resolve and tell what is due, with what could be done about it."""
        self._pass_on(at_us, batch)
        for incident in list(self.incidents.tick(at_us, batch, self.silences.at(at_us))):
            if adviser is not None and not incident.is_over:
                incident = self._advised(incident, adviser, at_us, batch)
            tell_incident(incident, self._policy, at_us, batch)
        if adviser is not None and (stale := self.incidents.to_advise(at_us)) is not None:
            self._advised(stale, adviser, at_us, batch)

    def _pass_on(self, at_us: int, batch: Batch) -> None:
        """What is still late for a cause that has passed is followed on its route; the alerts stay as they are."""
        for over, left in self.incidents.passed(at_us, batch):
            tell_incident(over, self._policy, at_us, batch)
            for alert_id, weighed_min in left.items():
                alert = self._open_alert(alert_id, weighed_min)
                incident = self.incidents.hand_over(over, alert, at_us, NO_ZONES, batch)
                self._telling.moved([alert_id], incident, at_us, batch)

    def _open_alert(self, alert_id: str, weighed_min: float) -> NewAlert:
        """An open alert of a stop as it is grouped."""
        known = self._telling.open[alert_id]
        return NewAlert(
            alert_id=alert_id,
            rule=Rule(known["rule"]),
            subject_id=known["stop_id"],
            place=surroundings.place_of_stop(self._features.book, self._features.book.stop(known["stop_id"])),
            weighed_min=weighed_min,
        )

    def _advised(self, incident: Incident, adviser: Adviser, at_us: int, batch: Batch) -> Incident:
        actions = adviser.advise(incident, at_us)
        return self.incidents.acted(replace(incident, actions=actions, acted_us=at_us), batch)

    def _followed(self, decision: Decision, signal: Signal, fleet: Fleet, at_us: int, batch: Batch) -> None:
        if decision.action is Action.RESOLVE:
            self.ended([decision], at_us, batch)
        elif decision.action is Action.UPDATE:
            self._telling.update(decision, {"told": signal.told}, at_us, batch)
        elif decision.action is Action.OPEN:
            place = surroundings.place_of(signal, fleet)
            alert = _new(decision, place, 0.0, signal.told)
            zones = surroundings.centres(self._features.book, fleet)
            self._joined(decision, alert, {"told": signal.told}, at_us, zones, batch)

    def _joined(
        self, decision: Decision, alert: NewAlert, news: Document, at_us: int, zones: Zones, batch: Batch
    ) -> None:
        incident = self.incidents.joined(alert, at_us, zones, batch)
        speaks = incident is not None and self._is_inhibiting(incident)
        if speaks or self._is_silenced(alert, incident, at_us):
            self._telling.silent(decision, news, at_us, batch, incident=incident)
        else:
            self._telling.alert(decision, news, at_us, batch, incident=incident)
        if incident is not None and incident.cause in TAKING_OVER and alert.place.stop_id is None:
            self._take_over(incident, at_us, batch)

    def _take_over(self, incident: Incident, at_us: int, batch: Batch) -> None:
        into, merged = self.incidents.merge(incident, at_us, batch)
        for over in merged:
            tell_incident(over, self._policy, at_us, batch)
        if merged:
            self._telling.moved(list(into.open_alerts), into, at_us, batch)

    def _is_silenced(self, alert: NewAlert, incident: Incident | None, at_us: int) -> bool:
        place = alert.place
        labels = labels_of_alert(
            alert.rule,
            alert.subject_id,
            route_id=place.route_id,
            depot_id=place.depot_id,
            zone_ids=place.zone_ids,
            area_id=place.area_id,
            cause=incident.cause.value if incident else None,
        )
        return self.silences.covers(labels, at_us)

    def _is_inhibiting(self, incident: Incident) -> bool:
        return incident.cause.value in self.incidents.policy.inhibiting


def _new(decision: Decision, place: Place, weighed_min: float = 0.0, told: str = "") -> NewAlert:
    return NewAlert(
        alert_id=decision.alert_id or "",
        rule=decision.watch.rule,
        subject_id=decision.watch.subject_id,
        place=place,
        weighed_min=weighed_min,
        told=told,
    )
