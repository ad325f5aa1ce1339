"""Benchmarks of the forecaster."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import polars as pl

from benchmarks.harness import Benchmark, Work
from features.vectors import FEATURE_NAMES, FEEDS, Vectors
from training.boosters import OBJECTIVES, BoosterSettings, Target, fit, run_side_by_side
from training.dataset import Dataset
from training.doors import LEAVES, TREES
from training.forecaster import (
    FOLDS,
    PROBED_FOLDS,
    PROBED_ROWS,
    PROBED_TREES,
    SMALL_LEAVES,
    SMALL_TREES,
    DeliveryForecaster,
    day_folds,
    train,
)
from training.gate import compare
from training.quantiles import QUANTILE_LEVELS

SEED = 7
DAYS = 30
LEARNED_ROWS = 20_000
SCORED_ROWS = 100_000
SINGLE_ROWS = 300
EXPLAINED_ROWS = 1_000
#: Rows of the training benchmark; fewer, for a look, by the environment.
TRAIN_ROWS = int(os.environ.get("PUNCTUAL_BENCH_TRAIN_ROWS", "1000000"))


def _vectors(count: int, rng: np.random.Generator) -> Vectors:
    matrix = rng.normal(size=(count, len(FEATURE_NAMES))).astype(np.float32)
    ages = {feed: np.zeros(count) for feed in FEEDS}
    ids = [f"s{i}" for i in range(count)]
    base_s = np.exp(7.0 + 0.3 * matrix[:, 0].astype(np.float64))
    return Vectors(ids, list(ids), np.zeros(count, np.int64), matrix, base_s, ages)


def _arrival_s(vectors: Vectors, rng: np.random.Generator) -> Any:
    slope = vectors.matrix[:, :8].astype(np.float64).sum(axis=1)
    return vectors.base_s + 60.0 * slope + rng.gamma(2.0, 60.0, len(vectors))


def _dataset(count: int, rng: np.random.Generator) -> Dataset:
    """Rows of thirty service days, with doors."""
    vectors = _vectors(count, rng)
    arrival_s = _arrival_s(vectors, rng)
    days = np.array([f"2026-03-{day:02d}" for day in range(1, DAYS + 1)])[np.arange(count) * DAYS // count]
    closed_us = np.rint((arrival_s + rng.gamma(4.0, 30.0, count)) * 1e6).astype(np.int64)
    columns = {"stop_id": vectors.stop_ids, "as_of_us": vectors.as_of_us, "closed_us": closed_us}
    rows = pl.DataFrame(columns | {"cluster": days, "service_date": days})
    return Dataset(vectors, rows, arrival_s, closed_us)


@cache
def _forecaster() -> DeliveryForecaster:
    """A forecaster of the default size."""
    return train(_dataset(LEARNED_ROWS, np.random.default_rng(SEED)), name="bench", version="1")


def _prepare_score_batch(_: Path) -> tuple[Work, Work]:
    """Full forecasts, arrivals and completions, against a booster of the same size for each of seven levels."""
    forecaster, scored = _forecaster(), _vectors(SCORED_ROWS, np.random.default_rng(SEED + 1))
    seven = [forecaster.predictors["median"]] * len(QUANTILE_LEVELS)

    def ours() -> Any:
        forecast = forecaster.forecast(scored)
        return forecast.quantiles_s, forecast.completion.quantiles_s

    def peer() -> Any:
        return np.sort(np.stack([scored.base_s + p.predict(scored.matrix) for p in seven], axis=1), axis=1)

    return ours, peer


def _prepare_score_one(_: Path) -> tuple[Work, Work]:
    """One stop at a time, against the same seven boosters."""
    forecaster, scored = _forecaster(), _vectors(SINGLE_ROWS, np.random.default_rng(SEED + 2))
    singles = [scored.take(np.array([row])) for row in range(SINGLE_ROWS)]
    seven = [forecaster.predictors["median"]] * len(QUANTILE_LEVELS)

    def ours() -> Any:
        return [forecaster.forecast(one).window(0.8) for one in singles]

    def peer() -> Any:
        return [[p.predict(one.matrix) for p in seven] for one in singles]

    return ours, peer


def _prepare_score_reasons(_: Path) -> tuple[Work, Work]:
    """Why stops are late, against TreeSHAP of the same median booster."""
    forecaster, scored = _forecaster(), _vectors(EXPLAINED_ROWS, np.random.default_rng(SEED + 3))
    booster = lightgbm.Booster(model_str=forecaster.predictors["median"].text)

    def ours() -> Any:
        return forecaster.reasons(scored, range(EXPLAINED_ROWS))

    def peer() -> Any:
        return booster.predict(scored.matrix, pred_contrib=True, num_threads=1)

    return ours, peer


def _prepare_train(_: Path) -> tuple[Work, Work]:
    """Training with calibration and the gate's comparison, against the bare fits that the boosters take.

    The fits: medians for each target and each size on two folds, three quantiles on each of four folds, the four
    boosters that serve, and the doors' on folds and in whole.
    """
    draw = np.random.default_rng(SEED + 4)
    rows, judged = _dataset(TRAIN_ROWS, draw), _dataset(TRAIN_ROWS // 10, draw)
    settings = BoosterSettings()
    small = replace(settings, trees=TREES, leaves=LEAVES)
    probe = replace(settings, trees=PROBED_TREES, most_rows=PROBED_ROWS)
    lesser = replace(settings, trees=SMALL_TREES, leaves=SMALL_LEAVES, most_rows=PROBED_ROWS)
    residual_s, fold = rows.arrival_s - rows.vectors.base_s, day_folds(rows.clusters, FOLDS)

    def ours() -> Any:
        forecaster = train(rows, name="bench", version="1")
        ours_s = forecaster.forecast(judged.vectors).quantiles_s
        return compare(judged.arrival_s, ours_s, ours_s + 1.0, judged.clusters, incumbent="bench")

    def peer() -> Any:
        kept, every = [fold != k for k in range(FOLDS)], fold >= 0
        medians = [probe] * len(Target) + [settings, lesser]
        fits = [("median", at, size) for at in kept[:PROBED_FOLDS] for size in medians]
        fits += [(name, at, settings) for at in kept for name in OBJECTIVES if name != "mean"]
        fits += [(name, every, settings) for name in OBJECTIVES]
        fits += [("median", at, small) for at in [*kept, every]]
        return run_side_by_side(
            partial(fit, name, rows.vectors.matrix[at], residual_s[at], size) for name, at, size in fits
        )

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
    Benchmark(
        name="score_one",
        reach="<= 1 ms",
        peer="seven boosters of the same size, without their calibration",
        prepare=_prepare_score_one,
        met=lambda ratio, figures: figures["ms_per_stop"] <= 1.0,
        figures=lambda ours, theirs: {"ms_per_stop": 1000.0 * ours / SINGLE_ROWS},
    ),
    Benchmark(
        name="score_reasons",
        reach=">= 500 stops/s",
        peer="TreeSHAP of the median booster",
        prepare=_prepare_score_reasons,
        met=lambda ratio, figures: figures["stops_per_s"] >= 500,
        figures=lambda ours, theirs: {"stops_per_s": EXPLAINED_ROWS / ours},
    ),
    Benchmark(
        name="train",
        reach="<= 1.3x the bare fits, < 5 min on 2 cores for 1M rows",
        peer="the bare LightGBM fits",
        prepare=_prepare_train,
        met=lambda ratio, figures: bool(ratio and ratio <= 1.3 and figures["seconds"] < 300),
        figures=lambda ours, theirs: {"seconds": ours, "rows": TRAIN_ROWS},
        runs=1,
    ),
)
