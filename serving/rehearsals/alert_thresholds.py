"""Thresholds chosen by data: late-risk alerts replayed over stored risks at many thresholds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from itertools import product
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

#: The budget that a threshold is chosen within: flagged stops as a share of all.
BUDGET = 0.10
#: How often alerts are to be right.
PRECISION = 0.80
THRESHOLDS = tuple(round(0.2 + 0.05 * step, 2) for step in range(15))
#: How long before the promise's end alerts may open: from the start on, or only when so many minutes are left.
MOST_LEADS_MIN = (None, 120.0, 90.0, 60.0, 45.0)


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


def as_swept(policy: AlertPolicy, row: Mapping[str, Any]) -> AlertPolicy:
    """A policy with the dials that some figures were made at."""
    most_min, hold_s = row["most_lead_min"], row["hold_s"]
    most_s = None if most_min is None else 60.0 * most_min
    return replace(at_threshold(policy, row["open_at"]), most_lead_s=most_s, hold_s=hold_s)


def late_spans(paths: Paths, outcomes: Mapping[str, StopOutcome], policy: AlertPolicy) -> list[AlertSpan]:
    """Alerts of the stop rules over stored risks, by the same stages as the engine's, from when they are told."""
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


def ticks_above(paths: Paths, outcomes: Mapping[str, StopOutcome], open_at: float) -> int:
    """Messages of a threshold that remembers nothing: one for each risk over it."""
    return sum(
        int((paths[stop_id].late_probability >= open_at).sum()) for stop_id in outcomes if stop_id in paths
    )


def sweep(
    paths: Paths,
    outcomes: Mapping[str, StopOutcome],
    policy: AlertPolicy,
    *,
    thresholds: Iterable[float] = THRESHOLDS,
    lead_min: float = SHORTEST_LEAD_MIN,
) -> list[dict[str, Any]]:
    """The figures of the evaluation contract at each threshold, the other dials as they are."""
    found = []
    for open_at in thresholds:
        spans = predictions(late_spans(paths, outcomes, at_threshold(policy, open_at)))
        most_s = policy.most_lead_s
        dials = {
            "open_at": open_at,
            "most_lead_min": None if most_s is None else most_s / 60.0,
            "hold_s": policy.hold_s,
        }
        found.append(dials | alert_figures(spans, list(outcomes.values()), lead_min))
    return found


def tried(
    paths: Paths,
    outcomes: Mapping[str, StopOutcome],
    policy: AlertPolicy,
    *,
    most_leads_min: Iterable[float | None] = MOST_LEADS_MIN,
    holds_s: Iterable[float] = (0.0,),
    lead_min: float = SHORTEST_LEAD_MIN,
) -> list[dict[str, Any]]:
    """The figures at each threshold with each lead and each hold."""
    found = []
    for most_min, hold_s in product(most_leads_min, holds_s):
        most_s = None if most_min is None else 60.0 * most_min
        found += sweep(paths, outcomes, replace(policy, most_lead_s=most_s, hold_s=hold_s), lead_min=lead_min)
    return found


