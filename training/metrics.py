"""What a figure means: the measures of the evaluation contract. Inputs are seconds, figures are minutes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.quantiles import QUANTILE_LEVELS, QuantileForecast

Float = NDArray[np.float64]
ECE_BINS = 15
SMALLEST_GROUP = 500
COVERAGE = 0.8


def pinball_min(arrival_s: Float, quantiles_s: Float, levels: Sequence[float] = QUANTILE_LEVELS) -> float:
    """Mean over rows and levels of ``max(t e, (t - 1) e)`` with e = arrival - quantile."""
    return float(pinball_rows_min(arrival_s, quantiles_s, levels).mean())


def pinball_rows_min(
    arrival_s: Float, quantiles_s: Float, levels: Sequence[float] = QUANTILE_LEVELS
) -> Float:
    """Pinball loss of each row, mean over levels: (n,) minutes."""
    error, level = (arrival_s[:, None] - quantiles_s) / 60.0, np.asarray(levels)
    return np.asarray(np.maximum(level * error, (level - 1.0) * error).mean(axis=1))


def interval_score_min(arrival_s: Float, start_s: Float, end_s: Float, coverage: float = COVERAGE) -> float:
    """Winkler score: width + 2 / (1 - coverage) x the distance by which the outcome falls outside."""
    return float(interval_scores_min(arrival_s, start_s, end_s, coverage).mean())


def interval_scores_min(arrival_s: Float, start_s: Float, end_s: Float, coverage: float = COVERAGE) -> Float:
    """Winkler score of each row: (n,) minutes."""
    miss = np.maximum(start_s - arrival_s, 0.0) + np.maximum(arrival_s - end_s, 0.0)
    return (end_s - start_s + 2.0 / (1.0 - coverage) * miss) / 60.0


def window_figures(arrival_s: Float, start_s: Float, end_s: Float) -> dict[str, float]:
    """Coverage, width and interval score of an 80 % window."""
    inside = (arrival_s >= start_s) & (arrival_s <= end_s)
    return {
        "coverage_80": float(inside.mean()),
        "width_80_min": float((end_s - start_s).mean() / 60.0),
        "interval_score_80": interval_score_min(arrival_s, start_s, end_s),
    }


def point_figures(arrival_s: Float, median_s: Float, mean_s: Float) -> dict[str, float]:
    return {
        "mae_min": float(np.abs(arrival_s - median_s).mean() / 60.0),
        "rmse_min": float(np.sqrt(np.square(arrival_s - mean_s).mean()) / 60.0),
    }


def forecast_figures(arrival_s: Float, forecast: QuantileForecast) -> dict[str, float]:
    """Every figure of a whole distribution."""
    median_s = forecast.at((0.5,))[:, 0]
    return (
        point_figures(arrival_s, median_s, forecast.mean_s)
        | {"pinball_min": pinball_min(arrival_s, forecast.quantiles_s)}
        | window_figures(arrival_s, *forecast.window(COVERAGE))
    )


def late_figures(late: Float, probability: Float, training_rate: float) -> dict[str, float | None]:
    """Brier score and its skill against the training base rate, calibration error and ranking."""
    brier = float(np.square(probability - late).mean())
    reference = float(np.square(training_rate - late).mean())
    return {
        "base_rate": float(late.mean()),
        "training_base_rate": training_rate,
        "brier": brier,
        "brier_skill": 1.0 - brier / reference if reference > 0 else None,
        "ece": expected_calibration_error(late, probability),
        "auc": auc(late, probability),
    }


def expected_calibration_error(late: Float, probability: Float, bins: int = ECE_BINS) -> float:
    """Mean distance of observed share and mean probability over bins of equal mass.

    Rows of the same probability count with their share, so that their order does not matter.
    """
    _, alike = np.unique(probability, return_inverse=True)
    share = (np.bincount(alike, late) / np.bincount(alike))[alike]
    order = np.argsort(probability, kind="stable")
    parts = np.array_split(order, min(bins, len(order)))
    gaps = [abs(share[part].mean() - probability[part].mean()) * len(part) for part in parts if len(part)]
    return float(sum(gaps) / max(len(order), 1))


def auc(late: Float, probability: Float) -> float | None:
    """Chance that a late row is ranked above one that is not; None with one class only."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(late, probability)) if 0 < late.sum() < len(late) else None


def coverage_by_group(
    inside: NDArray[np.bool_], groups: Mapping[str, Sequence[Any]], days: Sequence[str]
) -> dict[str, Any]:
    """Coverage of each group of at least 500 forecasts, and whether it keeps the contract.

    A group keeps it within max(3 points, 2 standard errors clustered by day).
    """
    figures: dict[str, Any] = {}
    clusters = np.asarray(days)
    for kind, labels in groups.items():
        values = np.array(["" if label is None else str(label) for label in labels])
        figures[kind] = {
            label: _group_coverage(inside[values == label], clusters[values == label])
            for label in np.unique(values)
            if label and (values == label).sum() >= SMALLEST_GROUP
        }
    return figures


def _group_coverage(inside: NDArray[np.bool_], days: NDArray[np.str_]) -> dict[str, Any]:
    coverage, error = float(inside.mean()), clustered_error(inside.astype(np.float64), days)
    allowed = max(0.03, 2.0 * error)
    return {
        "n": len(inside),
        "coverage": coverage,
        "standard_error": error if math.isfinite(error) else None,
        "kept": bool(abs(coverage - COVERAGE) <= allowed),
    }


def clustered_error(values: Float, clusters: NDArray[np.str_]) -> float:
    """Standard error of a mean whose rows are dependent within clusters."""
    _, code = np.unique(clusters, return_inverse=True)
    sums = np.bincount(code, values - values.mean())
    count = len(sums)
    if count < 2:
        return float("nan")
    return float(np.sqrt(np.square(sums).sum() * count / (count - 1)) / len(values))
