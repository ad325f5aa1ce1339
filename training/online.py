"""Calibration that goes on after training: it learns from outcomes alone, when they arrive, and survives restarts.

What serves keeps one ``OnlineCalibrator`` for each model version, and does three things with it::

    forecast = model.forecast(vectors, live)          # moved by what has been learned so far
    stake = forecast.stake(row)                       # to be kept until the outcome: stake.to_json()
    live.observe(model.calibrator, stakes, arrival_s, known_us)  # outcomes that became known at one instant

A stake is the forecast before any shift, and the shift that it was told with. One a stop and ``stake.horizon`` is
enough, the first that was made: forecasts of one stop err together. A stop that was never reached teaches nothing; its
stakes are dropped. Scores are in units of the model's own spread, so that a new version starts with a new calibrator.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.calibration import GROUP_EDGES_MIN, HIGH, LOW, Calibrator, Raw, group_of
from training.quantiles import GRID, QuantileForecast

Float = NDArray[np.float64]
Int = NDArray[np.int64]
#: Names of the parts, beside its horizon, that a forecast belongs to.
Sides = tuple[str, ...]

#: How far from the median a level is: 0 there, 1 from the 80 % window's edges on; and which way outwards is.
REACH = np.minimum(np.abs(GRID - 0.5) / 0.4, 1.0)
OUTWARDS = np.sign(np.where(REACH > 1e-9, GRID - 0.5, 0.0))
#: Steps of a lesson, in widths of the shape's 80 % window: of a horizon, of a side at its three knots, and outwards.
STEADY = 0.05 * (0.5 + 0.5 * REACH)
SIDE = 0.02 * np.array([1.0, 0.5, 1.0])
OUTWARD = 0.07
#: An outer level that errs by less than this moves nothing outwards, the outermost ones by less in proportion.
SLACK = 0.005 * GRID * (1.0 - GRID) / 0.09
#: Most whole lessons that the time a forecast looks ahead, at least an hour of it, counts for.
STEADY_LESSONS, OUTWARD_LESSONS = 6.0, 60.0
SHORTEST_LEAD_S = 3600.0
#: What the told levels erred by of late forgets at this rate.
ERROR_RATE = 0.02
NARROWEST = 0.02
#: A shift is kept to this many digits: what was told is what is remembered.
DIGITS = 4

HORIZONS = len(GROUP_EDGES_MIN) + 1
#: The part that every forecast belongs to.
EVERY = "every"
#: A side moves the window's ends and the median, and the levels between in proportion.
KNOTS = (LOW, int(np.argmin(REACH)), HIGH)
BETWEEN = np.stack([np.interp(GRID, GRID[list(KNOTS)], row) for row in np.eye(3)])
HOURS_OF_A_BAND = 3


def sides_of(zone_id: str | None, hour: float) -> Sides:
    """The zone that a stop is in, and the band of the day that it is planned in."""
    band = () if not np.isfinite(hour) else (f"hour:{int(hour) // HOURS_OF_A_BAND * HOURS_OF_A_BAND}",)
    return band if zone_id is None else (f"zone:{zone_id}", *band)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stake:
    """What is kept of a forecast to learn from its outcome.

    median_s, below_s, above_s : seconds after its instant, before any shift
    told : what it was moved by at each level, in units of the spread; empty where nothing had been learned
    """

    sides: Sides
    median_s: float
    below_s: float
    above_s: float
    told: tuple[float, ...] = ()

    @property
    def horizon(self) -> int:
        """Number of the horizon group that the forecast was made in."""
        return int(group_of(np.array([self.median_s]))[0])

    def to_json(self) -> list[Any]:
        return [self.sides, self.median_s, self.below_s, self.above_s, self.told]

    @classmethod
    def from_json(cls, kept: Sequence[Any]) -> Stake:
        sides, median_s, below_s, above_s, told = kept
        return cls(sides=tuple(sides), median_s=median_s, below_s=below_s, above_s=above_s, told=tuple(told))


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Forecasts that were settled.

    scores : (k,) scaled errors, NaN for a stop that was not reached
    median_s : (k,) of the forecasts, before any shift
    shapes, told : (k, len(GRID)) that they were made with, and what they were moved by
    """

    scores: Float
    median_s: Float
    shapes: Float
    told: Float
    sides: Sequence[Sides]

    @classmethod
    def of(
        cls, calibrator: Calibrator, raw: Raw, arrival_s: Float, told: Float, sides: Sequence[Sides]
    ) -> Outcomes:
        shapes = calibrator.shapes[group_of(raw.median_s)]
        return cls(raw.scores(arrival_s), raw.median_s, shapes, told, sides)

    def take(self, rows: Int) -> Outcomes:
        sides = [self.sides[row] for row in rows.tolist()]
        return Outcomes(self.scores[rows], self.median_s[rows], self.shapes[rows], self.told[rows], sides)


