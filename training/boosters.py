"""The LightGBM side: boosters of what the causal prior misses. The only home of LightGBM's training.

What is missed is learned as seconds (``Target.SECONDS``: arrival - prior) or as a share (``Target.SHARE``: quantiles of
ln(arrival / prior), the mean of arrival / prior), or over the root of the prior (``Target.ROOT``), as errors grow that
add up along a route, or as seconds over the drive's reference (``Target.REFERENCE``), where habits are too few to start
from. Rows are weighted by what a unit of the target is in seconds for the quantiles, and by its square for the mean,
so that all targets minimise the same losses in seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from features.vectors import FEATURE_NAMES, Vectors

Float = NDArray[np.float64]

#: Name of a booster -> what it is trained for.
OBJECTIVES: dict[str, dict[str, Any]] = {
    "low": {"objective": "quantile", "alpha": 0.1},
    "median": {"objective": "quantile", "alpha": 0.5},
    "high": {"objective": "quantile", "alpha": 0.9},
    "mean": {"objective": "regression"},
}


#: A prior and an arrival count for at least this much in a share.
SHORTEST_S = 30.0
#: A share beyond e to this power is no arrival.
FURTHEST_LN = 5.0
#: Fewer training rows than this are few.
FEW_ROWS = 30_000
_REFERENCE_AT = FEATURE_NAMES.index("reference_travel_s")


class Target(StrEnum):
    """In what the boosters learn what is not known beforehand."""

    SECONDS = "seconds"
    SHARE = "share"
    ROOT = "root"
    REFERENCE = "reference"

    def base_s(self, vectors: Vectors) -> Float:
        """What the boosters' words are added to, or a share of."""
        if self is Target.REFERENCE:
            return vectors.matrix[:, _REFERENCE_AT].astype(np.float64)
        return vectors.base_s

    def rows(self, name: str, arrival_s: Float, base_s: Float) -> tuple[Float, Float | None]:
        """What a booster learns of each row, and its weight; None where all weigh the same."""
        if self in _IN_SECONDS:
            return arrival_s - base_s, None
        base_s = np.maximum(base_s, SHORTEST_S)
        if self is Target.ROOT:
            weight = base_s if name == "mean" else np.sqrt(base_s)
            return (arrival_s - base_s) / np.sqrt(base_s), weight / weight.mean()
        if name == "mean":
            weight = np.square(base_s)
            return arrival_s / base_s, weight / weight.mean()
        return np.log(np.maximum(arrival_s, SHORTEST_S) / base_s), base_s / base_s.mean()

    def arrival_s(self, name: str, predicted: Float, base_s: Float) -> Float:
        """Seconds to arrival from what a booster says."""
        if self in _IN_SECONDS:
            return base_s + predicted
        base_s = np.maximum(base_s, SHORTEST_S)
        if self is Target.ROOT:
            return base_s + np.sqrt(base_s) * predicted
        if name == "mean":
            return base_s * predicted
        return base_s * np.exp(np.clip(predicted, -FURTHEST_LN, FURTHEST_LN))


_IN_SECONDS = (Target.SECONDS, Target.REFERENCE)


@dataclass(frozen=True, slots=True)
class BoosterSettings:
    """Size and regularisation of each booster; of more than ``most_rows`` rows a draw is learned from."""

    trees: int = 150
    leaves: int = 31
    learning_rate: float = 0.08
    min_rows_in_leaf: int = 60
    feature_share: float = 0.6
    row_share: float = 0.7
    l2: float = 5.0
    seed: int = 7
    most_rows: int = 200_000

    @classmethod
    def of(cls, rows: int) -> BoosterSettings:
        """The size that so many training rows bear: few rows are learned from in more and smaller steps."""
        if rows >= FEW_ROWS:
            return cls()
        return cls(trees=200, leaves=15, learning_rate=0.05, min_rows_in_leaf=40)

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


def fit(
    name: str,
    matrix: NDArray[np.float32],
    label: Float,
    settings: BoosterSettings,
    weight: Float | None = None,
    more: Mapping[str, Any] | None = None,
) -> str:
    """Train one booster, of ``OBJECTIVES`` or by ``more`` parameters of LightGBM; its text."""
    if len(matrix) > settings.most_rows:
        drawn = np.random.default_rng(settings.seed).choice(len(matrix), settings.most_rows, replace=False)
        drawn.sort()
        matrix, label = matrix[drawn], label[drawn]
        weight = None if weight is None else weight[drawn]
    rows = lightgbm.Dataset(matrix, label, weight=weight, free_raw_data=True)
    parameters = settings.parameters() | OBJECTIVES.get(name, {}) | dict(more or {})
    if weight is not None:
        parameters["lambda_l2"] = 0.0  # a penalty is in units of the label's square
    booster = lightgbm.train(parameters, rows, settings.trees)
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
        """What the booster says of each row: (n,) in its target's unit."""
        if not len(matrix):
            return np.zeros(0)
        return np.asarray(self._booster.predict(matrix, num_threads=1), np.float64)
