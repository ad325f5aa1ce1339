"""The forecaster that serves: boosters of the residual over the causal prior, and their calibration.

Saved as booster text and JSON; loading executes nothing. A folder is refused when its feature set is not the one
that is served, or when it no longer gives the forecasts that it gave when it was saved.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_contracts import __version__
from data_contracts.errors import ModelError, NoTrainingRowsError
from features.vectors import FEATURE_NAMES, Vectors, feature_set_hash
from training.boosters import (
    FEW_ROWS,
    OBJECTIVES,
    BoosterSettings,
    Predictor,
    Target,
    fit,
    run_side_by_side,
)
from training.calibration import Calibrator, Raw
from training.dataset import Dataset
from training.delivery import DeliveryForecast
from training.doors import DOOR, Doors, fit_doors
from training.online import OnlineCalibrator, Sides, sides_of
from training.quantiles import GRID
from training.reasons import Reason, Usual, explain
from training.situations import Situations, with_dropout
from training.spread import ZoneSpread

Float = NDArray[np.float64]
FOLDS = 4
#: Boosters learn from at most 200,000 rows; calibration has enough with these.
MOST_ROWS = 500_000
#: The target is chosen on so many folds, by small boosters of at most so many rows; of few rows on all, by whole ones.
PROBED_FOLDS, PROBED_ROWS, PROBED_TREES = 2, 30_000, 120
#: What small boosters are, where large ones are not worth their size.
SMALL_TREES, SMALL_LEAVES, SMALL_RATE = 60, 15, 0.08
#: Another target than seconds is taken only where it is better by this much.
WORTH_ANOTHER = 0.997
#: Large boosters are taken only where they are better by this much.
WORTH_THE_SIZE = 0.99
GOLDEN_ROWS = 16
MANIFEST = "forecaster.json"
_HOUR_AT = FEATURE_NAMES.index("hour_of_day")


@dataclass(frozen=True, slots=True)
class DeliveryForecaster:
    """Arrival and completion of remaining stops as calibrated distributions.

    version : the name of the folder that it was loaded from, else what it was given in training
    situations : what training had, and the spread where some of it is missing
    target : in what the boosters speak
    zone_spread : by how much each zone's spread differs from what they say
    doors : from arrivals to completions; None where training rows did not tell completions
    """

    name: str
    version: str
    predictors: dict[str, Predictor]
    calibrator: Calibrator
    usual: Usual
    situations: Situations
    feature_set_hash: str
    target: Target = Target.SECONDS
    zone_spread: ZoneSpread = field(default_factory=ZoneSpread)
    doors: Doors | None = None

    @property
    def known_feeds(self) -> tuple[str, ...]:
        """The feeds that training rows had; a feed outside it is not missed."""
        return self.situations.feeds

    def raw(self, vectors: Vectors) -> Raw:
        """The boosters' own words with the spread of each situation and zone, before calibration."""
        return self._raw(self.situations.seen(vectors))

    def _raw(self, seen: Vectors) -> Raw:
        said = {name: predictor.predict(seen.matrix) for name, predictor in self.predictors.items()}
        base_s = self.target.base_s(seen)
        raw = Raw.of(*(self.target.arrival_s(name, said[name], base_s) for name in OBJECTIVES))
        raw = self.situations.apply(raw, self.situations.codes(seen))
        return self.zone_spread.apply(raw, seen.zone_ids)

    def forecast(self, vectors: Vectors, live: OnlineCalibrator | None = None) -> DeliveryForecast:
        """Calibrated distributions of each row, moved by what has been learned since training."""
        seen = self.situations.seen(vectors)
        raw = self._raw(seen)
        shift = None if live is None else live.shifts(raw.median_s, sides_of_rows(vectors))
        arrival = self.calibrator.forecast(raw, shift)
        completion = arrival
        if self.doors is not None:
            completion = self.doors.completion(arrival, raw, seen.matrix, shift)
        hours = vectors.matrix[:, _HOUR_AT]
        return DeliveryForecast(
            arrival.grid_s, arrival.mean_s, completion, raw, vectors.zone_ids, hours, shift
        )

    def reasons(self, vectors: Vectors, rows: Sequence[int]) -> list[list[Reason]]:
        """Why some rows are late, dearest cause first."""
        chosen = self.situations.seen(vectors.take(np.asarray(rows, np.int64)))
        return explain(
            _Median(self.predictors["median"], self.target, self.target.base_s(chosen)),
            chosen,
            self.usual,
        )

    def missing_feeds(self, vectors: Vectors) -> list[list[str]]:
        """Feeds that are dead or stale for each row, among those that training had."""
        return named(self.situations.missing(vectors), len(vectors))

    def unfamiliar(self, vectors: Vectors) -> list[list[str]]:
        """What is new to the fleet in each row, ``zone`` or ``courier``: its window is wide for that."""
        return named(self.situations.new(vectors), len(vectors))

    def save(self, folder: Path, golden: Vectors) -> None:
        """Write boosters and manifest; a few golden rows go with them."""
        folder.mkdir(parents=True, exist_ok=True)
        boosters = self.predictors | ({DOOR: self.doors.predictor} if self.doors else {})
        for name, predictor in boosters.items():
            (folder / f"{name}.txt").write_text(predictor.text)
        some = golden.take(np.arange(min(GOLDEN_ROWS, len(golden))))
        manifest = {
            "name": self.name,
            "code_version": __version__,
            "feature_set_hash": self.feature_set_hash,
            "feature_names": FEATURE_NAMES,
            "situations": asdict(self.situations),
            "target": self.target,
            "boosters": {name: _digest(predictor.text) for name, predictor in boosters.items()},
            "grid": GRID.tolist(),
            "shapes": self.calibrator.shapes.tolist(),
            "zone_spread": self.zone_spread.factors,
            "doors": self.doors.to_json() if self.doors else None,
            "usual": {"middle": _numbers(self.usual.middle), "spare_min": self.usual.spare_min},
            "golden": {
                "matrix": [_numbers(row) for row in some.matrix],
                "base_s": some.base_s.tolist(),
                "zone_ids": some.zone_ids,
                "ages_s": {feed: _numbers(age) for feed, age in some.ages_s.items()},
                "grid_s": _grids(self.forecast(some)),
            },
        }
        (folder / MANIFEST).write_text(json.dumps(manifest))

    @classmethod
    def load(cls, folder: Path) -> DeliveryForecaster:
        """Read a saved forecaster.

        Raises
        ------
        ModelError
            when a file is missing or corrupt, the feature set differs, or a golden row comes out differently
        """
        try:
            manifest = json.loads((folder / MANIFEST).read_text())
            if manifest["feature_set_hash"] != feature_set_hash():
                raise ModelError(
                    f"was trained on feature set {manifest['feature_set_hash']}, served is {feature_set_hash()}",
                    where=str(folder),
                    next_step="train again with this version",
                )
            if manifest["grid"] != GRID.tolist():
                raise ModelError(
                    "was calibrated on another grid of levels than the one that is served",
                    where=str(folder),
                    next_step="train again with this version",
                )
            predictors = {name: _predictor(folder, name, manifest["boosters"]) for name in OBJECTIVES}
            doors = manifest["doors"]
            forecaster = cls(
                manifest["name"],
                folder.name,
                predictors,
                Calibrator(np.array(manifest["shapes"])),
                Usual(_floats(manifest["usual"]["middle"]), manifest["usual"]["spare_min"]),
                Situations.load(**manifest["situations"]),
                manifest["feature_set_hash"],
                Target(manifest["target"]),
                ZoneSpread.load(manifest["zone_spread"]),
                Doors.load(_predictor(folder, DOOR, manifest["boosters"]), doors) if doors else None,
            )
            golden = manifest["golden"]
            again = _grids(forecaster.forecast(_golden_vectors(golden)))
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(
                f"cannot be read ({type(error).__name__}: {str(error)[:200]})",
                where=str(folder),
                next_step="export it again or roll back",
            ) from error
        if again != golden["grid_s"]:
            raise ModelError(
                "golden rows come out differently", where=str(folder), next_step="export it again"
            )
        return forecaster


