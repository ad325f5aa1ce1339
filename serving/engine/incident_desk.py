"""What the engine remembers of incidents between two ticks, and how alerts, commands and time move them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from serving.decisions.alerts import Rule
from serving.decisions.grouping import IncidentPolicy, Key, Place, Scene, Zones, home_of, in_order, why_untold
from serving.decisions.incidents import (
    CAUSE_OF,
    ENGINE,
    Cause,
    Incident,
    Refused,
    State,
    Step,
    Untold,
    Why,
    opened,
)
from serving.decisions.silences import Silence
from serving.engine.batch import Batch
from serving.times import US

HOUR_US = 3600 * US


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAlert:
    """An alert that has just opened.

    weighed_min : expected lateness times priority, 0 for what is not a stop
    told : what its rule says
    """

    alert_id: str
    rule: Rule
    subject_id: str
    place: Place
    weighed_min: float = 0.0
    told: str = ""


@dataclass(slots=True, kw_only=True)
class IncidentDesk:
    """Open incidents by cause and subject: there is never a second one of the same."""

    policy: IncidentPolicy
    open: dict[Key, Incident] = field(default_factory=dict)
    muted: dict[Key, int] = field(default_factory=dict)
    told: dict[str, list[int]] = field(default_factory=dict)
    _home: dict[str, Key] = field(default_factory=dict)
    _keys: dict[str, Key] = field(default_factory=dict)

    def restore(self, incidents: Iterable[Incident]) -> None:
        """Take up what was committed: every open incident, and resolved ones that still mute or count."""
        for incident in in_order(incidents):
            if incident.told_us is not None:
                self._note_told(incident, incident.told_us)
            if incident.is_over:
                if incident.muted_until_us is not None:
                    self.muted[incident.key] = max(incident.muted_until_us, self.muted.get(incident.key, 0))
                continue
            self._keep(incident)

    def joined(self, alert: NewAlert, at_us: int, zones: Zones, batch: Batch) -> Incident | None:
        """Group a new alert; give its incident, None while somebody does not want to hear of its cause."""
        found = self._home_of(alert, at_us, zones)
        if found is None:
            return None
        incident = _with_alert(found, alert, at_us)
        self._save(incident, batch)
        return incident

    def _home_of(self, alert: NewAlert, at_us: int, zones: Zones) -> Incident | None:
        """The open incident that an alert belongs to, or a new one; None while its cause is muted."""
        cause, kind, subject_id = home_of(
            alert.rule, alert.subject_id, alert.place, self.open, zones, self.policy.zone_reach_m
        )
        key = cause, subject_id
        if key in self.open:
            return self.open[key]
        if at_us < self.muted.get(key, 0):
            return None
        return opened(cause, kind, subject_id, alert.place.area_id, at_us)

    def hand_over(
        self, passed: Incident, alert: NewAlert, at_us: int, zones: Zones, batch: Batch
    ) -> Incident | None:
        """Group what is still late for a cause that has passed under what explains it now: mostly its route.

        Whoever was told of the cause is not told again of the same stop.
        """
        found = self._home_of(alert, at_us, zones)
        if found is None:
            return None
        incident = _with_alert(found, alert, at_us)
        incident = replace(incident, handed=incident.handed + (passed.told_us is not None))
        self._save(incident, batch)
        return incident

    def merge(self, into: Incident, at_us: int, batch: Batch) -> tuple[Incident, list[Incident]]:
        """Take over the late routes that a new cause explains; give them too, resolved."""
        merged = []
        for incident in in_order(self.open.values()):
            if not _explains(into, incident):
                continue
            into = replace(
                into,
                open_alerts=into.open_alerts | incident.open_alerts,
                alerts=into.alerts + incident.alerts,
                worst_min=max(into.worst_min, incident.worst_min),
                rules=into.rules | incident.rules,
                stop_ids=into.stop_ids | incident.stop_ids,
                route_ids=into.route_ids | incident.route_ids,
                depot_ids=into.depot_ids | incident.depot_ids,
                quiet_since_us=None if incident.open_alerts else into.quiet_since_us,
            )
            self._home.update(dict.fromkeys(incident.open_alerts, into.key))
            emptied = replace(incident, open_alerts={})
            over = emptied.take(Step.RESOLVE, at_us, ENGINE, f"{Why.MERGED.value} {into.incident_id}")
            assert isinstance(over, Incident)
            self._save(over, batch)
            merged.append(over)
        if merged:
            self._save(into, batch)
        return into, merged

    def of_alert(self, alert_id: str) -> Incident | None:
        """The incident that an open alert belongs to."""
        return self.open.get(self._home.get(alert_id, (Cause.ROUTE_BEHIND, "")))

    def weighed(self, alert_id: str, weighed_min: float, at_us: int, batch: Batch) -> None:
        """An open alert weighs more or less than it did."""
        incident = self.of_alert(alert_id)
        if incident is not None and alert_id in incident.open_alerts:
            weights = incident.open_alerts | {alert_id: round(weighed_min, 1)}
            worst_min = max(incident.worst_min, weighed_min)
            self._save(replace(incident, open_alerts=weights, worst_min=worst_min, updated_us=at_us), batch)

    def left(self, alert_id: str, at_us: int, batch: Batch) -> None:
        """An alert is over."""
        incident = self.open.get(self._home.pop(alert_id, (Cause.ROUTE_BEHIND, "")))
        if incident is None or alert_id not in incident.open_alerts:
            return
        still = {each: weight for each, weight in incident.open_alerts.items() if each != alert_id}
        signs = incident.signs - {alert_id}
        self._save(
            replace(
                incident,
                open_alerts=still,
                signs=signs,
                quiet_since_us=None if still else at_us,
                passed_since_us=at_us if incident.signs and not signs else incident.passed_since_us,
                updated_us=at_us,
            ),
            batch,
        )

    def command(
        self, incident_id: str, step: Step, at_us: int, who: str, why: str, until_us: int | None, batch: Batch
    ) -> Incident | Refused:
        """What an operator asked for, done or refused."""
        incident = self.open.get(self._keys.get(incident_id, (Cause.ROUTE_BEHIND, "")))
        if incident is None or incident.incident_id != incident_id:
            return Refused.UNKNOWN_INCIDENT
        after = incident.take(step, at_us, who, why, until_us)
        if isinstance(after, Refused):
            return after
        if after.is_over:
            muted_us = at_us + int(self.policy.mute_s * US)
            after = replace(after, muted_until_us=muted_us)
            self.muted[after.key] = muted_us
        self._save(after, batch)
        return after

    def tick(self, at_us: int, batch: Batch, silences: Sequence[Silence] = ()) -> Iterator[Incident]:
        """Wake, resolve and tell what is due; give every incident that people are told of now."""
        self.muted = {key: until_us for key, until_us in self.muted.items() if until_us > at_us}
        for incident in in_order(self.open.values()):
            if incident.state is State.SNOOZED and at_us >= (incident.snoozed_until_us or 0):
                incident = self._take(incident, Step.WAKE, at_us, Why.SNOOZE_OVER, batch)
            quiet_us = incident.quiet_since_us
            if quiet_us is not None and at_us - quiet_us >= self.policy.linger_s * US:
                over = self._take(incident, Step.RESOLVE, at_us, Why.ALERTS_OVER, batch)
                if over.told_us is not None:
                    yield over
            elif incident.told_us is None:
                yield from self._tell(incident, at_us, batch, silences)

    def passed(self, at_us: int, batch: Batch) -> list[tuple[Incident, dict[str, float]]]:
        """Resolve the incidents whose cause has passed; give each with what is still open, and what that weighs."""
        found = []
        for incident in in_order(self.open.values()):
            left = incident.open_alerts
            if not left or not incident.has_passed(at_us, self.policy.linger_s):
                continue
            for alert_id in left:
                self._home.pop(alert_id, None)
            why = f"{Why.CAUSE_PASSED.value} {len(left)}"
            emptied = replace(incident, open_alerts={}, quiet_since_us=at_us)
            found.append((self._take(emptied, Step.RESOLVE, at_us, why, batch), left))
        return found

    def to_advise(self, at_us: int) -> Incident | None:
        """The told incident whose proposed actions are the oldest, if they are old enough to be made anew."""
        every_us = self.policy.actions_every_s * US
        stale = [
            incident
            for incident in self.open.values()
            if incident.told_us is not None
            and incident.open_alerts
            and at_us - (incident.acted_us or 0) >= every_us
        ]
        return min(stale, key=lambda each: (each.acted_us or 0, each.incident_id), default=None)

    def acted(self, incident: Incident, batch: Batch) -> Incident:
        """Keep what was proposed about an incident."""
        self._save(incident, batch)
        return incident

    def _tell(
        self, incident: Incident, at_us: int, batch: Batch, silences: Sequence[Silence]
    ) -> Iterator[Incident]:
        recent = [each for each in self.told.get(incident.area_id or "", ()) if at_us - each < HOUR_US]
        self.told[incident.area_id or ""] = recent
        scene = Scene(
            at_us=at_us, policy=self.policy, open_incidents=self.open, told_us=recent, silences=silences
        )
        reason = why_untold(incident, scene)
        if reason is not None:
            if reason is not incident.untold:
                self._save(replace(incident, untold=reason), batch)
            return
        told = replace(incident, told_us=at_us, untold=None)
        self._note_told(told, at_us)
        self._save(told, batch)
        yield told

    def _take(self, incident: Incident, step: Step, at_us: int, why: str, batch: Batch) -> Incident:
        after = incident.take(step, at_us, ENGINE, str(why))
        assert isinstance(after, Incident), after
        if after.is_over and after.told_us is None:
            after = replace(after, untold=Untold.OVER)
        self._save(after, batch)
        return after

    def _note_told(self, incident: Incident, at_us: int) -> None:
        self.told.setdefault(incident.area_id or "", []).append(at_us)

    def _save(self, incident: Incident, batch: Batch) -> None:
        if incident.is_over:
            self._drop(incident)
        else:
            self._keep(incident)
        batch.incidents[incident.incident_id] = incident

    def _keep(self, incident: Incident) -> None:
        self.open[incident.key] = incident
        self._keys[incident.incident_id] = incident.key
        self._home.update(dict.fromkeys(incident.open_alerts, incident.key))

    def _drop(self, incident: Incident) -> None:
        self.open.pop(incident.key, None)
        self._keys.pop(incident.incident_id, None)
        for alert_id in incident.open_alerts:
            self._home.pop(alert_id, None)


def _with_alert(incident: Incident, alert: NewAlert, at_us: int) -> Incident:
    place = alert.place
    told = f"{alert.rule.value}: {alert.told}" if place.stop_id is None and alert.told else ""
    evidence = incident.evidence if not told or told in incident.evidence else (*incident.evidence, told)
    zones = [alert.subject_id] if alert.rule is Rule.ZONE_SLOWED else place.zone_ids[-1:]
    is_sign = CAUSE_OF.get(alert.rule) is incident.cause
    return replace(
        incident,
        open_alerts=incident.open_alerts | {alert.alert_id: round(alert.weighed_min, 1)},
        signs=incident.signs | _some(alert.alert_id if is_sign else None),
        passed_since_us=None if is_sign else incident.passed_since_us,
        alerts=incident.alerts + 1,
        worst_min=max(incident.worst_min, alert.weighed_min),
        evidence=evidence,
        rules=incident.rules | {alert.rule.value},
        stop_ids=incident.stop_ids | _some(place.stop_id),
        route_ids=incident.route_ids | _some(place.route_id),
        depot_ids=incident.depot_ids | _some(place.depot_id),
        zone_ids=incident.zone_ids | frozenset(zones),
        quiet_since_us=None,
        updated_us=at_us,
    )


def _some(value: str | None) -> frozenset[str]:
    return frozenset() if value is None else frozenset((value,))


def _explains(cause: Incident, other: Incident) -> bool:
    """Whether a new incident explains one about a late route."""
    if other.cause is not Cause.ROUTE_BEHIND:
        return False
    if cause.cause is Cause.STORM:
        return other.area_id == cause.subject_id
    return cause.cause is Cause.BREAKDOWN and other.subject_id == cause.subject_id
