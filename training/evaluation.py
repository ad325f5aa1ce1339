"""A backtest: what was forecast for rows that training never saw, beside its baselines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from data_contracts.errors import NoTrainingRowsError
from training.baselines import Lookup, PlainLightGBM, plan_s
from training.curves import late_curve, promise_curve, route_fan, width_curve
from training.dataset import Dataset
from training.forecaster import DeliveryForecaster, sides_of_rows
from training.intervals import cluster_intervals, row_values
from training.late_risk import LateClassifier
from training.metrics import (
    COVERAGE,
    coverage_by_group,
    forecast_figures,
    late_figures,
    pinball_min,
    point_figures,
    window_figures,
)
from training.online import replay_online
from training.oracle import Oracle, beside_oracle
from training.quantiles import QUANTILE_LEVELS, QuantileForecast
from training.slices import figures_by_slice, groups, novelty

Float = NDArray[np.float64]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Split:
    """Training rows whose outcome was known before the first test instant, and test rows."""

    train: Dataset
    test: Dataset
    excluded: Counter[str]


def split(train: Dataset, test: Dataset) -> Split:
    """Drop training rows whose outcome was received at or after the first test instant, or whose day is tested.

    Raises
    ------
    NoTrainingRowsError
        when nothing is left to train on
    """
    first_us = int(test.vectors.as_of_us.min()) if len(test) else 0
    early = train.outcome_known_us < first_us
    apart = ~np.isin(train.clusters, np.unique(test.clusters))
    kept = train.where(early & apart)
    excluded = Counter(
        train_outcome_not_before_test=int((~early).sum()), train_day_is_tested=int((early & ~apart).sum())
    )
    if not len(test):
        raise NoTrainingRowsError(
            "no forecast can be made of the test files", next_step="name other --test files"
        )
    if not np.isfinite(kept.arrival_s).any():
        raise NoTrainingRowsError(
            "no training row's outcome was known before the first test forecast",
            next_step="name earlier --train files, or later --test files",
        )
    return Split(kept, test, excluded)


def deadlines_s(rows: Dataset, lookup_q80_s: Float) -> Float:
    """End of the first promise told, in seconds after ``as_of``; where a set has none, the lookup's q80."""
    promised = ((rows.rows["promise_end_us"] - rows.rows["as_of_us"]) / 1e6).cast(pl.Float64).to_numpy()
    return np.where(np.isfinite(promised), promised, lookup_q80_s)


def was_late(rows: Dataset, deadline_s: Float) -> Float:
    """1 where the stop was reached, or given up unattempted, after its deadline: (n,)."""
    reached = ((rows.rows["arrived_us"] - rows.rows["as_of_us"]) / 1e6).cast(pl.Float64).to_numpy()
    return np.where(np.isfinite(reached), reached > deadline_s, True).astype(np.float64)


def evaluate(
    name: str,
    forecaster: DeliveryForecaster,
    rows: Split,
    excluded: Counter[str],
    say: Say | None = None,
    oracle: pl.DataFrame | None = None,
) -> dict[str, Any]:
    """The figures of the evaluation contract for one forecaster and one split, beside an oracle where there is one."""
    tell = say or (lambda _: None)
    tell("baselines")
    lookup = Lookup.fit(rows.train, (*QUANTILE_LEVELS, 0.8))
    plain = PlainLightGBM.fit(rows.train)
    tell("forecasts")
    raw = forecaster.raw(rows.test.vectors)
    forecast = forecaster.calibrator.forecast(raw)
    tell("online calibration")
    live = replay_online(
        forecaster.calibrator,
        raw,
        rows.test.arrival_s,
        rows.test.vectors.as_of_us,
        rows.test.outcome_known_us,
        sides_of_rows(rows.test.vectors),
    )
    tell("figures")
    lookup_test = lookup.predict(rows.test)
    deadline_s = deadlines_s(rows.test, lookup_test[:, -1])
    late = was_late(rows.test, deadline_s)
    train_deadline_s = deadlines_s(rows.train, lookup.predict(rows.train)[:, -1])
    base_rate = float(was_late(rows.train, train_deadline_s).mean())
    done = np.isfinite(rows.test.arrival_s)
    reached, ours, lived = rows.test.where(done), _only(forecast, done), _only(live, done)
    probability = forecast.late_probability(deadline_s)
    beside = {}
    if oracle is not None:
        told = Oracle.of(oracle, rows.test)
        beside["oracle"] = beside_oracle(told, rows.test, forecast, late, probability, base_rate)
    return beside | {
        "dataset": name,
        "n": int(done.sum()),
        "n_late": len(late),
        "n_train": int(np.isfinite(rows.train.arrival_s).sum()),
        "n_excluded": dict(excluded + rows.excluded + Counter(no_arrival=int((~done).sum()))),
        **forecast_figures(reached.arrival_s, ours),
        "share_below_quantile": _shares_below(reached.arrival_s, ours),
        "late": late_figures(late, probability, base_rate)
        | {"classifier": _classifier_figures(rows, train_deadline_s, deadline_s, late, base_rate)},
        **_looked_into(reached, rows.train, ours),
        "curves": _curves(reached, ours) | {"late": late_curve(late, probability)},
        "live": forecast_figures(reached.arrival_s, lived)
        | {
            "late": late_figures(late, live.late_probability(deadline_s), base_rate),
            "coverage_by_group": _coverage(reached, lived),
        },
        "baselines": {
            "plan": _plan_figures(rows.test, done),
            "lookup": _lookup_figures(lookup_test[done, :-1], reached.arrival_s),
            "lightgbm_plain": _plain_figures(plain.predict(reached), reached.arrival_s),
        },
        "model": {"name": forecaster.name, "feature_set_hash": forecaster.feature_set_hash},
    }


