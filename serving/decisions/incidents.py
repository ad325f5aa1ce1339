"""Incidents: alerts grouped under one cause, with a life cycle in which every step says who, when and why.

Pure: an incident is a value, a step gives the next one or says why it may not be taken.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

import orjson

from serving.decisions.alerts import Kind, Rule
from serving.times import US

#: Who takes the steps that nobody asked for.
ENGINE = "engine"


class Cause(StrEnum):
    STORM = "storm"
    SLOW_ZONE = "slow_zone"
    SORT_DELAY = "sort_delay"
    BREAKDOWN = "breakdown"
    ROUTE_BEHIND = "route_behind"


#: What an alert of each rule is a sign of; the rules of a stop are a sign of nothing more than a route behind.
CAUSE_OF: dict[Rule, Cause] = {
    Rule.SEVERE_WEATHER: Cause.STORM,
    Rule.ZONE_SLOWED: Cause.SLOW_ZONE,
    Rule.DEPOT_BEHIND: Cause.SORT_DELAY,
    Rule.DEPOT_NOT_DEPARTED: Cause.SORT_DELAY,
    Rule.VEHICLE_SILENT: Cause.BREAKDOWN,
    Rule.VEHICLE_STUCK: Cause.BREAKDOWN,
}


#: Causes that pass by themselves: whatever is late when they have passed is a matter of its own route. What held a
#: depot or a vehicle up stays with the routes that it held up.
PASSING = frozenset({Cause.STORM, Cause.SLOW_ZONE})


class State(StrEnum):
    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    SNOOZED = "snoozed"
    RESOLVED = "resolved"


class Step(StrEnum):
    OPEN = "open"
    ACKNOWLEDGE = "acknowledge"
    SNOOZE = "snooze"
    WAKE = "wake"
    RESOLVE = "resolve"


class Why(StrEnum):
    """Why the engine took a step by itself."""

    ALERT_OPENED = "ALERT_OPENED"
    ALERTS_OVER = "ALERTS_OVER"
    SNOOZE_OVER = "SNOOZE_OVER"
    MERGED = "MERGED"
    CAUSE_PASSED = "CAUSE_PASSED"


class Refused(StrEnum):
    """Why a step may not be taken."""

    UNKNOWN_INCIDENT = "UNKNOWN_INCIDENT"
    ALREADY_RESOLVED = "ALREADY_RESOLVED"
    ALREADY_ACKNOWLEDGED = "ALREADY_ACKNOWLEDGED"
    NOT_SNOOZED = "NOT_SNOOZED"
    SNOOZE_IN_THE_PAST = "SNOOZE_IN_THE_PAST"


class Untold(StrEnum):
    """Why nobody is told of an incident, or not yet."""

    GATHERING = "GATHERING"
    NO_STOP_LATE_YET = "NO_STOP_LATE_YET"
    HANDED_OVER = "HANDED_OVER"
    INHIBITED = "INHIBITED"
    SILENCED = "SILENCED"
    SNOOZED = "SNOOZED"
    RATE_LIMITED = "RATE_LIMITED"
    OVER = "OVER"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """A step that was taken."""

    at_us: int
    before: State | None
    after: State
    who: str
    why: str


#: Members of an incident that are sets.
SETS = ("signs", "rules", "stop_ids", "route_ids", "depot_ids", "zone_ids")


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """Alerts of one cause about one subject.

    open_alerts : ids of alerts that are open, and what each weighs in minutes of lateness times priority
    signs : those of them that are the cause itself and no stop that is late for it
    stop_ids : stops that ever had an alert in it; route_ids, depot_ids, zone_ids : where
    rules : of the alerts that it ever had
    quiet_since_us : since when none of its alerts is open, None while one is
    passed_since_us : since when no sign of its cause is open, None while one is, and where there never was one
    handed : how many of its alerts came from incidents whose cause has passed, and are known to whoever was told
    told_us : when it was told, None while it is not; ``untold`` says why
    muted_until_us : until when its cause opens no new one, after somebody resolved it
    """

    incident_id: str
    cause: Cause
    kind: Kind
    subject_id: str
    area_id: str | None
    opened_us: int
    updated_us: int
    state: State
    transitions: tuple[Transition, ...]
    open_alerts: dict[str, float]
    signs: frozenset[str] = frozenset()
    alerts: int = 0
    handed: int = 0
    worst_min: float = 0.0
    evidence: tuple[str, ...] = ()
    rules: frozenset[str] = frozenset()
    stop_ids: frozenset[str] = frozenset()
    route_ids: frozenset[str] = frozenset()
    depot_ids: frozenset[str] = frozenset()
    zone_ids: frozenset[str] = frozenset()
    quiet_since_us: int | None = None
    passed_since_us: int | None = None
    snoozed_until_us: int | None = None
    resolved_us: int | None = None
    muted_until_us: int | None = None
    told_us: int | None = None
    untold: Untold | None = Untold.GATHERING
    actions: tuple[dict[str, Any], ...] = ()
    acted_us: int | None = None

    @property
    def key(self) -> tuple[Cause, str]:
        return self.cause, self.subject_id

    @property
    def is_over(self) -> bool:
        return self.state is State.RESOLVED

    def has_passed(self, at_us: int, after_s: float) -> bool:
        """Whether its cause has been over for so long that what is still late is no matter of it any more."""
        since_us = self.passed_since_us
        return self.cause in PASSING and since_us is not None and at_us - since_us >= after_s * US

    def take(
        self, step: Step, at_us: int, who: str, why: str, until_us: int | None = None
    ) -> Incident | Refused:
        """The incident after a step, or why it may not be taken."""
        refused = _refusal(self, step, at_us, until_us)
        if refused is not None:
            return refused
        after = _after(self, step)
        done = Transition(at_us=at_us, before=self.state, after=after, who=who, why=why)
        return replace(
            self,
            state=after,
            updated_us=at_us,
            transitions=(*self.transitions, done),
            snoozed_until_us=until_us if after is State.SNOOZED else None,
            resolved_us=at_us if after is State.RESOLVED else None,
        )

    def dump(self) -> bytes:
        """Everything, as it is stored."""
        sets = {name: sorted(getattr(self, name)) for name in SETS}
        return orjson.dumps(asdict(self) | sets)

    @classmethod
    def load(cls, body: bytes) -> Incident:
        raw = orjson.loads(body)
        raw["transitions"] = tuple(
            Transition(
                **{
                    **each,
                    "before": State(each["before"]) if each["before"] else None,
                    "after": State(each["after"]),
                }
            )
            for each in raw["transitions"]
        )
        raw["untold"] = Untold(raw["untold"]) if raw["untold"] else None
        sets = {name: frozenset(raw[name]) for name in SETS}
        words = {"cause": Cause(raw["cause"]), "kind": Kind(raw["kind"]), "state": State(raw["state"])}
        tuples = {name: tuple(raw[name]) for name in ("evidence", "actions")}
        return cls(**{**raw, **sets, **words, **tuples})


def opened(
    cause: Cause, kind: Kind, subject_id: str, area_id: str | None, at_us: int, why: str = Why.ALERT_OPENED
) -> Incident:
    """A new incident."""
    first = Transition(at_us=at_us, before=None, after=State.OPEN, who=ENGINE, why=str(why))
    return Incident(
        incident_id=f"{cause.value}:{subject_id}:{at_us}",
        cause=cause,
        kind=kind,
        subject_id=subject_id,
        area_id=area_id,
        opened_us=at_us,
        updated_us=at_us,
        state=State.OPEN,
        transitions=(first,),
        open_alerts={},
    )


def _refusal(incident: Incident, step: Step, at_us: int, until_us: int | None) -> Refused | None:
    if incident.is_over:
        return Refused.ALREADY_RESOLVED
    if step is Step.ACKNOWLEDGE and incident.state is State.ACKNOWLEDGED:
        return Refused.ALREADY_ACKNOWLEDGED
    if step is Step.WAKE and incident.state is not State.SNOOZED:
        return Refused.NOT_SNOOZED
    if step is Step.SNOOZE and (until_us is None or until_us <= at_us):
        return Refused.SNOOZE_IN_THE_PAST
    return None


def _after(incident: Incident, step: Step) -> State:
    if step is Step.WAKE:
        was_seen = any(each.after is State.ACKNOWLEDGED for each in incident.transitions)
        return State.ACKNOWLEDGED if was_seen else State.OPEN
    return {
        Step.ACKNOWLEDGE: State.ACKNOWLEDGED,
        Step.SNOOZE: State.SNOOZED,
        Step.RESOLVE: State.RESOLVED,
    }[step]
