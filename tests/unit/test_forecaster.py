"""The forecaster learns, says why, and comes back from disk as it was or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_contracts.errors import ModelError, NoTrainingRowsError
from features.vectors import FEATURE_NAMES, Vectors
from tests.builders import make_dataset, make_vectors
from training.boosters import BoosterSettings
from training.dataset import Dataset
from training.forecaster import MANIFEST, DeliveryForecaster, day_folds, train
from training.reasons import AGES, CAUSES, CONDITIONS, SLIPS, Usual, explain

SMALL = BoosterSettings(trees=30, leaves=7, learning_rate=0.15, min_rows_in_leaf=20)


def trained(rows: Dataset, settings: BoosterSettings = SMALL) -> DeliveryForecaster:
    return train(rows, name="punctual-eta", version="1", settings=settings)


@pytest.fixture(scope="module")
def rows() -> Dataset:
    return make_dataset(3600)


@pytest.fixture(scope="module")
def forecaster(rows: Dataset) -> DeliveryForecaster:
    return trained(rows)


@pytest.fixture
def folder(forecaster: DeliveryForecaster, rows: Dataset, tmp_path: Path) -> Path:
    folder = tmp_path / "1"
    forecaster.save(folder, rows.vectors)
    return folder


def mean_error_s(forecaster: DeliveryForecaster, rows: Dataset) -> float:
    median_s = forecaster.forecast(rows.vectors).at((0.5,))[:, 0]
    return float(np.abs(median_s - rows.arrival_s).mean())


# --- learning ---------------------------------------------------------------------------------------------


def test_forecaster_beats_the_prior_that_it_starts_from(forecaster: DeliveryForecaster):
    fresh = make_dataset(2000, first_day=20, seed=9)
    prior_s = float(np.abs(fresh.vectors.base_s - fresh.arrival_s).mean())
    assert mean_error_s(forecaster, fresh) < 0.97 * prior_s


def test_window_of_unseen_days_covers_what_it_promises(forecaster: DeliveryForecaster):
    fresh = make_dataset(4000, first_day=20, seed=10)
    start_s, end_s = forecaster.forecast(fresh.vectors).window(0.8)
    inside = (fresh.arrival_s >= start_s) & (fresh.arrival_s <= end_s)
    assert inside.mean() == pytest.approx(0.8, abs=0.035)


def test_forecast_is_one_distribution_a_row(forecaster: DeliveryForecaster):
    forecast = forecaster.forecast(make_vectors(50, seed=4))
    assert len(forecast) == 50
    assert (np.diff(forecast.grid_s, axis=1) >= 0).all() and (forecast.grid_s >= 0).all()


def test_shuffled_outcomes_teach_no_skill():
    rows = make_dataset(2400)
    order = np.random.default_rng(0).permutation(len(rows))
    late_s = (rows.arrival_s - rows.vectors.base_s)[order]
    shuffled = Dataset(rows.vectors, rows.rows, rows.vectors.base_s + late_s, rows.outcome_known_us)
    fresh = make_dataset(2000, first_day=20, seed=9)
    prior_s = float(np.abs(fresh.vectors.base_s - fresh.arrival_s).mean())
    assert mean_error_s(trained(shuffled), fresh) > 0.98 * prior_s


def test_training_twice_gives_the_same_forecaster(rows: Dataset, forecaster: DeliveryForecaster):
    again = trained(rows)
    assert {n: p.text for n, p in again.predictors.items()} == {
        n: p.text for n, p in forecaster.predictors.items()
    }
    assert np.array_equal(again.calibrator.shapes, forecaster.calibrator.shapes)


def test_stops_that_were_never_reached_are_not_learned_from(rows: Dataset, forecaster: DeliveryForecaster):
    lost = make_dataset(300, seed=5)
    both = Dataset(
        joined(rows.vectors, lost.vectors),
        rows.rows.vstack(lost.rows),
        np.concatenate([rows.arrival_s, np.full(300, np.nan)]),
        np.concatenate([rows.outcome_known_us, lost.outcome_known_us]),
    )
    assert trained(both).predictors["median"].text == forecaster.predictors["median"].text


def joined(one: Vectors, other: Vectors) -> Vectors:
    return Vectors(
        one.stop_ids + other.stop_ids,
        one.route_ids + other.route_ids,
        np.concatenate([one.as_of_us, other.as_of_us]),
        np.concatenate([one.matrix, other.matrix]),
        np.concatenate([one.base_s, other.base_s]),
        {feed: np.concatenate([one.ages_s[feed], other.ages_s[feed]]) for feed in one.ages_s},
    )


def test_calibration_sees_errors_of_days_that_the_boosters_did_not():
    folds = day_folds(np.repeat([f"2026-03-{day:02d}" for day in range(1, 10)], 5), 4)
    assert [set(folds[day * 5 : day * 5 + 5].tolist()) for day in range(9)] == [{d % 4} for d in range(9)]


def test_one_service_day_is_too_little_to_calibrate_on():
    with pytest.raises(NoTrainingRowsError, match="one service day"):
        trained(make_dataset(200, days=1))


@pytest.mark.parametrize("days", [2, 3])
def test_few_service_days_are_enough(days: int):
    assert len(trained(make_dataset(300, days=days)).forecast(make_vectors(3))) == 3


def test_row_alone_has_the_forecast_that_it_has_in_a_batch(forecaster: DeliveryForecaster):
    vectors = make_vectors(200, seed=3)
    batch = forecaster.forecast(vectors)
    for row in (0, 77, 199):
        alone = forecaster.forecast(vectors.take(np.array([row])))
        assert alone.grid_s[0].tobytes() == batch.grid_s[row].tobytes()
        assert alone.mean_s[0] == batch.mean_s[row]


def test_nothing_to_forecast_is_forecast(forecaster: DeliveryForecaster):
    assert len(forecaster.forecast(make_vectors(0))) == 0
    assert forecaster.reasons(make_vectors(3), []) == []


# --- feeds and reasons ------------------------------------------------------------------------------------


def test_feed_that_is_dead_or_stale_is_missed_if_training_had_it():
    rows = make_dataset(300)
    rows.vectors.ages_s["weather"][:] = np.nan
    vectors = make_vectors(4)
    vectors.ages_s["traffic"][:] = [60.0, 1800.0, 1801.0, np.nan]
    vectors.ages_s["weather"][:] = np.nan
    vectors.ages_s["telemetry"][3] = 301.0
    assert trained(rows).missing_feeds(vectors) == [[], [], ["traffic"], ["telemetry", "traffic"]]


def calm(n: int = 1, **columns: float | list[float]) -> Vectors:
    """Rows of a route on its way, a third of it done, of which nothing unusual is told."""
    vectors = make_vectors(n)
    vectors.matrix[:] = 0.0
    usual = {
        "phase": 1.0,
        "stops_visited": 10.0,
        "stops_ahead": 5.0,
        "door_habit": 1.0,
        "door_prior_s": 120.0,
    }
    usual |= {"prior_service_s": 480.0, "prior_travel_s": 1200.0, "reference_travel_s": 1200.0}
    usual |= {"vehicle_speed_mps": 6.0, "time_in_phase_s": 60.0}
    for name, values in (usual | columns).items():
        vectors.matrix[:, FEATURE_NAMES.index(name)] = values
    return vectors


class Deaf:
    """A median that hears nothing of streets and weather."""

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        return np.zeros(len(matrix))


def told(vectors: Vectors, **usual: float) -> list[tuple[str, float]]:
    """What is told of the first row, by a median that foresees nothing unusual."""
    middle = np.zeros(len(FEATURE_NAMES), np.float32)
    for name, value in usual.items():
        middle[FEATURE_NAMES.index(name)] = value
    return [(reason.code, reason.minutes) for reason in explain(Deaf(), vectors, Usual(middle))[0]]


def test_what_was_lost_is_told_by_where_it_was_lost():
    assert told(calm()) == []
    assert told(calm(depot_slip_s=1800.0)) == [("DEPOT_DELAY", 30.0)]
    assert told(calm(travel_slip_s=900.0)) == [("ROAD_CONDITIONS", 15.0)]
    assert told(calm(service_slip_s=600.0)) == [("SLOW_SERVICE", 10.0)]
    assert told(calm(halt_slip_s=2400.0)) == [("VEHICLE_STOPPED", 40.0)]
    assert told(calm(phase=0.0, depot_sort_delay_s=1800.0)) == [("DEPOT_DELAY", 30.0)]
    assert told(calm(plan_against_prior_s=-1200.0)) == [("DENSE_ROUTE", 20.0)]
    assert told(calm(depot_slip_s=600.0, travel_slip_s=1200.0))[0] == ("ROAD_CONDITIONS", 20.0)


def test_slow_road_in_a_storm_is_the_storm():
    assert told(calm(travel_slip_s=900.0, rain_now_mm=6.0)) == [("WEATHER", 20.0)]
    assert told(calm(travel_slip_s=900.0, rain_before_mm=6.0)) == [("WEATHER", 15.0)]
    assert told(calm(travel_slip_s=900.0, rain_now_mm=1.0)) == [("ROAD_CONDITIONS", 15.0)]
    assert told(calm(service_slip_s=900.0, rain_now_mm=6.0)) == [("WEATHER", 12.5), ("SLOW_SERVICE", 7.5)]
    assert told(calm(path_jam=0.75)) == [("ROAD_CONDITIONS", 20.0)]
    assert told(calm(path_jam=0.4)) == []


def test_vehicle_that_stands_is_named_while_it_stands():
    stands = calm(vehicle_speed_mps=0.0, time_in_phase_s=600.0)
    assert told(stands)[0][0] == "VEHICLE_STOPPED"
    assert told(calm(vehicle_speed_mps=0.0, time_in_phase_s=60.0)) == []
    assert told(calm(vehicle_speed_mps=float("nan"), time_in_phase_s=600.0)) == []
    assert told(calm(phase=2.0, vehicle_stopped=1.0))[0][0] == "VEHICLE_STOPPED"
    assert told(calm(phase=2.0, vehicle_speed_mps=0.0, time_in_phase_s=600.0)) == []


def test_what_a_route_always_loses_is_no_reason():
    assert told(calm(depot_slip_s=900.0), depot_slip_s=900.0) == []
    assert told(calm(service_slip_s=600.0, door_habit=2.0)) == []
    assert told(calm(travel_slip_s=1200.0, prior_travel_s=1800.0)) == []


def test_half_an_hour_at_the_depot_is_named_first(forecaster: DeliveryForecaster):
    first, _, third = forecaster.reasons(calm(3, depot_slip_s=[2400.0, 0.0, 2400.0]), [0, 1, 2])
    assert first[0].code == third[0].code == "DEPOT_DELAY"
    assert first[0].minutes == pytest.approx(40, abs=8)


def test_reasons_that_do_not_cost_are_not_told(forecaster: DeliveryForecaster):
    vectors = make_vectors(20, seed=8, travel_slip_s=900.0, service_slip_s=-900.0)
    for reasons in forecaster.reasons(vectors, range(20)):
        assert min((reason.minutes for reason in reasons), default=0.5) >= 0.5
        codes = [reason.code for reason in reasons]
        assert "SLOW_SERVICE" not in codes and len(codes) == len(set(codes)) and set(codes) <= set(CAUSES)


def test_reasons_are_of_the_rows_that_were_asked_for(forecaster: DeliveryForecaster):
    vectors = make_vectors(9, seed=2)
    every = forecaster.reasons(vectors, range(9))
    assert forecaster.reasons(vectors, [7, 0]) == [every[7], every[0]]


def test_what_is_not_known_costs_nothing(forecaster: DeliveryForecaster):
    vectors = make_vectors(1)
    vectors.matrix[:] = np.nan
    (reasons,) = forecaster.reasons(vectors, [0])
    assert all(np.isfinite(reason.minutes) for reason in reasons)


def test_every_cause_speaks_of_features_that_exist():
    named = [*CONDITIONS, *AGES, *SLIPS]
    assert set(named) <= set(FEATURE_NAMES) and len(named) == len(set(named))


def test_nothing_to_explain_has_no_reasons(forecaster: DeliveryForecaster):
    assert explain(forecaster.predictors["median"], make_vectors(0), forecaster.usual) == []


# --- on disk ----------------------------------------------------------------------------------------------


def test_loaded_forecaster_says_the_same_to_the_bit(forecaster: DeliveryForecaster, folder: Path):
    vectors = make_vectors(300, seed=6)
    vectors.matrix[::3, 5] = np.nan
    again = DeliveryForecaster.load(folder)
    ours, theirs = forecaster.forecast(vectors), again.forecast(vectors)
    assert ours.grid_s.tobytes() == theirs.grid_s.tobytes()
    assert ours.mean_s.tobytes() == theirs.mean_s.tobytes()
    assert again.reasons(vectors, [0, 1]) == forecaster.reasons(vectors, [0, 1])
    assert (again.name, again.version, again.known_feeds) == ("punctual-eta", "1", forecaster.known_feeds)


def test_saved_forecaster_is_text_and_json(folder: Path):
    assert sorted({path.suffix for path in folder.iterdir()}) == [".json", ".txt"]


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    change(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))


def refusal(folder: Path) -> str:
    with pytest.raises(ModelError) as raised:
        DeliveryForecaster.load(folder)
    assert raised.value.where == str(folder) and raised.value.next_step
    return str(raised.value)


@pytest.mark.parametrize("name", ["median.txt", "low.txt", "mean.txt", MANIFEST])
def test_missing_file_is_refused_by_its_name(folder: Path, name: str):
    (folder / name).unlink()
    assert name in refusal(folder)


def test_folder_that_does_not_exist_is_refused(tmp_path: Path):
    assert "cannot be read" in refusal(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["low", "median", "high", "mean"])
def test_changed_leaf_is_refused_wherever_it_is(folder: Path, name: str):
    path = folder / f"{name}.txt"
    head, _, tail = path.read_text().rpartition("leaf_value=")
    first, rest = tail.split(" ", 1)
    path.write_text(f"{head}leaf_value={float(first) + 1e-9!r} {rest}")
    assert f"{name}.txt" in refusal(folder)


@pytest.mark.parametrize("text", ["", "not a booster", "tree\nversion=v4\n"])
def test_corrupt_booster_is_refused(folder: Path, text: str):
    (folder / "median.txt").write_text(text)
    assert "median.txt" in refusal(folder)


def test_truncated_booster_is_refused(folder: Path):
    text = (folder / "high.txt").read_text()
    (folder / "high.txt").write_text(text[: len(text) // 2])
    assert "high.txt" in refusal(folder)


def test_other_feature_set_is_refused(folder: Path):
    edit(folder, lambda manifest: manifest.update(feature_set_hash="0123456789abcdef"))
    assert "feature set 0123456789abcdef" in refusal(folder)


def test_changed_golden_row_is_refused(folder: Path):
    def change(manifest: dict[str, Any]) -> None:
        manifest["golden"]["grid_s"][0][3][7] += 0.001

    edit(folder, change)
    assert "golden rows" in refusal(folder)


def test_changed_calibration_is_refused(folder: Path):
    def change(manifest: dict[str, Any]) -> None:
        manifest["shapes"] = (1.01 * np.array(manifest["shapes"])).tolist()

    edit(folder, change)
    assert "golden rows" in refusal(folder)


def test_calibration_of_another_grid_is_refused(folder: Path):
    edit(folder, lambda manifest: manifest["grid"].__setitem__(0, 0.02))
    assert "grid" in refusal(folder)


def test_manifest_that_is_no_json_is_refused(folder: Path):
    (folder / MANIFEST).write_text("{")
    assert "cannot be read" in refusal(folder)
