"""The promotion gate: a challenger is promoted only when the same held-out rows say that it should be.

Losses are compared in pairs, on the same rows. A storm hits every route at once, so the service day is the unit: the
figure is the mean over days of ln(challenger's loss / incumbent's loss), its interval Student's t over days. A day
that is hard for both says as much as an easy one, and one stormy day alone shows nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.metrics import pinball_rows_min

Float = NDArray[np.float64]
#: Two-sided 95 % by the normal distribution; days are few, so Student's t of their number is used instead.
CONFIDENCE = 0.975
NON_INFERIORITY = 0.01
LEAST_LOSS_MIN = 1e-6


class Verdict(StrEnum):
    """What the gate said, and why."""

    BETTER = "better than what it stands against: the interval of the difference excludes zero"
    NOT_WORSE = "a refresh, and at most 1 % worse than the champion"
    NOT_SHOWN = "the interval of the difference holds zero: not shown to be better"
    WORSE = "worse than what it stands against"

    @property
    def passed(self) -> bool:
        return self in (Verdict.BETTER, Verdict.NOT_WORSE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Mean pinball loss of two forecasts on the same rows, minutes.

    change, low, high : relative change from the incumbent's loss to the challenger's, and its interval; -0.1 is a
    tenth less loss
    """

    incumbent: str
    n: int
    days: int
    challenger_loss_min: float
    incumbent_loss_min: float
    change: float
    low: float
    high: float
    verdict: Verdict

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__} | {"passed": self.verdict.passed}


def compare(
    arrival_s: Float,
    challenger_s: Float,
    incumbent_s: Float,
    days: NDArray[np.str_],
    *,
    incumbent: str,
    refresh: bool = False,
) -> Comparison:
    """Judge a challenger's quantiles (n, 7) against an incumbent's on the same rows."""
    from scipy.stats import t

    ours, theirs = pinball_rows_min(arrival_s, challenger_s), pinball_rows_min(arrival_s, incumbent_s)
    log_change = _log_changes(ours, theirs, days)
    count, mean = len(log_change), float(log_change.mean())
    reach = np.inf
    if count > 1:
        reach = float(t.ppf(CONFIDENCE, count - 1) * log_change.std(ddof=1) / np.sqrt(count))
    low, high = float(np.expm1(mean - reach)), float(np.expm1(mean + reach))
    return Comparison(
        incumbent=incumbent,
        n=len(arrival_s),
        days=count,
        challenger_loss_min=float(ours.mean()),
        incumbent_loss_min=float(theirs.mean()),
        change=float(np.expm1(mean)),
        low=low,
        high=high,
        verdict=_verdict(mean, high, refresh),
    )


def _log_changes(ours: Float, theirs: Float, days: NDArray[np.str_]) -> Float:
    """ln(mean loss / mean loss) of each day: (days,)."""
    _, day = np.unique(days, return_inverse=True)
    rows = np.bincount(day)
    sums = [np.bincount(day, loss) / rows for loss in (ours, theirs)]
    return np.log(np.maximum(sums[0], LEAST_LOSS_MIN) / np.maximum(sums[1], LEAST_LOSS_MIN))


def _verdict(change: float, high: float, refresh: bool) -> Verdict:
    if high < 0:
        return Verdict.BETTER
    if refresh and high < NON_INFERIORITY:
        return Verdict.NOT_WORSE
    return Verdict.WORSE if change > 0 else Verdict.NOT_SHOWN
