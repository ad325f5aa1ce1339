"""The operator's dial of promises: what a window costs in width for the share of customers that it leaves late.

Read off the curve of a backtest, so that the dial is set by what was measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Curve = Sequence[Mapping[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DialReading:
    """A setting of the dial: what was stated, what was measured, and how wide windows are then.

    late_limit : the setting to state
    measured : the share late at that setting
    """

    late_limit: float
    measured: float
    width_min: float
    share_early: float


def as_stated(curve: Curve, late_limit: float) -> DialReading | None:
    """What came of stating ``late_limit``; None where it lies beyond the curve."""
    found = _between(curve, [_stated(point) for point in curve], late_limit)
    return None if found is None else _reading(found)


def as_measured(curve: Curve, late_share: float) -> DialReading | None:
    """What to state so that this share is late, as far as the backtest tells; None beyond the curve."""
    found = _between(curve, [point["share_late"] for point in curve], late_share)
    return None if found is None else _reading(found)


def _stated(point: Mapping[str, float]) -> float:
    """The chance of being late that a central window of a coverage states."""
    return (1.0 - point["coverage"]) / 2.0


def _reading(point: Mapping[str, float]) -> DialReading:
    return DialReading(
        late_limit=_stated(point),
        measured=point["share_late"],
        width_min=point["width_min"],
        share_early=point["share_early"],
    )


def _between(curve: Curve, values: Sequence[float], wanted: float) -> dict[str, float] | None:
    """The point of the curve, in a straight line between two of it, at which ``values`` reach what is wanted."""
    for (one, a), (other, b) in zip(
        zip(curve, values, strict=True), zip(curve[1:], values[1:], strict=True), strict=False
    ):
        if min(a, b) - 1e-12 <= wanted <= max(a, b) + 1e-12:
            share = 0.0 if a == b else (wanted - a) / (b - a)
            return {name: one[name] + share * (other[name] - one[name]) for name in one}
    return None