def train(
    rows: Dataset, *, name: str, version: str, settings: BoosterSettings | None = None
) -> DeliveryForecaster:
    """Fit boosters and calibration, of more than ``MOST_ROWS`` rows on a draw.

    Folds are blocks of service days, so that calibration sees errors of days that the boosters did not.
    """
    rows = rows.where(np.isfinite(rows.arrival_s))
    settings = settings or BoosterSettings.of(len(rows))
    rows = _drawn(rows, settings.seed)
    situations = Situations.of(rows.vectors)
    told = replace(rows, vectors=situations.seen(rows.vectors))
    rows, natural = with_dropout(told, situations, settings.seed), len(rows)
    if len(np.unique(rows.clusters)) < 2:
        raise NoTrainingRowsError(
            "training rows are of one service day, calibration needs days that the boosters did not see",
            next_step="train on two days or more",
        )
    fold = day_folds(rows.clusters, FOLDS)
    target = choose_target(told, fold[:natural], settings)
    settings = choose_size(told, fold[:natural], target, settings)
    spread = [name for name in OBJECTIVES if name != "mean"]
    held_out = [(k, booster) for k in range(FOLDS) for booster in spread]
    jobs: list[Callable[[], Any]] = [
        partial(_held_out_s, booster, rows, fold == k, target, settings) for k, booster in held_out
    ]
    jobs += [partial(_learn, booster, rows, fold >= 0, target, settings) for booster in OBJECTIVES]
    done = run_side_by_side(jobs)
    held_out_s = {booster: np.zeros(len(rows)) for booster in spread}
    for (k, booster), said_s in zip(held_out, done, strict=False):
        held_out_s[booster][fold == k] = said_s
    low_s, median_s, high_s = (held_out_s[booster] for booster in spread)
    plain = Raw.of(low_s, median_s, high_s, mean_s=median_s)
    codes = situations.codes(rows.vectors)
    situations = situations.fit(plain, rows.arrival_s, codes)
    plain = situations.apply(plain, codes).take(np.arange(natural))
    zone_spread = ZoneSpread.fit(plain, told.arrival_s, told.vectors.zone_ids)
    out_of_fold = zone_spread.apply(plain, told.vectors.zone_ids)
    predictors = dict(zip(OBJECTIVES, map(Predictor, done[len(held_out) :]), strict=True))
    return DeliveryForecaster(
        name,
        version,
        predictors,
        Calibrator.fit(out_of_fold, told.arrival_s),
        Usual.of(told.vectors.matrix),
        situations,
        feature_set_hash(),
        target,
        zone_spread,
        fit_doors(told, fold[:natural], out_of_fold, settings),
    )


