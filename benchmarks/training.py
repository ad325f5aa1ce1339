"""Benchmarks of the forecaster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Benchmark, Work
from features.vectors import FEATURE_NAMES, FEEDS, Vectors
from training.boosters import BoosterSettings, Predictor, fit
from training.calibration import Calibrator, Raw
from training.forecaster import DeliveryForecaster
from training.quantiles import QUANTILE_LEVELS
from training.situations import Situations

SEED = 7
TRAINING_ROWS = 20_000
SCORED_ROWS = 20_000


def _vectors(count: int, rng: np.random.Generator) -> Vectors:
    matrix = rng.normal(size=(count, len(FEATURE_NAMES))).astype(np.float32)
    ages = {feed: np.zeros(count) for feed in FEEDS}
    ids = [f"s{i}" for i in range(count)]
    base_s = np.exp(7.0 + 0.3 * matrix[:, 0].astype(np.float64))
    return Vectors(ids, list(ids), np.zeros(count, np.int64), matrix, base_s, ages)


def _arrival_s(vectors: Vectors, rng: np.random.Generator) -> Any:
    slope = vectors.matrix[:, :8].astype(np.float64).sum(axis=1)
    return vectors.base_s + 60.0 * slope + rng.gamma(2.0, 60.0, len(vectors))


def _prepare_score_batch(_: Path) -> tuple[Work, Work]:
    """Full forecasts, against seven quantile boosters of the same size, one for each level."""
    rng = np.random.default_rng(SEED)
    rows = _vectors(TRAINING_ROWS, rng)
    arrival_s = _arrival_s(rows, rng)
    residual_s, settings = arrival_s - rows.base_s, BoosterSettings()
    predictors = {
        name: Predictor(fit(name, rows.matrix, residual_s, settings))
        for name in ("low", "median", "high", "mean")
    }
    low, median, high, mean = (rows.base_s + p.predict(rows.matrix) for p in predictors.values())
    calibrator = Calibrator.fit(Raw.of(low, median, high, mean), arrival_s)
    reference = np.zeros(len(FEATURE_NAMES), np.float32)
    forecaster = DeliveryForecaster("bench", "1", predictors, calibrator, reference, Situations(), "")
    scored = _vectors(SCORED_ROWS, rng)
    seven = [predictors["median"]] * len(QUANTILE_LEVELS)

    def ours() -> Any:
        return forecaster.forecast(scored).quantiles_s

    def peer() -> Any:
        return np.sort(np.stack([scored.base_s + p.predict(scored.matrix) for p in seven], axis=1), axis=1)

    return ours, peer


BENCHMARKS = (
    Benchmark(
        name="score_batch",
        reach=">= 20,000 stops/s on one core",
        peer="a booster of the same size for each of the seven levels",
        prepare=_prepare_score_batch,
        met=lambda ratio, figures: figures["stops_per_s"] >= 20_000,
        figures=lambda ours, theirs: {"stops_per_s": SCORED_ROWS / ours},
    ),
)
