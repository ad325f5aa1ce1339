"""Calibration that goes on after training: it learns from outcomes alone, when they arrive, and survives restarts.

What serves keeps one ``OnlineCalibrator`` for each model version, and does three things with it::

    live = OnlineCalibrator.from_json(kept) if kept else OnlineCalibrator()
    forecast = model.forecast(vectors, live)          # moved by what has been learned so far
    stake = forecast.stake(row)                       # to be kept until the outcome: stake.to_json()
    live.observe(model.calibrator, stakes, arrival_s) # every outcome that became known at one instant, together
    kept = live.to_json()                             # plain numbers

A stake is the forecast as it stood before any shift. One a stop and ``stake.horizon`` is enough, the first that was
made: forecasts of one stop err together. A stop that was never reached teaches nothing; its stakes are dropped. Scores
are in units of the model's own spread, so that a new version starts with a new calibrator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.calibration import HIGH, LOW, Calibrator, Raw, group_of
from training.quantiles import GRID, QuantileForecast

Float = NDArray[np.float64]
Int = NDArray[np.int64]

#: The tracker hurries by the mean error of each level of late, which forgets at this rate.
HASTE = 6.0
ERROR_RATE = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Stake:
    """What is kept of a forecast to learn from its outcome: median and spread in seconds after its instant."""

    zone_id: str | None
    median_s: float
    below_s: float
    above_s: float

    @property
    def horizon(self) -> int:
        """Number of the horizon group that the forecast was made in."""
        return int(group_of(np.array([self.median_s]))[0])

    def to_json(self) -> list[Any]:
        return [self.zone_id, self.median_s, self.below_s, self.above_s]

    @classmethod
    def from_json(cls, kept: Sequence[Any]) -> Stake:
        zone_id, median_s, below_s, above_s = kept
        return cls(zone_id=zone_id, median_s=median_s, below_s=below_s, above_s=above_s)


@dataclass(slots=True)
class OnlineCalibrator:
    """Follows the scaled error as outcomes arrive: a quantile tracker for each level.

    ``shift += rate * width * (level - [z <= shape + shift])``, with the width of the shape's 80 % window, so that
    the pace does not hang on how sure of themselves the boosters are, is the proportional part of conformal PID control
    (Angelopoulos, Candes, Tibshirani 2023), the update of adaptive conformal inference (Gibbs, Candes 2021) made
    in the score instead of the level. Outcomes that become known at one instant are one lesson: a bus that reaches a
    stop settles every forecast that was made of it, and they all err together. A level that has erred for long moves
    faster, so that a large shift is caught up with and a calibrated stream is left in peace.
    """

    rate: float = 0.02
    seen: int = 0
    error: Float = field(default_factory=lambda: np.zeros(len(GRID)))
    shift: Float = field(default_factory=lambda: np.zeros(len(GRID)))

    def observe(self, calibrator: Calibrator, stakes: Sequence[Stake], arrival_s: Sequence[float]) -> None:
        """Learn from outcomes that became known at one instant.

        Parameters
        ----------
        calibrator : of the model that made the forecasts
        arrival_s : seconds from each forecast's instant to the arrival; NaN for a stop that was not reached
        """
        if not stakes:
            return
        median_s, below_s, above_s = np.array([(s.median_s, s.below_s, s.above_s) for s in stakes]).T
        raw = Raw(median_s, below_s, above_s, median_s)
        self.update(raw.scores(np.asarray(arrival_s, np.float64)), calibrator.shapes[group_of(raw.median_s)])

    def update(self, scores: Float | float, shapes: Float) -> None:
        """Learn from scores that became known together.

        Parameters
        ----------
        scores : (k,) scaled errors, NaN for a stop that was not reached
        shapes : (k, len(GRID)) that their forecasts were made with
        """
        scores, shapes = np.atleast_1d(scores), np.atleast_2d(shapes)
        reached = np.isfinite(scores)
        if not reached.any():
            return
        scores, shapes = scores[reached], shapes[reached]
        self.seen += 1
        width = (shapes[:, HIGH] - shapes[:, LOW]).mean()
        missed = GRID - (scores[:, None] <= shapes + self.shift).mean(axis=0)
        pace = self.rate * (1.0 + HASTE * np.abs(self.error))
        self.shift = self.shift + pace * width * missed
        self.error = self.error + ERROR_RATE * (missed - self.error)

    def to_json(self) -> dict[str, Any]:
        """Its state as plain numbers."""
        return {
            "rate": self.rate,
            "seen": self.seen,
            "shift": self.shift.tolist(),
            "error": self.error.tolist(),
        }

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> OnlineCalibrator:
        return cls(
            rate=state["rate"],
            seen=state["seen"],
            shift=np.array(state["shift"]),
            error=np.array(state["error"]),
        )


def replay_online(
    calibrator: Calibrator, raw: Raw, arrival_s: Float, as_of_us: Int, known_us: Int
) -> QuantileForecast:
    """Forecasts as they would have been live: each uses only outcomes that had been received by its instant."""
    online, scores, shapes = (
        OnlineCalibrator(),
        raw.scores(arrival_s),
        calibrator.shapes[group_of(raw.median_s)],
    )
    asked, learned = np.argsort(as_of_us, kind="stable"), np.argsort(known_us, kind="stable")
    starts = np.flatnonzero(np.diff(known_us[learned], prepend=-1))
    ends = np.append(starts[1:], len(learned))
    shifts, done = np.zeros((len(arrival_s), len(GRID))), 0
    for row in asked:
        while done < len(ends) and known_us[learned[starts[done]]] <= as_of_us[row]:
            together = learned[starts[done] : ends[done]]
            online.update(scores[together], shapes[together])
            done += 1
        shifts[row] = online.shift
    return calibrator.forecast(raw, shifts)
