"""The forecaster that serves: boosters of the residual over the causal prior, and their calibration.

Saved as booster text and JSON; loading executes nothing. A folder is refused when its feature set is not the one
that is served, or when it no longer gives the forecasts that it gave when it was saved.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_contracts import __version__
from data_contracts.errors import ModelError, NoTrainingRowsError
from features.vectors import FEATURE_NAMES, FEEDS, Vectors, feature_set_hash
from training.boosters import OBJECTIVES, BoosterSettings, Predictor, fit, run_side_by_side
from training.calibration import Calibrator, Raw
from training.dataset import Dataset
from training.quantiles import GRID, QuantileForecast
from training.reasons import Reason, explain

Float = NDArray[np.float64]
FOLDS = 4
GOLDEN_ROWS = 16
MANIFEST = "forecaster.json"
FRESH_S = {"telemetry": 300.0, "traffic": 900.0, "weather": 10_800.0, "depot": 3_600.0}


@dataclass(frozen=True, slots=True)
class DeliveryForecaster:
    """Arrival of remaining stops as a calibrated distribution.

    version : the name of the folder that it was loaded from, else what it was given in training
    known_feeds : the feeds that training rows had; a feed outside it is not missed
    """

    name: str
    version: str
    predictors: dict[str, Predictor]
    calibrator: Calibrator
    reference: NDArray[np.float32]
    known_feeds: tuple[str, ...]
    feature_set_hash: str

    def raw(self, vectors: Vectors) -> Raw:
        """The boosters' own words, before calibration."""
        residual = {name: predictor.predict(vectors.matrix) for name, predictor in self.predictors.items()}
        return Raw.of(*(vectors.base_s + residual[name] for name in OBJECTIVES))

    def forecast(self, vectors: Vectors, shift: Float | None = None) -> QuantileForecast:
        """Calibrated distribution of the arrival of each row."""
        return self.calibrator.forecast(self.raw(vectors), shift)

    def reasons(self, vectors: Vectors, rows: Sequence[int]) -> list[list[Reason]]:
        """Why some rows are late, dearest cause first."""
        chosen = vectors.take(np.asarray(rows, np.int64))
        return explain(self.predictors["median"], chosen, self.reference)

    def missing_feeds(self, vectors: Vectors) -> list[list[str]]:
        """Feeds that are dead or stale for each row, among those that training had."""
        stale = {
            feed: ~(np.nan_to_num(vectors.ages_s[feed], nan=np.inf) <= FRESH_S[feed])
            for feed in self.known_feeds
        }
        return [[feed for feed in self.known_feeds if stale[feed][row]] for row in range(len(vectors))]

    def save(self, folder: Path, golden: Vectors) -> None:
        """Write boosters and manifest; a few golden rows go with them."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, predictor in self.predictors.items():
            (folder / f"{name}.txt").write_text(predictor.text)
        some = golden.take(np.arange(min(GOLDEN_ROWS, len(golden))))
        manifest = {
            "name": self.name,
            "code_version": __version__,
            "feature_set_hash": self.feature_set_hash,
            "feature_names": FEATURE_NAMES,
            "known_feeds": self.known_feeds,
            "boosters": {name: _digest(predictor.text) for name, predictor in self.predictors.items()},
            "grid": GRID.tolist(),
            "shapes": self.calibrator.shapes.tolist(),
            "reference": _numbers(self.reference),
            "golden": {
                "matrix": [_numbers(row) for row in some.matrix],
                "base_s": some.base_s.tolist(),
                "grid_s": self.forecast(some).grid_s.tolist(),
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
            forecaster = cls(
                manifest["name"],
                folder.name,
                predictors,
                Calibrator(np.array(manifest["shapes"])),
                _floats(manifest["reference"]),
                tuple(manifest["known_feeds"]),
                manifest["feature_set_hash"],
            )
            golden = manifest["golden"]
            again = forecaster.forecast(_golden_vectors(golden)).grid_s
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(
                f"cannot be read ({type(error).__name__}: {str(error)[:200]})",
                where=str(folder),
                next_step="export it again or roll back",
            ) from error
        if not np.array_equal(again, np.array(golden["grid_s"]).reshape(again.shape)):
            raise ModelError(
                "golden rows come out differently", where=str(folder), next_step="export it again"
            )
        return forecaster


def train(
    rows: Dataset, *, name: str, version: str, settings: BoosterSettings | None = None
) -> tuple[DeliveryForecaster, Raw]:
    """Fit boosters and calibration; give the forecaster and its out-of-fold predictions.

    Folds are blocks of service days, so that calibration sees errors of days that the boosters did not.
    """
    settings = settings or BoosterSettings()
    rows = rows.where(np.isfinite(rows.arrival_s))
    if len(np.unique(rows.clusters)) < 2:
        raise NoTrainingRowsError(
            "training rows are of one service day, calibration needs days that the boosters did not see",
            next_step="train on two days or more",
        )
    residual_s = rows.arrival_s - rows.vectors.base_s
    fold = day_folds(rows.clusters, FOLDS)
    spread = [name for name in OBJECTIVES if name != "mean"]
    matrix = rows.vectors.matrix
    jobs = [
        partial(fit, booster, matrix[fold != k], residual_s[fold != k], settings)
        for k in range(FOLDS)
        for booster in spread
    ]
    jobs += [partial(fit, booster, matrix, residual_s, settings) for booster in OBJECTIVES]
    texts = run_side_by_side(jobs)
    held_out = np.zeros((len(spread), len(rows)))
    for place, text in enumerate(texts[: FOLDS * len(spread)]):
        k, booster = divmod(place, len(spread))
        held_out[booster, fold == k] = Predictor(text).predict(matrix[fold == k])
    low_s, median_s, high_s = rows.vectors.base_s + held_out
    out_of_fold = Raw.of(low_s, median_s, high_s, mean_s=median_s)
    predictors = dict(zip(OBJECTIVES, map(Predictor, texts[FOLDS * len(spread) :]), strict=True))
    forecaster = DeliveryForecaster(
        name,
        version,
        predictors,
        Calibrator.fit(out_of_fold, rows.arrival_s),
        _reference(matrix),
        tuple(feed for feed in FEEDS if np.isfinite(rows.vectors.ages_s[feed]).mean() > 0.2),
        feature_set_hash(),
    )
    return forecaster, out_of_fold


def day_folds(days: NDArray[np.str_], folds: int) -> NDArray[np.int64]:
    """Fold of each row: service days dealt in turn, so that no day is in two folds."""
    _, day = np.unique(days, return_inverse=True)
    return day % folds


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


def _reference(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """Median of each feature; NaN where training never saw it."""
    known = np.isfinite(matrix).any(axis=0)
    reference = np.full(matrix.shape[1], np.nan, np.float32)
    reference[known] = np.nanmedian(matrix[:, known], axis=0)
    return reference


def _numbers(values: NDArray[np.float32]) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]


def _floats(values: Sequence[float | None]) -> NDArray[np.float32]:
    return np.array([np.nan if value is None else value for value in values], np.float32)


def _golden_vectors(golden: dict[str, Any]) -> Vectors:
    matrix = np.stack([_floats(row) for row in golden["matrix"]])
    n = len(matrix)
    return Vectors([""] * n, [None] * n, np.zeros(n, np.int64), matrix, np.array(golden["base_s"]), {})
