"""When windows no longer hold the share of arrivals that they state: told once in so many lessons, while it lasts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving.engine.taught import Taught
from training.calibration import HIGH, LOW
from training.quantiles import GRID


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftPolicy:
    """How far from stated is too far.

    The live calibration remembers about fifty lessons, so that what it measures is uncertain by about 0.04; three
    times that is hardly chance.
    """

    off_by: float = 0.12
    every_lessons: int = 100

    def __post_init__(self) -> None:
        if not 0 <= self.off_by < 1 or self.every_lessons < 1:
            raise ValueError("drift.off_by lies between 0 and 1, and drift.every_lessons is at least 1")


def drift(before: Taught, now: Taught, policy: DriftPolicy) -> Mapping[str, Any] | None:
    """What to tell after lessons moved the calibration from ``before`` to ``now``, if anything.

    A level's error is what it states less the share of arrivals below it, of late and with the live calibration on.
    """
    if now.live is None or before.number // policy.every_lessons == now.number // policy.every_lessons:
        return None
    stated = float(GRID[HIGH] - GRID[LOW])
    measured = stated - float(now.live.error[HIGH] - now.live.error[LOW])
    if abs(measured - stated) <= policy.off_by:
        return None
    return {
        "stated_coverage": round(stated, 4),
        "measured_coverage": round(measured, 4),
        "outcomes": now.number,
    }
