"""The forecaster's recipe as a scikit-learn estimator, for whoever has a table of their own.

The same boosters and the same calibration as `DeliveryForecaster`, on any numeric table, so that data scientists can
put it into a pipeline, a grid search or a comparison without a workspace.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.model_selection import GroupKFold, KFold
from sklearn.utils.validation import check_is_fitted, validate_data

from training.boosters import OBJECTIVES, BoosterSettings, Predictor, fit
from training.calibration import Calibrator, Raw
from training.quantiles import QUANTILE_LEVELS, QuantileForecast

Float = NDArray[np.float64]
SPREAD = ("low", "median", "high")


class DeliveryTimeRegressor(RegressorMixin, BaseEstimator):
    """Time to arrival as a calibrated distribution.

    Parameters
    ----------
    prior : name or place of a column with an expectation of the time, in seconds; its error is what is learned
    trees, leaves, learning_rate, min_rows_in_leaf : size of each booster
    folds : calibration sees errors of folds that the boosters did not
    random_state : seed of what is drawn

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> distance_km = rng.uniform(1, 10, (500, 1))
    >>> seconds = 120 * distance_km[:, 0] * rng.lognormal(0, 0.2, 500)
    >>> model = DeliveryTimeRegressor(trees=30, min_rows_in_leaf=20).fit(distance_km, seconds)
    >>> start, end = model.predict_interval(distance_km, coverage=0.8).T
    >>> bool(0.75 < ((seconds >= start) & (seconds <= end)).mean() < 0.9)
    True
    """

    def __init__(
        self,
        *,
        prior: str | int | None = None,
        trees: int = 150,
        leaves: int = 31,
        learning_rate: float = 0.08,
        min_rows_in_leaf: int = 60,
        folds: int = 4,
        random_state: int = 7,
    ) -> None:
        self.prior = prior
        self.trees = trees
        self.leaves = leaves
        self.learning_rate = learning_rate
        self.min_rows_in_leaf = min_rows_in_leaf
        self.folds = folds
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Learn from ``X`` (n, k) and times ``y`` (n,), seconds; rows of one group are never in two folds."""
        matrix, target = validate_data(
            self, X, y, ensure_all_finite="allow-nan", dtype=np.float64, y_numeric=True, ensure_min_samples=2
        )
        if (target < 0).any():
            raise ValueError("y holds negative times; give seconds from the forecast to the arrival")
        base = self._base(matrix)
        splitter = KFold if groups is None else GroupKFold
        draw = splitter(min(self.folds, len(matrix)), shuffle=True, random_state=self.random_state)
        held_out = {name: np.empty(len(matrix)) for name in SPREAD}
        for taught, asked in draw.split(matrix, target, groups):
            for name in SPREAD:
                booster = self._booster(name, matrix[taught], (target - base)[taught])
                held_out[name][asked] = base[asked] + booster.predict(_narrow(matrix[asked]))
        raw = Raw.of(held_out["low"], held_out["median"], held_out["high"], mean_s=held_out["median"])
        self.calibrator_ = Calibrator.fit(raw, target)
        self.boosters_ = {name: self._booster(name, matrix, target - base) for name in OBJECTIVES}
        return self

    def predict_distribution(self, X: ArrayLike) -> QuantileForecast:
        """The calibrated distribution of each row."""
        check_is_fitted(self)
        matrix = validate_data(self, X, reset=False, ensure_all_finite="allow-nan", dtype=np.float64)
        base = self._base(matrix)
        said = {name: base + booster.predict(_narrow(matrix)) for name, booster in self.boosters_.items()}
        raw = Raw.of(said["low"], said["median"], said["high"], mean_s=said["mean"])
        return self.calibrator_.forecast(raw)

    def predict(self, X: ArrayLike) -> Float:
        """The mean time of each row: (n,) seconds."""
        return self.predict_distribution(X).mean_s

    def predict_quantiles(self, X: ArrayLike, levels: Sequence[float] = QUANTILE_LEVELS) -> Float:
        """Quantiles of each row, not crossing: (n, len(levels)) seconds."""
        return self.predict_distribution(X).at(levels)

    def predict_interval(self, X: ArrayLike, coverage: float = 0.8) -> Float:
        """Start and end of the central window of each row: (n, 2) seconds."""
        return np.stack(self.predict_distribution(X).window(coverage), axis=1)

    def _base(self, matrix: Float) -> Float:
        if self.prior is None:
            return np.zeros(len(matrix))
        if isinstance(self.prior, str):
            names = list(getattr(self, "feature_names_in_", ()))
            if self.prior not in names:
                raise ValueError(f"there is no column {self.prior!r} to start from; columns are {names}")
            return matrix[:, names.index(self.prior)]
        return matrix[:, self.prior]

    def _booster(self, name: str, matrix: Float, label: Float) -> Predictor:
        settings = BoosterSettings(
            trees=self.trees,
            leaves=self.leaves,
            learning_rate=self.learning_rate,
            min_rows_in_leaf=self.min_rows_in_leaf,
            seed=self.random_state,
            most_rows=len(matrix),
        )
        return Predictor(fit(name, _narrow(matrix), label, settings))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.target_tags.positive_only = True
        return tags


def _narrow(matrix: Float) -> NDArray[np.float32]:
    return np.ascontiguousarray(matrix, dtype=np.float32)