def _classifier_figures(
    rows: Split, train_deadline_s: Float, deadline_s: Float, late: Float, base_rate: float
) -> dict[str, float | None] | None:
    """Figures of a classifier made for late risk alone; None where too few training rows were late."""
    told = LateClassifier.fit(rows.train, train_deadline_s, was_late(rows.train, train_deadline_s))
    if told is None:
        return None
    return late_figures(late, told.late_probability(rows.test, deadline_s), base_rate)


def _looked_into(rows: Dataset, seen: Dataset, forecast: QuantileForecast) -> dict[str, Any]:
    """How sure the figures are, and the same figures by group."""
    return {
        "intervals_95": cluster_intervals(row_values(rows.arrival_s, forecast), rows.clusters),
        "coverage_by_group": _coverage(rows, forecast),
        "slices": figures_by_slice(rows, forecast, groups(rows, forecast) | novelty(rows, seen)),
    }


def _curves(rows: Dataset, forecast: QuantileForecast) -> dict[str, Any]:
    return {
        "promise": promise_curve(rows.arrival_s, forecast),
        "width": width_curve(rows.arrival_s, forecast),
        "fan": route_fan(rows, forecast),
    }


def _only(forecast: QuantileForecast, keep: NDArray[np.bool_]) -> QuantileForecast:
    return QuantileForecast(forecast.grid_s[keep], forecast.mean_s[keep])


def _shares_below(arrival_s: Float, forecast: QuantileForecast) -> dict[str, float]:
    """Share of outcomes at or below each published quantile: its level, where the forecast keeps its word."""
    below = (arrival_s[:, None] <= forecast.quantiles_s).mean(axis=0)
    return {f"{level:g}": float(share) for level, share in zip(QUANTILE_LEVELS, below, strict=True)}


def _plan_figures(rows: Dataset, done: NDArray[np.bool_]) -> dict[str, float] | None:
    planned = plan_s(rows.where(done))
    return None if planned is None else point_figures(rows.arrival_s[done], planned, planned)


def _lookup_figures(quantiles_s: Float, arrival_s: Float) -> dict[str, float]:
    median_s = quantiles_s[:, QUANTILE_LEVELS.index(0.5)]
    start_s, end_s = (quantiles_s[:, QUANTILE_LEVELS.index(level)] for level in (0.1, 0.9))
    return (
        point_figures(arrival_s, median_s, median_s)
        | {"pinball_min": pinball_min(arrival_s, quantiles_s)}
        | window_figures(arrival_s, start_s, end_s)
    )


def _plain_figures(predicted: dict[str, Float], arrival_s: Float) -> dict[str, float]:
    three = np.stack([predicted["p10"], predicted["p50"], predicted["p90"]], axis=1)
    return (
        point_figures(arrival_s, predicted["p50"], predicted["mean"])
        | {"pinball_p10_p50_p90_min": pinball_min(arrival_s, three, (0.1, 0.5, 0.9))}
        | window_figures(arrival_s, predicted["p10"], predicted["p90"])
    )


def _coverage(rows: Dataset, forecast: QuantileForecast) -> dict[str, Any]:
    """Coverage by group of the evaluation contract."""
    start_s, end_s = forecast.window(COVERAGE)
    inside = (rows.arrival_s >= start_s) & (rows.arrival_s <= end_s)
    return coverage_by_group(inside, groups(rows, forecast), list(rows.clusters))