@dataclass(slots=True)
class OnlineCalibrator:
    """Follows the scaled errors as outcomes arrive, at each level, for each horizon, zone and band of the day.

    A forecast is moved by the sum of what its parts have learned. ``shift += step * width * (level - [z <= quantile])``
    makes each part's levels right in the long run (gradient equilibrium; the update of adaptive conformal inference,
    Gibbs and Candes 2021, made in the score). Of each part there are two such walks:

    - a *steady* one, both ways, by what was told, since a forecast that was wrong when it was told was wrong;
    - one *outwards* only, of a horizon and of every horizon, which is fast, by what would be told now, and falls back
      to nothing: after a shift windows widen within hours on the side that errs, while the median stays where it was.

    Forecasts that are made within the time that one looks ahead err together. So that a day of storms is not taken
    for a thousand lessons, outcomes count for what time has passed since the part's last one, and a small part, which
    has seldom learned, keeps to what all its forecasts' other parts say.

    seen : lessons so far, outcomes that became known at one instant are one
    parts : numbers of each part, the last of them the instant of its latest lesson; never changed in place
    """

    seen: int = 0
    parts: dict[str, Float] = field(default_factory=dict)

    @property
    def error(self) -> Float:
        """What each level states less the share of outcomes below it, of late, as they were told."""
        return self.parts[EVERY][: len(GRID)] if EVERY in self.parts else np.zeros(len(GRID))

    def shifts(self, median_s: Float, sides: Sequence[Sides]) -> Float:
        """What forecasts are moved by: (n, len(GRID)), in units of the spread."""
        groups, moved = group_of(median_s), np.zeros((len(median_s), len(GRID)))
        for horizon in set(groups.tolist()):
            moved[groups == horizon] = self._of_horizon(horizon)
        names = {name for each in sides for name in each if name in self.parts}
        known = {name: self.parts[name][:3] @ BETWEEN for name in sorted(names)}
        for row, each in enumerate(sides):
            for name in each:
                if name in known:
                    moved[row] += known[name]
        return np.round(moved, DIGITS)

    def observe(
        self, calibrator: Calibrator, stakes: Sequence[Stake], arrival_s: Sequence[float], known_us: int
    ) -> None:
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
        told = np.array([stake.told or (0.0,) * len(GRID) for stake in stakes])
        arrived_s = np.asarray(arrival_s, np.float64)
        self.learn(Outcomes.of(calibrator, raw, arrived_s, told, [s.sides for s in stakes]), known_us)

    def learn(self, outcomes: Outcomes, known_us: int) -> None:
        """One lesson: outcomes that became known at one instant."""
        reached = np.flatnonzero(np.isfinite(outcomes.scores))
        if not len(reached):
            return
        outcomes = outcomes.take(reached)
        now = self.shifts(outcomes.median_s, outcomes.sides)
        width = np.maximum(outcomes.shapes[:, HIGH] - outcomes.shapes[:, LOW], NARROWEST)[:, None]
        lesson = _Lesson(
            known_us,
            np.maximum(outcomes.median_s, SHORTEST_LEAD_S) * 1e6,
            _missed(outcomes, outcomes.told),
            _missed(outcomes, now) * width,
            width,
        )
        self.seen += 1
        learned = {EVERY: self._every(lesson)}
        horizons = group_of(outcomes.median_s)
        for horizon in np.unique(horizons).tolist():
            learned[str(horizon)] = self._horizon(str(horizon), lesson.of(horizons == horizon))
        for name in sorted({name for each in outcomes.sides for name in each}):
            rows = np.array([name in each for each in outcomes.sides])
            learned[name] = self._side(name, lesson.of(rows))
        self.parts = self.parts | learned

    def changed_since(self, before: OnlineCalibrator) -> dict[str, Float]:
        """Parts that have learned since."""
        return {name: part for name, part in self.parts.items() if before.parts.get(name) is not part}

    @classmethod
    def standing(cls, seen: int, shift: Float) -> OnlineCalibrator:
        """One that moves every forecast by the same."""
        part = np.array([*shift, *np.zeros(len(GRID)), 0.0])
        return cls(seen, {str(horizon): part for horizon in range(HORIZONS)})

    def copy(self) -> OnlineCalibrator:
        return OnlineCalibrator(self.seen, dict(self.parts))

    def _of_horizon(self, horizon: int) -> Float:
        steady, own = np.split(self.parts.get(str(horizon), _NEW)[:-1], 2)
        every = self.parts.get(EVERY, _NEW)[len(GRID) : -1]
        return np.asarray(steady + (own + every) * OUTWARDS * REACH)

    def _every(self, lesson: _Lesson) -> Float:
        error, outward = np.split(self.parts.get(EVERY, _NEW)[:-1], 2)
        error = error + ERROR_RATE * (lesson.told.mean(axis=0) - error)
        return np.array([*error, *lesson.outward(outward, self._last_us(EVERY)), lesson.known_us])

    def _horizon(self, name: str, lesson: _Lesson) -> Float:
        steady, outward = np.split(self.parts.get(name, _NEW)[:-1], 2)
        last_us = self._last_us(name)
        steady = steady + STEADY * lesson.weight(last_us, STEADY_LESSONS) * lesson.told_widths
        return np.array([*steady, *lesson.outward(outward, last_us), lesson.known_us])

    def _side(self, name: str, lesson: _Lesson) -> Float:
        knots = self.parts[name][:3] if name in self.parts else np.zeros(3)
        weight = lesson.weight(self._last_us(name), STEADY_LESSONS)
        return np.array([*(knots + SIDE * weight * lesson.told_widths[list(KNOTS)]), lesson.known_us])

    def _last_us(self, name: str) -> float:
        return float(self.parts[name][-1]) if name in self.parts else -np.inf

    def to_json(self) -> dict[str, Any]:
        """Its state as plain numbers."""
        return {"seen": self.seen, "parts": {name: part.tolist() for name, part in self.parts.items()}}

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> OnlineCalibrator:
        return cls(state["seen"], {name: np.array(part) for name, part in state["parts"].items()})


