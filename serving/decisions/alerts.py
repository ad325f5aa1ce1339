"""When what a rule says becomes an alert: pure stages, each of which decides with a reason or passes on.

An alert is one rule firing on one subject. Between two thresholds nothing changes (hysteresis), and a strength must
hold before it opens an alert or closes one. The rules of one stop share one alert: a stronger one takes it over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from serving.times import US


class Kind(StrEnum):
    """What an alert can be about."""

    STOP = "stop"
    ROUTE = "route"
    ZONE = "zone"
    DEPOT = "depot"
    AREA = "area"


class Rule(StrEnum):
    LATE_RISK = "late_risk"
    PROMISE_IMPOSSIBLE = "promise_impossible"
    WINDOW_BROKEN = "window_broken"
    VEHICLE_SILENT = "vehicle_silent"
    VEHICLE_STUCK = "vehicle_stuck"
    DEPOT_NOT_DEPARTED = "depot_not_departed"
    DEPOT_BEHIND = "depot_behind"
    ZONE_SLOWED = "zone_slowed"
    SEVERE_WEATHER = "severe_weather"


#: The rules of a stop, the weakest first. They share one alert, whose rule is the strongest that fired.
STOP_RULES = (Rule.LATE_RISK, Rule.PROMISE_IMPOSSIBLE, Rule.WINDOW_BROKEN)
#: Where the watch of a stop is kept, whichever of its rules fires.
STOP_SLOT = "stop"


class Phase(StrEnum):
    QUIET = "quiet"
    OPEN = "open"


class Action(StrEnum):
    NONE = "none"
    OPEN = "open"
    UPDATE = "update"
    RESOLVE = "resolve"


class Reason(StrEnum):
    """Why a stage decided as it did."""

    BELOW_THRESHOLD = "BELOW_THRESHOLD"
    TOO_LATE_TO_ACT = "TOO_LATE_TO_ACT"
    HOLDING = "HOLDING"
    COOLING_DOWN = "COOLING_DOWN"
    RISK_HELD = "RISK_HELD"
    WITHIN_HYSTERESIS = "WITHIN_HYSTERESIS"
    RISK_MOVED = "RISK_MOVED"
    TIME_TO_TELL = "TIME_TO_TELL"
    ESCALATED = "ESCALATED"
    RECEDING = "RECEDING"
    RISK_RECEDED = "RISK_RECEDED"
    STOP_REACHED = "STOP_REACHED"
    STOP_CLOSED = "STOP_CLOSED"
    ROUTE_OVER = "ROUTE_OVER"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """From which strength an alert opens, below which it closes, and how long each must hold."""

    open_at: float
    close_below: float
    hold_s: float
    clear_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertPolicy:
    """Thresholds on the late probability, how long it must stay past them, and what lateness weighs.

    least_lead_s : a risk is worth an alert only while this much is left before the promise's end
    most_lead_s : nobody is told of a risk before no more than this is left, since more is known then; operators have
        it in its incident at once. None: whoever is told is told at once. A promise that is impossible does not wait
    update_step : how far the strength of a rule that is about no stop moves before its alert is updated
    update_step_s : how far the expected lateness of a stop moves before anybody is told again
    impossible_quantile : a promise is impossible once the courier is later with this probability
    priority_* : factors on lateness; 1 where nothing is said
    value_of_one : worth of an order that counts as much again as its lateness, EUR
    """

    open_at: float = 0.5
    open_at_by_service_level: Mapping[str, float] = field(default_factory=dict)
    close_below: float = 0.15
    hold_s: float = 120.0
    clear_s: float = 120.0
    cool_down_s: float = 1800.0
    update_step: float = 0.15
    update_step_s: float = 600.0
    update_rest_s: float = 300.0
    least_lead_s: float = 900.0
    most_lead_s: float | None = None
    impossible_quantile: float = 0.95

    priority_by_service_level: Mapping[str, float] = field(default_factory=dict)
    priority_by_product_type: Mapping[str, float] = field(default_factory=dict)
    value_of_one: float | None = None
    medium_from_min: float = 10.0
    high_from_min: float = 30.0

    def __post_init__(self) -> None:
        if self.most_lead_s is not None and self.most_lead_s <= self.least_lead_s:
            raise ValueError("most_lead_s is more than least_lead_s: an alert opens between the two")

    def priority(
        self, service_level: str | None, product_type: str | None = None, value: float | None = None
    ) -> float:
        """What a minute of lateness of this stop weighs against one of an ordinary stop."""
        by_level = self.priority_by_service_level.get(service_level or "", 1.0)
        by_type = self.priority_by_product_type.get(product_type or "", 1.0)
        by_value = 1.0 + (value or 0.0) / self.value_of_one if self.value_of_one else 1.0
        return by_level * by_type * by_value

    def severity(self, weighed_min: float) -> str:
        """Lateness times priority, as one of three words."""
        if weighed_min >= self.high_from_min:
            return "high"
        return "medium" if weighed_min >= self.medium_from_min else "low"

    def bars(self, service_level: str | None) -> Bars:
        """The bars of a stop's late risk."""
        open_at = self.open_at_by_service_level.get(service_level or "", self.open_at)
        close_below = min(self.close_below, open_at)
        return Bars(open_at=open_at, close_below=close_below, hold_s=self.hold_s, clear_s=self.clear_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """What a rule says of a subject at an instant.

    strength : 0 to 1; it fires from ``bars.open_at`` on
    late_s : how late a stop is expected to be
    told : why the rule says so, a stable word
    actionable : whether there is still time to act on it; an alert that is open stays so
    early : whether telling it can wait, since more will be known
    ended : why no more will come
    """

    kind: Kind
    subject_id: str
    rule: Rule
    as_of_us: int
    strength: float
    bars: Bars
    late_s: float = 0.0
    told: str = ""
    route_id: str | None = None
    actionable: bool = True
    early: bool = False
    ended: Reason | None = None

    @property
    def slot(self) -> str:
        return STOP_SLOT if self.kind is Kind.STOP else self.rule.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What is remembered of one rule's subject between two instants.

    announced : whether it was time to tell of its alert
    """

    slot: str
    kind: Kind
    subject_id: str
    route_id: str | None = None
    rule: Rule = Rule.LATE_RISK
    phase: Phase = Phase.QUIET
    alert_id: str | None = None
    above_since_us: int | None = None
    below_since_us: int | None = None
    announced: bool = False
    told_strength: float = 0.0
    told_late_s: float = 0.0
    told_us: int = 0
    resolved_us: int | None = None

    @classmethod
    def blank(cls, signal: Signal) -> Watch:
        """Nothing is remembered of a subject yet."""
        return cls(slot=signal.slot, kind=signal.kind, subject_id=signal.subject_id, route_id=signal.route_id)

    @property
    def key(self) -> tuple[str, str]:
        return self.slot, self.subject_id

    @property
    def is_blank(self) -> bool:
        """Whether there is nothing to remember."""
        return self.phase is Phase.QUIET and self.above_since_us is None and self.resolved_us is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do to which alert, why, and what to remember; ``is_news`` is whether anybody hears of it."""

    action: Action
    reason: Reason
    watch: Watch
    alert_id: str | None = None
    is_news: bool = True


Stage = Callable[[Watch, Signal, AlertPolicy], Decision | None]


def end(watch: Watch, signal: Signal, policy: AlertPolicy) -> Decision | None:
    """What was reached, given up or left has no risk any more."""
    if signal.ended is None:
        return None
    action = Action.RESOLVE if watch.phase is Phase.OPEN else Action.NONE
    return _over(watch, signal, signal.ended, action)


def recede(watch: Watch, signal: Signal, policy: AlertPolicy) -> Decision | None:
    """An open alert closes once its strength has stayed low."""
    if watch.phase is not Phase.OPEN or signal.strength >= signal.bars.close_below:
        return None
    since_us = watch.below_since_us if watch.below_since_us is not None else signal.as_of_us
    if signal.as_of_us - since_us < signal.bars.clear_s * US:
        waiting = replace(watch, below_since_us=since_us)
        return Decision(action=Action.NONE, reason=Reason.RECEDING, watch=waiting)
    return _over(watch, signal, Reason.RISK_RECEDED, Action.RESOLVE)


def follow(watch: Watch, signal: Signal, policy: AlertPolicy) -> Decision | None:
    """An open alert is updated when a stronger rule fires, or what it says has moved, and not too often.

    A stop's is told again when its minutes have moved: that it is surer now, or impossible, is no news to a customer.
    """
    if watch.phase is not Phase.OPEN:
        return None
    watch = watch if watch.below_since_us is None else replace(watch, below_since_us=None)
    rested = signal.as_of_us - watch.told_us >= policy.update_rest_s * US
    escalated = _rank(signal.rule) > _rank(watch.rule)
    moved = rested and _has_moved(watch, signal, policy)
    due = not watch.announced and _is_due(signal)
    if not (escalated or moved or due):
        return Decision(action=Action.NONE, reason=Reason.WITHIN_HYSTERESIS, watch=watch)
    updated = replace(watch, rule=signal.rule if escalated else watch.rule, announced=watch.announced or due)
    if moved or due:
        updated = _told(updated, signal)
    reason = Reason.TIME_TO_TELL if due else Reason.ESCALATED if escalated else Reason.RISK_MOVED
    is_news = due or (moved and watch.announced)
    return Decision(
        action=Action.UPDATE, reason=reason, watch=updated, alert_id=updated.alert_id, is_news=is_news
    )


def stay_quiet(watch: Watch, signal: Signal, policy: AlertPolicy) -> Decision | None:
    """Below the threshold, or where nobody can act on it any more, nothing is remembered but the last end."""
    if signal.strength >= signal.bars.open_at and signal.actionable:
        return None
    quiet = watch if watch.above_since_us is None else replace(watch, above_since_us=None)
    reason = Reason.BELOW_THRESHOLD if signal.actionable else Reason.TOO_LATE_TO_ACT
    return Decision(action=Action.NONE, reason=reason, watch=quiet)


def hold(watch: Watch, signal: Signal, policy: AlertPolicy) -> Decision | None:
    """A strength must stay above the threshold before it is worth a message."""
    since_us = watch.above_since_us if watch.above_since_us is not None else signal.as_of_us
    if signal.as_of_us - since_us >= signal.bars.hold_s * US:
        return None
    waiting = replace(watch, above_since_us=since_us)
    return Decision(action=Action.NONE, reason=Reason.HOLDING, watch=waiting)


def dedupe(watch: Watch, signal: Signal, policy: AlertPolicy) -> Decision | None:
    """What was told and has just been resolved does not open again at once."""
    if watch.resolved_us is None or signal.as_of_us - watch.resolved_us >= policy.cool_down_s * US:
        return None
    return Decision(action=Action.NONE, reason=Reason.COOLING_DOWN, watch=watch)


def open_alert(watch: Watch, signal: Signal, policy: AlertPolicy) -> Decision | None:
    """Whatever passed every other stage becomes an alert."""
    opened = replace(
        _told(watch, signal),
        rule=signal.rule,
        phase=Phase.OPEN,
        alert_id=f"{signal.rule.value}:{signal.subject_id}:{signal.as_of_us}",
        announced=not signal.early,
        below_since_us=None,
    )
    return Decision(
        action=Action.OPEN,
        reason=Reason.RISK_HELD,
        watch=opened,
        alert_id=opened.alert_id,
        is_news=opened.announced,
    )


STAGES: tuple[Stage, ...] = (end, recede, follow, stay_quiet, hold, dedupe, open_alert)


def decide(watch: Watch, signal: Signal, policy: AlertPolicy) -> Decision:
    """Give the decision of the first stage that has one."""
    for stage in STAGES:
        if (decision := stage(watch, signal, policy)) is not None:
            return decision
    raise AssertionError("the last stage always decides")


def _is_due(signal: Signal) -> bool:
    """Whether it is time to tell of a risk: it is high now, and there is still time to act but no more to wait."""
    return signal.strength >= signal.bars.open_at and signal.actionable and not signal.early


def _over(watch: Watch, signal: Signal, reason: Reason, action: Action) -> Decision:
    """An alert that nobody was told of ends as it lived."""
    return Decision(
        action=action,
        reason=reason,
        watch=_quiet(watch, signal.as_of_us),
        alert_id=watch.alert_id,
        is_news=watch.announced,
    )


def _has_moved(watch: Watch, signal: Signal, policy: AlertPolicy) -> bool:
    if signal.kind is Kind.STOP:
        return abs(signal.late_s - watch.told_late_s) >= policy.update_step_s
    return abs(signal.strength - watch.told_strength) >= policy.update_step


def _told(watch: Watch, signal: Signal) -> Watch:
    """With what is told now."""
    return replace(watch, told_strength=signal.strength, told_late_s=signal.late_s, told_us=signal.as_of_us)


def _rank(rule: Rule) -> int:
    return STOP_RULES.index(rule) if rule in STOP_RULES else 0


def _quiet(watch: Watch, as_of_us: int) -> Watch:
    resolved_us = as_of_us if watch.announced else watch.resolved_us
    return Watch(
        slot=watch.slot,
        kind=watch.kind,
        subject_id=watch.subject_id,
        route_id=watch.route_id,
        resolved_us=resolved_us,
    )
