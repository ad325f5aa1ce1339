"""When to tell a customer something new: pure decisions on what was promised and what is forecast now."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from math import ceil, floor

from serving.times import US


class Revise(StrEnum):
    """Why the customer is told a new window."""

    WINDOW_MISSED = "WINDOW_MISSED"
    WINDOW_EARLY = "WINDOW_EARLY"
    WINDOW_RECOVERED = "WINDOW_RECOVERED"


class Keep(StrEnum):
    """Why what was told still stands."""

    WITHIN_PROMISE = "WITHIN_PROMISE"
    WITHIN_HYSTERESIS = "WITHIN_HYSTERESIS"
    REVISED_RECENTLY = "REVISED_RECENTLY"
    REVISIONS_SPENT = "REVISIONS_SPENT"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryWindow:
    """From when to when, microseconds since the epoch."""

    start_us: int
    end_us: int

    def __post_init__(self) -> None:
        if self.end_us < self.start_us:
            raise ValueError(f"a delivery window ends at {self.end_us}, before it starts at {self.start_us}")

    @property
    def width_us(self) -> int:
        return self.end_us - self.start_us

    def contains(self, other: DeliveryWindow) -> bool:
        return self.start_us <= other.start_us and other.end_us <= self.end_us

    def widened(self, step_us: int) -> DeliveryWindow:
        """Outwards to whole steps of the clock."""
        start, end = floor(self.start_us / step_us) * step_us, ceil(self.end_us / step_us) * step_us
        return DeliveryWindow(start_us=start, end_us=end)


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What a customer was told about one stop: first, and now. Lateness counts against the first."""

    stop_id: str
    route_id: str
    first: DeliveryWindow
    told: DeliveryWindow
    revisions: int = 0
    told_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PromisePolicy:
    """How far a forecast must leave the promise, how often a customer may hear of it, and how wide a window is.

    late_limit : largest chance of an arrival after the window told
    cost_ratio : what a minute of lateness costs, in minutes of window; the same dial, said by its cost
    early_limit : largest chance of an arrival before the window told
    Where they are left out, the window told is the forecast's, with the same chance on either side.
    """

    material_s: float = 300.0
    material_share: float = 0.5
    rest_s: float = 900.0
    most_revisions: int = 3
    round_to_s: float = 300.0
    late_limit: float | None = None
    cost_ratio: float | None = None
    early_limit: float | None = None

    def __post_init__(self) -> None:
        if self.late_limit is not None and self.cost_ratio is not None:
            raise ValueError("late_limit and cost_ratio say the same thing; give one of them")
        for name in ("late_limit", "early_limit"):
            limit = getattr(self, name)
            if limit is not None and not 0 < limit < 0.5:
                raise ValueError(f"{name} is {limit}; it lies between 0 and 0.5")
        if self.cost_ratio is not None and not self.cost_ratio > 2:
            raise ValueError(f"cost_ratio is {self.cost_ratio}; a late minute costs more than 2 of window")

    def tails(self, coverage: float) -> tuple[float, float] | None:
        """Chances of an arrival before and after the window told; None where the forecast's own window is.

        With a late minute r times as dear as one of window, E[r (A - end)+] + end is least where
        P(A > end) = 1 / r: the critical ratio of the newsvendor (Arrow, Harris, Marschak 1951).
        """
        if self.late_limit is None and self.cost_ratio is None and self.early_limit is None:
            return None
        usual = (1.0 - coverage) / 2.0
        late = 1.0 / self.cost_ratio if self.cost_ratio is not None else self.late_limit
        return self.early_limit or usual, late or usual

    def material_us(self, told: DeliveryWindow) -> float:
        """Over the larger of a fixed time and a share of the window's width."""
        return max(self.material_s * US, self.material_share * told.width_us)


def revise(
    promise: Promise, forecast: DeliveryWindow, as_of_us: int, policy: PromisePolicy
) -> tuple[Promise, Revise | Keep]:
    """Give the promise that stands from now on, and why."""
    told = promise.told
    if told != promise.first and promise.first.contains(forecast):
        return _tell(promise, promise.first, as_of_us, policy, Revise.WINDOW_RECOVERED)
    late_us, early_us = forecast.end_us - told.end_us, told.start_us - forecast.start_us
    miss_us = max(late_us, early_us)
    if miss_us <= 0:
        return promise, Keep.WITHIN_PROMISE
    if miss_us <= policy.material_us(told):
        return promise, Keep.WITHIN_HYSTERESIS
    reason = Revise.WINDOW_MISSED if late_us >= early_us else Revise.WINDOW_EARLY
    return _tell(promise, forecast.widened(int(policy.round_to_s * US)), as_of_us, policy, reason)


def _tell(
    promise: Promise, window: DeliveryWindow, as_of_us: int, policy: PromisePolicy, reason: Revise
) -> tuple[Promise, Revise | Keep]:
    if promise.revisions >= policy.most_revisions:
        return promise, Keep.REVISIONS_SPENT
    if promise.revisions and as_of_us - promise.told_us < policy.rest_s * US:
        return promise, Keep.REVISED_RECENTLY
    told = replace(promise, told=window, revisions=promise.revisions + 1, told_us=as_of_us)
    return told, reason
