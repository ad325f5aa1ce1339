"""What alerts were worth: the figures of the evaluation contract, from alerts told and what became of the stops."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

from serving.times import US

MINUTE_US = 60 * US
#: An alert with less lead than this before the promise's end counts as a miss.
SHORTEST_LEAD_MIN = 15.0
FLAP_WITHIN_US = 30 * MINUTE_US


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertSpan:
    """One alert: from when to when it was open; ``resolved_us`` is None while it is."""

    stop_id: str
    rule: str
    opened_us: int
    resolved_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StopOutcome:
    """What became of a stop; ``reached_us`` is None for one that was given up unattempted."""

    stop_id: str
    promise_end_us: int
    reached_us: int | None
    day: str = ""

    @property
    def late(self) -> bool:
        return self.reached_us is None or self.reached_us > self.promise_end_us

    @property
    def settled_us(self) -> int:
        """When the outcome came: the arrival, or the promise's end for a stop that was never attempted."""
        return self.promise_end_us if self.reached_us is None else self.reached_us


def alert_figures(
    alerts: Iterable[AlertSpan], outcomes: Sequence[StopOutcome], lead_min: float = SHORTEST_LEAD_MIN
) -> dict[str, Any]:
    """Budget, precision, recall, lead and flapping of alerts whose subject is a stop."""
    spans: dict[str, list[AlertSpan]] = defaultdict(list)
    for alert in alerts:
        spans[alert.stop_id].append(alert)
    for known in spans.values():
        known.sort(key=lambda span: span.opened_us)
    by_stop = {outcome.stop_id: outcome for outcome in outcomes}
    flagged = {stop_id: spans[stop_id] for stop_id in spans if stop_id in by_stop}
    leads = [
        (by_stop[stop_id].promise_end_us - known[0].opened_us) / MINUTE_US
        for stop_id, known in flagged.items()
        if _is_true(known, by_stop[stop_id], lead_min)
    ]
    late = sum(outcome.late for outcome in outcomes)
    raised = sum(map(len, flagged.values()))
    flaps = sum(_flaps(known) for known in flagged.values())
    return {
        "stops": len(outcomes),
        "late": late,
        "raised": raised,
        "flagged": len(flagged),
        "true": len(leads),
        "budget": len(flagged) / len(outcomes) if outcomes else None,
        "precision": len(leads) / len(flagged) if flagged else None,
        "recall": len(leads) / late if late else None,
        "median_lead_min": median(leads) if leads else None,
        "flap_rate": flaps / raised if raised else None,
    }


def _is_true(known: Sequence[AlertSpan], outcome: StopOutcome, lead_min: float) -> bool:
    """Whether the first alert came in time, one was still open at the outcome, and the stop was late."""
    first, last = known[0], known[-1]
    in_time = outcome.promise_end_us - first.opened_us >= lead_min * MINUTE_US
    still_open = last.resolved_us is None or last.resolved_us >= outcome.settled_us
    return outcome.late and in_time and still_open


def _flaps(known: Sequence[AlertSpan]) -> int:
    """Re-openings of the same rule on the same stop within half an hour."""
    return sum(
        earlier.rule == later.rule
        and earlier.resolved_us is not None
        and later.opened_us - earlier.resolved_us <= FLAP_WITHIN_US
        for earlier, later in pairwise(known)
    )
