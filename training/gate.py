"""The promotion gate: a challenger is promoted only when the same held-out rows say that it should be.

Losses are compared in pairs, row by row, and the interval is clustered by service day: a storm hits every route at
once, so rows of one day are not independent.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.metrics import clustered_error
from training.quantiles import QUANTILE_LEVELS

Float = NDArray[np.float64]
#: Two-sided 95 % by the normal distribution; days are few, so Student's t of their number is used instead.
CONFIDENCE = 0.975
NON_INFERIORITY = 0.01


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
    """Mean pinball loss of two forecasts on the same rows, minutes; ``difference`` is challenger - incumbent."""

    incumbent: str
    n: int
    days: int
    challenger_loss_min: float
    incumbent_loss_min: float
    difference_min: float
    low_min: float
    high_min: float
    verdict: Verdict

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__} | {"passed": self.verdict.passed}


def row_loss_min(arrival_s: Float, quantiles_s: Float) -> Float:
    """Pinball loss of each row, mean over QUANTILE_LEVELS: (n,) minutes."""
    error, level = (arrival_s[:, None] - quantiles_s) / 60.0, np.asarray(QUANTILE_LEVELS)
    return np.asarray(np.maximum(level * error, (level - 1.0) * error).mean(axis=1))


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

    ours, theirs = row_loss_min(arrival_s, challenger_s), row_loss_min(arrival_s, incumbent_s)
    difference, count = ours - theirs, len(np.unique(days))
    error = clustered_error(difference, days)
    reach = float(t.ppf(CONFIDENCE, max(count - 1, 1))) * error if count > 1 else np.inf
    mean = float(difference.mean())
    return Comparison(
        incumbent=incumbent,
        n=len(arrival_s),
        days=count,
        challenger_loss_min=float(ours.mean()),
        incumbent_loss_min=float(theirs.mean()),
        difference_min=mean,
        low_min=mean - reach,
        high_min=mean + reach,
        verdict=_verdict(mean, mean + reach, float(theirs.mean()), refresh),
    )


def _verdict(mean: float, high: float, incumbent_loss: float, refresh: bool) -> Verdict:
    if high < 0:
        return Verdict.BETTER
    if refresh and high < NON_INFERIORITY * incumbent_loss:
        return Verdict.NOT_WORSE
    return Verdict.WORSE if mean > 0 else Verdict.NOT_SHOWN