def _drawn(rows: Dataset, seed: int) -> Dataset:
    """The rows, or a draw of ``MOST_ROWS`` of them, in their order."""
    if len(rows) <= MOST_ROWS:
        return rows
    return rows.take(np.sort(np.random.default_rng(seed).choice(len(rows), MOST_ROWS, replace=False)))


def choose_target(rows: Dataset, fold: NDArray[np.int64], settings: BoosterSettings) -> Target:
    """Seconds, or what errs less by its medians on days that they did not see."""
    few = len(rows) < FEW_ROWS
    probe = replace(
        settings,
        trees=settings.trees if few else min(settings.trees, PROBED_TREES),
        most_rows=min(settings.most_rows, PROBED_ROWS),
    )
    folds = range(min(FOLDS if few else PROBED_FOLDS, fold.max() + 1))
    lost_s = dict(
        zip(Target, _lost_s(rows, fold, [(target, probe) for target in Target], folds), strict=True)
    )
    best = min(lost_s, key=lambda target: lost_s[target])
    return best if lost_s[best] < WORTH_ANOTHER * lost_s[Target.SECONDS] else Target.SECONDS


def choose_size(
    rows: Dataset, fold: NDArray[np.int64], target: Target, settings: BoosterSettings
) -> BoosterSettings:
    """The settings as they are, or few small trees of few rows where their medians err hardly more.

    Rows of one route and day err together. A fleet of some dozen routes and weeks has many rows and few such days, and
    large boosters learn its days by heart.
    """
    small = replace(
        settings,
        trees=min(settings.trees, SMALL_TREES),
        leaves=min(settings.leaves, SMALL_LEAVES),
        learning_rate=max(settings.learning_rate, SMALL_RATE),
        most_rows=min(settings.most_rows, PROBED_ROWS),
    )
    if small == settings:
        return settings
    folds = range(min(PROBED_FOLDS, fold.max() + 1))
    as_is_s, small_s = _lost_s(rows, fold, [(target, settings), (target, small)], folds)
    return small if WORTH_THE_SIZE * small_s <= as_is_s else settings


