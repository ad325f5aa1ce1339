"""Thresholds chosen by data: late-risk alerts replayed over stored risks at many thresholds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.decisions.alerts import Action, AlertPolicy, Reason, Rule, Watch, decide
from serving.decisions.rules import StopNow, stop_signal
from serving.rehearsals.alert_evaluation import (
    SHORTEST_LEAD_MIN,
    AlertSpan,
    StopOutcome,
    alert_figures,
)

#: The budget that a threshold is chosen for: flagged stops as a share of all.
BUDGET = 0.10
#: The precision that a threshold is chosen for, where no budget binds.
PRECISION = 0.75
THRESHOLDS = tuple(round(0.2 + 0.05 * step, 2) for step in range(15))


@dataclass(frozen=True, slots=True)
class RiskPath:
    """Every late risk of one stop in the order of time: (n,) instants and probabilities."""

    at_us: NDArray[np.int64]
    late_probability: NDArray[np.float64]


Paths = Mapping[str, RiskPath]


def at_threshold(policy: AlertPolicy, open_at: float) -> AlertPolicy:
    """A policy with another threshold; what closes an alert keeps its ratio to what opens one."""
    ratio = policy.close_below / policy.open_at
    return replace(policy, open_at=open_at, close_below=ratio * open_at)


def late_spans(paths: Paths, outcomes: Mapping[str, StopOutcome], policy: AlertPolicy) -> list[AlertSpan]:
    """Alerts of the stop rules over stored risks, by the same stages as the engine's."""
    spans: list[AlertSpan] = []
    for stop_id, outcome in outcomes.items():
        path = paths.get(stop_id)
        if path is not None and path.late_probability.max(initial=0.0) >= policy.open_at:
            spans += _spans_of(path, outcome, policy)
    return spans


def predictions(spans: Iterable[AlertSpan]) -> list[AlertSpan]:
    """Alerts that foretold something; a broken window is told once it is broken."""
    return [span for span in spans if span.rule != Rule.WINDOW_BROKEN]


def raw_spans(paths: Paths, outcomes: Mapping[str, StopOutcome], open_at: float) -> list[AlertSpan]:
    """What a raw threshold tells: a message at each upward crossing, over at each downward one."""
    spans = []
    for stop_id in outcomes:
        path = paths.get(stop_id)
        if path is None:
            continue
        above = np.concatenate([[False], path.late_probability >= open_at, [False]])
        ups, downs = np.flatnonzero(above[1:] & ~above[:-1]), np.flatnonzero(~above[1:] & above[:-1])
        for up, down in zip(ups.tolist(), downs.tolist(), strict=True):
            over = None if down == len(path.at_us) else int(path.at_us[down])
            spans.append(
                AlertSpan(stop_id=stop_id, rule="raw", opened_us=int(path.at_us[up]), resolved_us=over)
            )
    return spans


def sweep(
    paths: Paths,
    outcomes: Mapping[str, StopOutcome],
    policy: AlertPolicy,
    *,
    thresholds: Iterable[float] = THRESHOLDS,
    lead_min: float = SHORTEST_LEAD_MIN,
) -> list[dict[str, Any]]:
    """The figures of the evaluation contract at each threshold."""
    found = []
    for open_at in thresholds:
        spans = predictions(late_spans(paths, outcomes, at_threshold(policy, open_at)))
        found.append({"open_at": open_at} | alert_figures(spans, list(outcomes.values()), lead_min))
    return found


def threshold_for(swept: Sequence[Mapping[str, Any]], budget: float = BUDGET) -> float:
    """The lowest threshold that keeps within a budget, the highest of all where none does."""
    within = [each["open_at"] for each in swept if (each["budget"] or 0.0) <= budget]
    return float(min(within, default=max(each["open_at"] for each in swept)))


def threshold_of_precision(swept: Sequence[Mapping[str, Any]], precision: float = PRECISION) -> float:
    """The lowest threshold whose alerts are right so often, the highest of all where none's are."""
    right = [each["open_at"] for each in swept if (each["precision"] or 0.0) >= precision]
    return float(min(right, default=max(each["open_at"] for each in swept)))


def _spans_of(path: RiskPath, outcome: StopOutcome, policy: AlertPolicy) -> list[AlertSpan]:
    spans: list[AlertSpan] = []
    watch: Watch | None = None
    steps = zip(path.at_us.tolist(), path.late_probability.tolist(), strict=True)
    for at_us, probability in steps:
        if watch is None and probability < policy.open_at:
            continue
        now = StopNow(as_of_us=at_us, promise_end_us=outcome.promise_end_us, late_probability=probability)
        signal = stop_signal(outcome.stop_id, "", now, None, policy)
        decision = decide(watch or Watch.blank(signal), signal, policy)
        watch = None if decision.watch.is_blank else decision.watch
        if decision.action is Action.OPEN:
            spans.append(AlertSpan(stop_id=outcome.stop_id, rule=signal.rule.value, opened_us=at_us))
        elif decision.action is Action.RESOLVE and decision.reason is not Reason.STOP_REACHED:
            spans[-1] = replace(spans[-1], resolved_us=at_us)
    return spans
