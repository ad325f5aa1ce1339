"""When a stop's late risk becomes an alert: pure stages, each of which decides with a reason or passes on.

An alert is one rule firing on one stop. Between two thresholds nothing changes (hysteresis), and a risk must
hold before it opens an alert or closes one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from serving.times import US

LATE_RISK = "late_risk"


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
    HOLDING = "HOLDING"
    COOLING_DOWN = "COOLING_DOWN"
    RISK_HELD = "RISK_HELD"
    WITHIN_HYSTERESIS = "WITHIN_HYSTERESIS"
    RISK_MOVED = "RISK_MOVED"
    RECEDING = "RECEDING"
    RISK_RECEDED = "RISK_RECEDED"
    STOP_REACHED = "STOP_REACHED"
    STOP_CLOSED = "STOP_CLOSED"
    ROUTE_OVER = "ROUTE_OVER"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertPolicy:
    """Thresholds on the late probability and how long it must stay past them."""

    open_at: float = 0.5
    open_at_by_service_level: Mapping[str, float] = field(default_factory=dict)
    close_below: float = 0.3
    hold_s: float = 120.0
    clear_s: float = 120.0
    cool_down_s: float = 600.0
    update_step: float = 0.15
    update_rest_s: float = 300.0

    priority_by_service_level: Mapping[str, float] = field(default_factory=dict)
    medium_from_min: float = 10.0
    high_from_min: float = 30.0

    def severity(self, expected_late_s: float, service_level: str | None) -> str:
        """Lateness times priority, as one of three words."""
        minutes = expected_late_s / 60.0 * self.priority_by_service_level.get(service_level or "", 1.0)
        if minutes >= self.high_from_min:
            return "high"
        return "medium" if minutes >= self.medium_from_min else "low"

    def threshold(self, service_level: str | None) -> float:
        return self.open_at_by_service_level.get(service_level or "", self.open_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class LateRisk:
    """What is known of one stop at an instant.

    ``late_probability`` is None where nothing was promised. ``ended`` is why no more forecasts come.
    """

    stop_id: str
    route_id: str
    as_of_us: int
    late_probability: float | None
    service_level: str | None = None
    ended: Reason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What a rule remembers of one stop between two instants."""

    stop_id: str
    route_id: str
    rule: str = LATE_RISK
    phase: Phase = Phase.QUIET
    alert_id: str | None = None
    above_since_us: int | None = None
    below_since_us: int | None = None
    told_probability: float = 0.0
    told_us: int = 0
    resolved_us: int | None = None

    @property
    def is_blank(self) -> bool:
        """Whether there is nothing to remember."""
        return self.phase is Phase.QUIET and self.above_since_us is None and self.resolved_us is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do to which alert, why, and what to remember."""

    action: Action
    reason: Reason
    watch: Watch
    alert_id: str | None = None


Stage = Callable[[Watch, LateRisk, AlertPolicy], Decision | None]


def end(watch: Watch, risk: LateRisk, policy: AlertPolicy) -> Decision | None:
    """A stop that was reached or given up has no risk any more."""
    if risk.ended is None:
        return None
    action = Action.RESOLVE if watch.phase is Phase.OPEN else Action.NONE
    quiet = _quiet(watch, risk.as_of_us)
    return Decision(action=action, reason=risk.ended, watch=quiet, alert_id=watch.alert_id)


def recede(watch: Watch, risk: LateRisk, policy: AlertPolicy) -> Decision | None:
    """An open alert closes once its risk has stayed low."""
    if watch.phase is not Phase.OPEN:
        return None
    if _probability(risk) >= policy.close_below:
        return None
    since_us = watch.below_since_us if watch.below_since_us is not None else risk.as_of_us
    if risk.as_of_us - since_us < policy.clear_s * US:
        waiting = replace(watch, below_since_us=since_us)
        return Decision(action=Action.NONE, reason=Reason.RECEDING, watch=waiting)
    quiet = _quiet(watch, risk.as_of_us)
    return Decision(action=Action.RESOLVE, reason=Reason.RISK_RECEDED, watch=quiet, alert_id=watch.alert_id)


def follow(watch: Watch, risk: LateRisk, policy: AlertPolicy) -> Decision | None:
    """An open alert is told again only when its risk has moved, and not too often."""
    if watch.phase is not Phase.OPEN:
        return None
    watch = watch if watch.below_since_us is None else replace(watch, below_since_us=None)
    probability = _probability(risk)
    rested = risk.as_of_us - watch.told_us >= policy.update_rest_s * US
    if rested and abs(probability - watch.told_probability) >= policy.update_step:
        told = replace(watch, told_probability=probability, told_us=risk.as_of_us)
        return Decision(action=Action.UPDATE, reason=Reason.RISK_MOVED, watch=told, alert_id=told.alert_id)
    return Decision(action=Action.NONE, reason=Reason.WITHIN_HYSTERESIS, watch=watch)


def stay_quiet(watch: Watch, risk: LateRisk, policy: AlertPolicy) -> Decision | None:
    """Below the threshold nothing is remembered but the last resolution."""
    if _probability(risk) >= policy.threshold(risk.service_level):
        return None
    quiet = watch if watch.above_since_us is None else replace(watch, above_since_us=None)
    return Decision(action=Action.NONE, reason=Reason.BELOW_THRESHOLD, watch=quiet)


def hold(watch: Watch, risk: LateRisk, policy: AlertPolicy) -> Decision | None:
    """A risk must stay above the threshold before it is worth a message."""
    since_us = watch.above_since_us if watch.above_since_us is not None else risk.as_of_us
    if risk.as_of_us - since_us >= policy.hold_s * US:
        return None
    waiting = replace(watch, above_since_us=since_us)
    return Decision(action=Action.NONE, reason=Reason.HOLDING, watch=waiting)


def cool_down(watch: Watch, risk: LateRisk, policy: AlertPolicy) -> Decision | None:
    """What was just resolved does not open again at once."""
    if watch.resolved_us is None or risk.as_of_us - watch.resolved_us >= policy.cool_down_s * US:
        return None
    return Decision(action=Action.NONE, reason=Reason.COOLING_DOWN, watch=watch)


def open_alert(watch: Watch, risk: LateRisk, policy: AlertPolicy) -> Decision | None:
    """Whatever passed every other stage becomes an alert."""
    opened = replace(
        watch,
        phase=Phase.OPEN,
        alert_id=f"{watch.rule}:{watch.stop_id}:{risk.as_of_us}",
        told_probability=_probability(risk),
        told_us=risk.as_of_us,
        below_since_us=None,
    )
    return Decision(action=Action.OPEN, reason=Reason.RISK_HELD, watch=opened, alert_id=opened.alert_id)


STAGES: tuple[Stage, ...] = (end, recede, follow, stay_quiet, hold, cool_down, open_alert)


def decide(watch: Watch, risk: LateRisk, policy: AlertPolicy) -> Decision:
    """Give the decision of the first stage that has one."""
    for stage in STAGES:
        if (decision := stage(watch, risk, policy)) is not None:
            return decision
    raise AssertionError("the last stage always decides")


def _probability(risk: LateRisk) -> float:
    return risk.late_probability or 0.0


def _quiet(watch: Watch, as_of_us: int) -> Watch:
    resolved_us = as_of_us if watch.phase is Phase.OPEN else watch.resolved_us
    return Watch(stop_id=watch.stop_id, route_id=watch.route_id, rule=watch.rule, resolved_us=resolved_us)
