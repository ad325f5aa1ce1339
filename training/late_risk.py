"""A classifier of late stops, to be held against what the forecast's own distribution says.

It is what one would build for this one question: LightGBM on every feature and the time left to the deadline, in which
it is monotone, made a probability by isotonic regression out of fold (Zadrozny, Elkan 2002). What serves takes late
risk from the distribution: one forecast then answers for every deadline, and agrees with its own window. The figures
of both stand in every evaluation, so that it is seen when that stops being worth it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from training.boosters import BoosterSettings, Predictor, fit, run_side_by_side
from training.dataset import Dataset
from training.forecaster import day_folds

Float = NDArray[np.float64]
SETTINGS = BoosterSettings(trees=80, leaves=15, most_rows=60_000)
FOLDS = 2
#: Fewer late rows than this teach no classifier.
FEWEST = 50


@dataclass(frozen=True, slots=True)
class LateClassifier:
    """Probability to be late by a deadline.

    score, probability : steps of the isotonic regression, rising
    """

    predictor: Predictor
    score: Float
    probability: Float

    @classmethod
    def fit(
        cls, rows: Dataset, deadline_s: Float, late: Float, settings: BoosterSettings = SETTINGS
    ) -> LateClassifier | None:
        """Learn from rows and whether they were late; None where hardly any was, or was not."""
        from sklearn.isotonic import IsotonicRegression

        if min(late.sum(), len(late) - late.sum()) < FEWEST:
            return None
        matrix, fold = _matrix(rows, deadline_s), day_folds(rows.clusters, FOLDS)
        kept = [fold != k for k in range(FOLDS)] + [fold >= 0]
        *apart, whole = run_side_by_side([partial(_learn, matrix[at], late[at], settings) for at in kept])
        held_out = np.zeros(len(rows))
        for k, predictor in enumerate(apart):
            held_out[fold == k] = predictor.predict(matrix[fold == k])
        steps = IsotonicRegression(out_of_bounds="clip").fit(held_out, late)
        return cls(whole, steps.X_thresholds_, steps.y_thresholds_)

    def late_probability(self, rows: Dataset, deadline_s: Float) -> Float:
        """P(late): (n,); it does not rise with the deadline."""
        return np.interp(self.predictor.predict(_matrix(rows, deadline_s)), self.score, self.probability)


def _matrix(rows: Dataset, deadline_s: Float) -> NDArray[np.float32]:
    """Every feature, and by how much the deadline is later than the causal prior, in minutes."""
    slack_min = (deadline_s - rows.vectors.base_s) / 60.0
    return np.column_stack([rows.vectors.matrix, slack_min.astype(np.float32)])


def _learn(matrix: NDArray[np.float32], late: Float, settings: BoosterSettings) -> Predictor:
    falling = {"objective": "binary", "monotone_constraints": [0] * (matrix.shape[1] - 1) + [-1]}
    return Predictor(fit("late", matrix, late, settings, more=falling))