def _lost_s(
    rows: Dataset,
    fold: NDArray[np.int64],
    probes: Sequence[tuple[Target, BoosterSettings]],
    folds: Sequence[int],
) -> list[float]:
    """Sum of errors of each probe's medians on days that they did not see."""
    jobs = [
        partial(_lost_on, rows, fold == k, target, settings) for target, settings in probes for k in folds
    ]
    lost_s = run_side_by_side(jobs)
    return [sum(lost_s[at : at + len(folds)]) for at in range(0, len(jobs), len(folds))]


def _lost_on(rows: Dataset, held: NDArray[np.bool_], target: Target, settings: BoosterSettings) -> float:
    """Sum of errors of a median on rows that it did not see."""
    said_s = _held_out_s("median", rows, held, target, settings)
    return float(np.abs(said_s - rows.arrival_s[held]).sum())


def _learn(
    name: str, rows: Dataset, chosen: NDArray[np.bool_], target: Target, settings: BoosterSettings
) -> str:
    """A booster of some rows."""
    label, weight = target.rows(name, rows.arrival_s[chosen], target.base_s(rows.vectors)[chosen])
    return fit(name, rows.vectors.matrix[chosen], label, settings, weight)


def _held_out_s(
    name: str, rows: Dataset, held: NDArray[np.bool_], target: Target, settings: BoosterSettings
) -> Float:
    """What a booster of all other rows says of those that are held out, in seconds."""
    text = _learn(name, rows, ~held, target, settings)
    said = Predictor(text).predict(rows.vectors.matrix[held])
    return target.arrival_s(name, said, target.base_s(rows.vectors)[held])


@dataclass(frozen=True, slots=True)
class _Median:
    """The median booster in seconds over the prior, for variants of the same rows, one after the other."""

    predictor: Predictor
    target: Target
    base_s: Float

    def predict(self, matrix: NDArray[np.float32]) -> Float:
        base_s = np.tile(self.base_s, len(matrix) // max(len(self.base_s), 1))
        return self.target.arrival_s("median", self.predictor.predict(matrix), base_s) - base_s


def sides_of_rows(vectors: Vectors) -> list[Sides]:
    """Parts of the live calibration that each row belongs to beside its horizon."""
    zone_ids = vectors.zone_ids or [None] * len(vectors)
    return [sides_of(*each) for each in zip(zone_ids, vectors.matrix[:, _HOUR_AT].tolist(), strict=True)]


def day_folds(days: NDArray[np.str_], folds: int) -> NDArray[np.int64]:
    """Fold of each row: service days dealt in turn, so that no day is in two folds."""
    _, day = np.unique(days, return_inverse=True)
    return day % folds


def _grids(forecast: DeliveryForecast) -> list[list[list[float]]]:
    """Every quantile of arrival and completion."""
    return [forecast.grid_s.tolist(), forecast.completion.grid_s.tolist()]


def named(struck: Mapping[str, NDArray[np.bool_]], n: int) -> list[list[str]]:
    """Names that hold for each of n rows."""
    return [[name for name, rows in struck.items() if rows[row]] for row in range(n)]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _predictor(folder: Path, name: str, digests: dict[str, str]) -> Predictor:
    """A booster as it was saved; LightGBM ends the process on text that is not quite one."""
    text = (folder / f"{name}.txt").read_text()
    if _digest(text) != digests[name]:
        raise ModelError(
            f"{name}.txt is not what was saved", where=str(folder), next_step="export it again or roll back"
        )
    return Predictor(text)


def _numbers(values: NDArray[np.floating[Any]]) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]


def _floats(values: Sequence[float | None]) -> NDArray[np.float32]:
    return np.array([np.nan if value is None else value for value in values], np.float32)


def _golden_vectors(golden: dict[str, Any]) -> Vectors:
    matrix = np.stack([_floats(row) for row in golden["matrix"]])
    n = len(matrix)
    base_s = np.array(golden["base_s"])
    ages_s = {feed: _floats(age).astype(np.float64) for feed, age in golden["ages_s"].items()}
    return Vectors([""] * n, [None] * n, np.zeros(n, np.int64), matrix, base_s, ages_s, golden["zone_ids"])
