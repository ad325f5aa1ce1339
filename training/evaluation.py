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
from training.calibration import replay_online
from training.dataset import BEFORE_DEPARTURE, HORIZON_EDGES_MIN, HORIZON_NAMES, Dataset
from training.forecaster import DeliveryForecaster
from training.metrics import (
    COVERAGE,
    coverage_by_group,
    forecast_figures,
    late_figures,
    pinball_min,
    point_figures,
    window_figures,
)
from training.quantiles import QUANTILE_LEVELS, QuantileForecast

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
    name: str, forecaster: DeliveryForecaster, rows: Split, excluded: Counter[str], say: Say | None = None
) -> dict[str, Any]:
    """The figures of the evaluation contract for one forecaster and one split."""
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
    )
    tell("figures")
    lookup_test = lookup.predict(rows.test)
    deadline_s = deadlines_s(rows.test, lookup_test[:, -1])
    late = was_late(rows.test, deadline_s)
    train_deadline_s = deadlines_s(rows.train, lookup.predict(rows.train)[:, -1])
    base_rate = float(was_late(rows.train, train_deadline_s).mean())
    done = np.isfinite(rows.test.arrival_s)
    arrival_s = rows.test.arrival_s[done]
    figures: dict[str, Any] = {
        "dataset": name,
        "n": int(done.sum()),
        "n_late": len(late),
        "n_train": int(np.isfinite(rows.train.arrival_s).sum()),
        "n_excluded": dict(excluded + rows.excluded + Counter(no_arrival=int((~done).sum()))),
        **forecast_figures(arrival_s, _only(forecast, done)),
        "share_below_quantile": _shares_below(arrival_s, _only(forecast, done)),
        "by_horizon": _by_horizon(rows.test.where(done), _only(forecast, done)),
        "coverage_by_group": _coverage(rows.test.where(done), _only(forecast, done)),
        "late": late_figures(late, forecast.late_probability(deadline_s), base_rate),
        "live": forecast_figures(arrival_s, _only(live, done))
        | {
            "late": late_figures(late, live.late_probability(deadline_s), base_rate),
            "coverage_by_group": _coverage(rows.test.where(done), _only(live, done)),
        },
        "baselines": {
            "plan": _plan_figures(rows.test, done),
            "lookup": _lookup_figures(lookup_test[done, :-1], arrival_s),
            "lightgbm_plain": _plain_figures(plain.predict(rows.test.where(done)), arrival_s),
        },
        "model": {"name": forecaster.name, "feature_set_hash": forecaster.feature_set_hash},
    }
    return figures


def _only(forecast: QuantileForecast, keep: NDArray[np.bool_]) -> QuantileForecast:
    return QuantileForecast(forecast.grid_s[keep], forecast.mean_s[keep])


def _shares_below(arrival_s: Float, forecast: QuantileForecast) -> dict[str, float]:
    """Share of outcomes at or below each published quantile: its level, where the forecast keeps its word."""
    below = (arrival_s[:, None] <= forecast.quantiles_s).mean(axis=0)
    return {f"{level:g}": float(share) for level, share in zip(QUANTILE_LEVELS, below, strict=True)}


def _by_horizon(rows: Dataset, forecast: QuantileForecast) -> dict[str, dict[str, float]]:
    """Every figure of each horizon bin, nearest first."""
    bins = rows.rows["horizon"].to_numpy()
    names = [name for name in (*HORIZON_NAMES, BEFORE_DEPARTURE) if (bins == name).any()]
    return {
        name: {"n": float((bins == name).sum())}
        | forecast_figures(rows.arrival_s[bins == name], _only(forecast, bins == name))
        for name in names
    }


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
    """Coverage by group; horizons both as forecast and as it came out.

    Rows chosen by how long they took are rows chosen by their outcome: no forecast covers them as it promises.
    """
    start_s, end_s = forecast.window(COVERAGE)
    inside = (rows.arrival_s >= start_s) & (rows.arrival_s <= end_s)
    groups = {
        "horizon_forecast": _forecast_horizons(rows, forecast),
        "horizon": rows.rows["horizon"].to_list(),
        "zone": rows.rows["zone_id"].to_list(),
        "hour_band": _hour_bands(rows),
        "weather": _weather_classes(rows),
    }
    return coverage_by_group(inside, groups, list(rows.clusters))


def _forecast_horizons(rows: Dataset, forecast: QuantileForecast) -> list[str]:
    """Horizon bin of each forecast's median, which is known when it is made."""
    before = rows.rows["horizon"].to_numpy() == BEFORE_DEPARTURE
    bins = np.searchsorted(HORIZON_EDGES_MIN, forecast.at((0.5,))[:, 0] / 60.0, side="right")
    return np.where(before, BEFORE_DEPARTURE, np.array(HORIZON_NAMES)[bins]).tolist()


def _hour_bands(rows: Dataset) -> list[str]:
    band = (rows.rows["local_hour"] // 3 * 3).cast(pl.Int64).to_list()
    return [f"{start:02d}-{start + 3:02d} h" for start in band]


def _weather_classes(rows: Dataset) -> list[str | None]:
    frame = rows.rows.select("temperature_c", "precipitation_mm")
    wet = pl.when(pl.col("precipitation_mm") > 2).then(pl.lit("heavy rain"))
    label = (
        pl.when(pl.col("precipitation_mm").is_null())
        .then(None)
        .when((pl.col("precipitation_mm") > 0.1) & (pl.col("temperature_c") < 1))
        .then(pl.lit("snow or ice"))
        .otherwise(wet.when(pl.col("precipitation_mm") > 0.1).then(pl.lit("rain")).otherwise(pl.lit("dry")))
    )
    return frame.select(label.alias("weather"))["weather"].to_list()