class Because(StrEnum):
    """Why a threshold is proposed."""

    MOST_FOUND = "MOST_FOUND"
    """Of those within the budget that are right often enough, it finds the most late stops."""
    NONE_RIGHT_OFTEN_ENOUGH = "NONE_RIGHT_OFTEN_ENOUGH"
    """None within the budget is right often enough; of those within it, this one is right most often."""
    NONE_WITHIN_BUDGET = "NONE_WITHIN_BUDGET"
    """None flags anything within the budget; this one flags the least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """Dials for a budget, which is a ceiling and no target, and for a precision, which is a floor.

    most_lead_min : alerts open only when so much is left before the promise's end
    flagged, right, found : budget, precision and recall that it had on the days that it was chosen on
    """

    open_at: float
    most_lead_min: float | None
    hold_s: float
    because: Because
    budget: float
    floor: float
    flagged: float
    right: float | None
    found: float | None

    def document(self) -> dict[str, Any]:
        return asdict(self) | {"because": self.because.value, "in_words": self.in_words()}

    def policy(self, before: AlertPolicy) -> AlertPolicy:
        """A policy with these dials."""
        return as_swept(before, asdict(self))

    def in_words(self) -> str:
        """One sentence for people."""
        right, found = ("none" if share is None else f"{share:.1%}" for share in (self.right, self.found))
        kept = f"{self.flagged:.1%} flagged, {right} right, {found} of the late stops found"
        why = {
            Because.MOST_FOUND: f"finds the most within {self.budget:.0%}, right at least {self.floor:.0%}",
            Because.NONE_RIGHT_OFTEN_ENOUGH: (
                f"no threshold within {self.budget:.0%} is right {self.floor:.0%} of the time; this one is most often"
            ),
            Because.NONE_WITHIN_BUDGET: f"no threshold flags anything within {self.budget:.0%}; this one the least",
        }[self.because]
        waits = (
            ""
            if self.most_lead_min is None
            else f", {self.most_lead_min:g} min before the promise's end at most"
        )
        return f"{self.open_at:g}{waits}: {why} ({kept} on the days that it was chosen on)"


def propose(swept: Sequence[Mapping[str, Any]], budget: float = BUDGET, floor: float = PRECISION) -> Proposal:
    """The dials that find the most late stops within a budget, while they are right often enough.

    ``swept`` are figures at each threshold, of days that nothing is judged on. Of dials that find the same, those that
    are right more often, and then those that tell earlier.
    """
    within = [each for each in swept if (each["budget"] or 0.0) <= budget]
    right = [each for each in within if (each["precision"] or 0.0) >= floor]
    if right:
        because, best = Because.MOST_FOUND, max(right, key=_finds)
    elif any(each["flagged"] for each in within):
        because, best = Because.NONE_RIGHT_OFTEN_ENOUGH, max(within, key=_is_right)
    else:
        because, best = Because.NONE_WITHIN_BUDGET, min(swept, key=_flags)
    return Proposal(
        open_at=float(best["open_at"]),
        most_lead_min=best["most_lead_min"],
        hold_s=best["hold_s"],
        because=because,
        budget=budget,
        floor=floor,
        flagged=best["budget"] or 0.0,
        right=best["precision"],
        found=best["recall"],
    )


def _flags(each: Mapping[str, Any]) -> tuple[float, ...]:
    return not each["flagged"], each["budget"] or 0.0, -(each["precision"] or 0.0), -each["open_at"]


def _finds(each: Mapping[str, Any]) -> tuple[float, ...]:
    return each["recall"] or 0.0, each["precision"] or 0.0, each["median_lead_min"] or 0.0


def _is_right(each: Mapping[str, Any]) -> tuple[float, ...]:
    return each["precision"] or 0.0, each["recall"] or 0.0, each["median_lead_min"] or 0.0


def _spans_of(path: RiskPath, outcome: StopOutcome, policy: AlertPolicy) -> list[AlertSpan]:
    spans: list[AlertSpan] = []
    watch: Watch | None = None
    first = int(np.argmax(path.late_probability >= policy.open_at))
    steps = zip(path.at_us[first:].tolist(), path.late_probability[first:].tolist(), strict=True)
    for at_us, probability in steps:
        if watch is None and probability < policy.open_at:
            continue
        now = StopNow(as_of_us=at_us, promise_end_us=outcome.promise_end_us, late_probability=probability)
        signal = stop_signal(outcome.stop_id, "", now, None, policy)
        decision = decide(watch or Watch.blank(signal), signal, policy)
        watch = None if decision.watch.is_blank else decision.watch
        if (decision.action is Action.OPEN and decision.is_news) or decision.reason is Reason.TIME_TO_TELL:
            spans.append(AlertSpan(stop_id=outcome.stop_id, rule=signal.rule.value, opened_us=at_us))
        elif decision.action is Action.RESOLVE and decision.is_news:
            spans[-1] = replace(spans[-1], resolved_us=at_us)
    return spans
