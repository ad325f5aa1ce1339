"""A backtest judges on rows that training never saw, beside its baselines, in every figure of the contract."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from data_contracts.errors import NoTrainingRowsError
from tests.builders import MINUTE_US, make_dataset
from training.baselines import SMALLEST_LOOKUP_GROUP, Lookup, PlainLightGBM, plan_s
from training.boosters import BoosterSettings
from training.dataset import Dataset
from training.evaluation import Split, deadlines_s, evaluate, split, was_late
from training.forecaster import train

SMALL = BoosterSettings(trees=20, leaves=7, learning_rate=0.2, min_rows_in_leaf=20)


def with_arrival(rows: Dataset, arrival_s: np.ndarray, **columns: Any) -> Dataset:
    return replace(
        rows,
        arrival_s=arrival_s,
        rows=rows.rows.with_columns(**{k: pl.Series(v) for k, v in columns.items()}),
    )


# --- the split --------------------------------------------------------------------------------------------


def test_training_keeps_only_rows_whose_outcome_was_known_before_the_first_test_instant():
    past, test = make_dataset(800, days=8), make_dataset(100, days=1, first_day=8)
    late = np.zeros(800, bool)
    late[::50] = True
    first_us = test.vectors.as_of_us.min()
    known_us = np.where(late, first_us, past.outcome_known_us)
    parts = split(replace(past, outcome_known_us=known_us), test)
    assert (parts.train.outcome_known_us < first_us).all()
    assert len(parts.train) == 800 - late.sum()
    assert parts.excluded["train_outcome_not_before_test"] == late.sum()


def test_train_and_test_never_share_a_service_day():
    past, test = make_dataset(800, days=8), make_dataset(100, days=1, first_day=8)
    same_day = past.rows.with_columns(
        cluster=pl.when(pl.int_range(pl.len()) < 30).then(pl.lit(test.clusters[0])).otherwise("cluster")
    )
    parts = split(replace(past, rows=same_day), test)
    assert not set(parts.train.clusters) & set(parts.test.clusters)
    assert parts.excluded["train_day_is_tested"] == 30


def test_nothing_known_before_the_test_is_nothing_to_train_on():
    with pytest.raises(NoTrainingRowsError, match="no training row"):
        split(make_dataset(50, days=2, first_day=5), make_dataset(50, days=2))


def test_only_failed_stops_are_nothing_to_train_on():
    past = make_dataset(50, days=2)
    with pytest.raises(NoTrainingRowsError, match="no training row"):
        split(replace(past, arrival_s=np.full(50, np.nan)), make_dataset(50, days=2, first_day=5))


def test_test_files_without_a_forecast_are_refused():
    rows = make_dataset(50, days=2)
    with pytest.raises(NoTrainingRowsError, match="test files"):
        split(rows, rows.take(np.zeros(0, np.int64)))


# --- lateness ---------------------------------------------------------------------------------------------


def test_deadline_is_the_first_promise_and_where_there_is_none_the_lookup():
    rows = make_dataset(3, days=1)
    end_us = [int(rows.vectors.as_of_us[0]) + 5 * MINUTE_US, None, None]
    rows = replace(rows, rows=rows.rows.with_columns(promise_end_us=pl.Series(end_us, dtype=pl.Int64)))
    assert deadlines_s(rows, np.array([1.0, 2.0, 3.0])).tolist() == [300.0, 2.0, 3.0]


def test_stop_is_late_when_it_was_reached_after_its_deadline_or_never():
    rows = make_dataset(3, days=1)
    as_of_us = rows.vectors.as_of_us
    arrived_us = [int(as_of_us[0]) + 300_000_000, int(as_of_us[1]) + 300_000_001, None]
    rows = replace(rows, rows=rows.rows.with_columns(arrived_us=pl.Series(arrived_us, dtype=pl.Int64)))
    assert was_late(rows, np.full(3, 300.0)).tolist() == [0.0, 1.0, 1.0]


# --- baselines --------------------------------------------------------------------------------------------


def grouped(*groups: tuple[str, str, float, float, int]) -> Dataset:
    """Rows of (from, to, hour, minutes to the arrival, how many)."""
    counts = [count for *_, count in groups]
    rows = make_dataset(sum(counts), days=2)

    def column(place: int) -> np.ndarray:
        return np.repeat([group[place] for group in groups], counts)

    return with_arrival(
        rows,
        column(3).astype(float) * 60,
        here_zone_id=column(0),
        zone_id=column(1),
        local_hour=column(2).astype(float),
    )


def asked(*places: tuple[str, str, float]) -> Dataset:
    return grouped(*((*place, 0.0, 1) for place in places))


def minutes(lookup: Lookup, rows: Dataset) -> Sequence[float]:
    return (lookup.predict(rows)[:, 0] / 60).tolist()


def test_lookup_falls_back_from_pair_and_hour_to_pair_to_origin_to_all():
    past = grouped(
        ("A", "B", 8.5, 10.0, 10),
        ("A", "B", 9.5, 20.0, 9),
        ("A", "C", 9.5, 90.0, 9),
        ("D", "C", 9.5, 500.0, 9),
    )
    lookup = Lookup.fit(past, (0.5,))
    everything = float(np.median(past.arrival_s) / 60)
    of_a = float(np.median([10.0] * 10 + [20.0] * 9 + [90.0] * 9))
    found = minutes(
        lookup,
        asked(
            ("A", "B", 8.9),
            ("A", "B", 9.1),
            ("A", "C", 9.9),
            ("A", "X", 1.0),
            ("D", "C", 9.5),
            ("Y", "Z", 0.0),
        ),
    )
    assert found == [10.0, 10.0, of_a, of_a, everything, everything]
    assert SMALLEST_LOOKUP_GROUP == 10


def test_lookup_learns_nothing_from_stops_that_were_never_reached():
    past = grouped(("A", "B", 8.0, 10.0, 12), ("A", "B", 8.0, 50.0, 12))
    past = replace(past, arrival_s=np.where(past.arrival_s > 2000, np.nan, past.arrival_s))
    assert minutes(Lookup.fit(past, (0.5,)), asked(("A", "B", 8.0))) == [10.0]


def test_lookup_gives_each_level_of_its_group():
    past = grouped(*(("A", "B", 8.0, float(m), 1) for m in range(101)))
    found = Lookup.fit(past, (0.1, 0.5, 0.9)).predict(asked(("A", "B", 8.0)))
    assert found[0] / 60 == pytest.approx([10.0, 50.0, 90.0])


def test_lookup_of_an_unknown_place_falls_back():
    past = grouped(("A", "B", 8.0, 10.0, 12))
    rows = asked(("A", "B", 8.0))
    nowhere = replace(rows, rows=rows.rows.with_columns(here_zone_id=pl.lit(None, pl.String)))
    assert minutes(Lookup.fit(past, (0.5,)), nowhere) == [10.0]


def test_plan_stands_beside_only_where_every_row_has_one():
    rows = make_dataset(3, days=1)
    assert plan_s(rows) is not None
    assert (
        plan_s(replace(rows, rows=rows.rows.with_columns(planned_in_s=pl.Series([1.0, None, 2.0])))) is None
    )


def test_plain_lightgbm_takes_zones_that_it_has_never_seen():
    past, fresh = make_dataset(600), make_dataset(20, first_day=9)
    fresh = replace(
        fresh, rows=fresh.rows.with_columns(zone_id=pl.lit("Z-new"), courier_id=pl.lit(None, pl.String))
    )
    found = PlainLightGBM.fit(past).predict(fresh)
    assert set(found) == {"mean", "p10", "p50", "p90"}
    assert all(np.isfinite(values).all() and len(values) == 20 for values in found.values())


# --- the figures ------------------------------------------------------------------------------------------

FORECAST = {"mae_min", "rmse_min", "pinball_min", "coverage_80", "width_80_min", "interval_score_80"}
LATE = {"base_rate", "brier", "brier_skill", "ece", "auc"}


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    past, test = make_dataset(2000), make_dataset(1500, days=4, first_day=10, seed=3)
    lost = np.arange(1500) % 100 == 0
    test = with_arrival(
        test,
        np.where(lost, np.nan, test.arrival_s),
        arrived_us=[None if gone else us for gone, us in zip(lost, test.rows["arrived_us"], strict=True)],
    )
    parts = split(past, test)
    forecaster = train(parts.train, name="punctual-eta", version="1", settings=SMALL)
    return evaluate("made_up", forecaster, parts, Counter(outside_month=7))


def test_figures_have_every_field_of_the_contract(figures: dict[str, Any]):
    assert figures.keys() >= FORECAST | {
        "dataset",
        "n",
        "n_excluded",
        "coverage_by_group",
        "late",
        "live",
        "baselines",
    }
    assert figures["late"].keys() >= LATE
    assert figures["live"].keys() >= FORECAST | {"late"}
    assert figures["baselines"].keys() == {"plan", "lookup", "lightgbm_plain"}
    assert figures["baselines"]["lookup"].keys() >= FORECAST
    assert figures["coverage_by_group"].keys() >= {"horizon", "zone", "hour_band", "weather"}


def test_figures_are_json_without_nan(figures: dict[str, Any]):
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures


def test_rows_are_counted_with_what_was_left_out(figures: dict[str, Any]):
    assert figures["n"] == 1485
    assert figures["n_excluded"] == {"outside_month": 7, "no_arrival": 15}


def test_forecast_beats_its_baselines_on_rows_made_for_it(figures: dict[str, Any]):
    assert figures["mae_min"] < figures["baselines"]["lookup"]["mae_min"]
    assert figures["mae_min"] < figures["baselines"]["plan"]["mae_min"]
    assert figures["coverage_80"] == pytest.approx(0.8, abs=0.05)
    assert figures["live"]["coverage_80"] == pytest.approx(0.8, abs=0.05)
    assert figures["late"]["brier_skill"] > 0


def test_base_rate_of_training_counts_stops_that_were_never_reached():
    past, test = make_dataset(400, days=4), make_dataset(200, days=2, first_day=10)
    on_time = past.rows["arrived_us"].to_numpy() + 10 * MINUTE_US
    lost = np.arange(400) % 4 == 0
    past = with_arrival(
        past,
        np.where(lost, np.nan, past.arrival_s),
        promise_end_us=on_time,
        arrived_us=[None if gone else us for gone, us in zip(lost, past.rows["arrived_us"], strict=True)],
    )
    parts = split(past, test)
    forecaster = train(parts.train, name="punctual-eta", version="1", settings=SMALL)
    assert evaluate("made_up", forecaster, parts, Counter())["late"]["training_base_rate"] == 0.25


def test_horizons_are_told_as_forecast_and_as_they_came_out():
    rows = make_dataset(3000)
    forecaster = train(rows, name="punctual-eta", version="1", settings=BoosterSettings(trees=5))
    fresh = make_dataset(6000, first_day=20, seed=3)
    figures = evaluate("made", forecaster, Split(rows, fresh, Counter()), Counter())
    groups = figures["coverage_by_group"]
    assert {"horizon", "horizon_forecast"} <= set(groups) and groups["horizon_forecast"]
    assert set(figures["live"]["coverage_by_group"]) == set(groups)
