"""The LightGBM side: boosters of the residual over the causal prior. The only home of LightGBM's training."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

#: Name of a booster -> what it is trained for.
OBJECTIVES: dict[str, dict[str, Any]] = {
    "low": {"objective": "quantile", "alpha": 0.1},
    "median": {"objective": "quantile", "alpha": 0.5},
    "high": {"objective": "quantile", "alpha": 0.9},
    "mean": {"objective": "regression"},
}


@dataclass(frozen=True, slots=True)
class BoosterSettings:
    """Size and regularisation of each booster."""

    trees: int = 250
    leaves: int = 31
    learning_rate: float = 0.05
    min_rows_in_leaf: int = 60
    feature_share: float = 0.6
    row_share: float = 0.7
    l2: float = 5.0
    seed: int = 7

    def parameters(self) -> dict[str, Any]:
        return {
            "num_leaves": self.leaves,
            "learning_rate": self.learning_rate,
            "min_data_in_leaf": self.min_rows_in_leaf,
            "feature_fraction": self.feature_share,
            "bagging_fraction": self.row_share,
            "bagging_freq": 1,
            "lambda_l2": self.l2,
            "seed": self.seed,
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": 1,
            "verbosity": -1,
        }


def fit(name: str, matrix: NDArray[np.float32], residual_s: Float, settings: BoosterSettings) -> str:
    """Train one booster; its text."""
    rows = lightgbm.Dataset(matrix, residual_s, free_raw_data=True)
    booster = lightgbm.train(settings.parameters() | OBJECTIVES[name], rows, settings.trees)
    return str(booster.model_to_string())


def run_side_by_side(jobs: Iterable[Callable[[], Any]], workers: int = 2) -> list[Any]:
    """Run fits in threads of one core each: LightGBM leaves Python's lock while it trains."""
    with ThreadPoolExecutor(workers) as pool:
        return [future.result() for future in [pool.submit(job) for job in jobs]]


class Predictor:
    """A booster loaded from its text, for prediction on one thread."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._booster = lightgbm.Booster(model_str=text)

    def predict(self, matrix: NDArray[np.float32]) -> Float:
        """Residuals: (n,) seconds."""
        if not len(matrix):
            return np.zeros(0)
        return np.asarray(self._booster.predict(matrix, num_threads=1), np.float64)