_NEW = np.zeros(2 * len(GRID) + 1)


@dataclass(frozen=True, slots=True)
class _Lesson:
    """What some outcomes of one instant say.

    lead_us : (k,) how far their forecasts looked ahead
    told : (k, len(GRID)) level less whether the outcome was below it, as it was told
    now : the same as it would be told now, in widths; width : (k, 1) of the 80 % window
    """

    known_us: int
    lead_us: Float
    told: Float
    now: Float
    width: Float

    @property
    def told_widths(self) -> Float:
        return np.asarray((self.told * self.width).mean(axis=0))

    def of(self, rows: NDArray[np.bool_]) -> _Lesson:
        return _Lesson(self.known_us, self.lead_us[rows], self.told[rows], self.now[rows], self.width[rows])

    def weight(self, last_us: float, lessons: float) -> float:
        """What it counts for: all of a lesson, or what the time since the last one is of the time looked ahead."""
        return min(1.0, lessons * max(self.known_us - last_us, 0.0) / float(self.lead_us.mean()))

    def outward(self, walk: Float, last_us: float) -> Float:
        """A walk outwards after it."""
        beyond = OUTWARDS * self.now.mean(axis=0) - SLACK * float(self.width.mean())
        return np.maximum(walk + OUTWARD * self.weight(last_us, OUTWARD_LESSONS) * beyond, 0.0)


def _missed(outcomes: Outcomes, shifts: Float) -> Float:
    """Level less whether the outcome was at or below its quantile: (k, len(GRID))."""
    quantiles = np.maximum.accumulate(outcomes.shapes + shifts, axis=1)
    return np.asarray(GRID - (outcomes.scores[:, None] <= quantiles))


def replay_online(
    calibrator: Calibrator,
    raw: Raw,
    arrival_s: Float,
    as_of_us: Int,
    known_us: Int,
    sides: Iterable[Sides] | None = None,
) -> QuantileForecast:
    """Forecasts as they would have been live: each uses only outcomes that had been received by its instant."""
    online, told = OnlineCalibrator(), np.zeros((len(arrival_s), len(GRID)))
    outcomes = Outcomes.of(calibrator, raw, arrival_s, told, list(sides or [()] * len(arrival_s)))
    asked, learned = np.argsort(as_of_us, kind="stable"), np.argsort(known_us, kind="stable")
    starts = np.flatnonzero(np.diff(known_us[learned], prepend=-1))
    ends, done = np.append(starts[1:], len(learned)), 0
    for row in asked:
        while done < len(ends) and known_us[learned[starts[done]]] <= as_of_us[row]:
            together = learned[starts[done] : ends[done]]
            online.learn(outcomes.take(together), int(known_us[together[0]]))
            done += 1
        told[row] = online.shifts(raw.median_s[row : row + 1], outcomes.sides[row : row + 1])[0]
    return calibrator.forecast(raw, told)
