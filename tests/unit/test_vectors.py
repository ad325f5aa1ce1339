"""A vector is the same to the bit, whoever makes it: live, from the online store, or out of Feast's history."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from data_contracts.record import Record
from data_contracts.workspace import Workspace
from features.backfill import backfill
from features.feast_repo import apply, open_store
from features.feeds import FEED_VIEWS, darkened
from features.live import Learned, LiveFeatures
from features.messages import Message
from features.moment import FEATURES
from features.online import OnlineReader, OnlineRows, OnlineWriter
from features.vectors import (
    FEATURE_NAMES,
    FEEDS,
    Vectors,
    assemble,
    combine,
    feature_set_hash,
    look_up,
)
from features.version_files import write_versions
from features.views import LOOKUPS, View
from tests.builders import Told, at, city_history, every_record, make_stop
from training.dataset import Dataset, build, instants
from training.instants import Instants


@dataclass(frozen=True)
class City:
    """Two days of the small city: what is asked of it, and the rows of training."""

    asked: pl.DataFrame
    dataset: Dataset

    @property
    def offline(self) -> Vectors:
        return self.dataset.vectors

    @property
    def moments(self) -> list[tuple[int, str]]:
        """Instants and routes that are asked for, in order."""
        return self.asked.select("as_of_us", "route_id").unique().sort("as_of_us", "route_id").rows()


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> City:
    ordered = city_history(2)
    workspace = Workspace(tmp_path_factory.mktemp("city"))
    write_versions(workspace.features, backfill(ordered, LiveFeatures()))
    store = open_store(workspace)
    apply(store)
    asked = instants(ordered, Instants.ALONG_ROUTE, seed=1)
    return City(asked, build(store, ordered, asked))


Read = Callable[[View, list[str | None], int], OnlineRows]


def live_vectors(
    city: City, *, through: OnlineWriter | None = None, read: Read | None = None
) -> Iterator[Vectors]:
    """Vectors of every moment, made while the log is folded; the process is killed every 25 moments."""
    features, history, done = LiveFeatures(), every_record(city_history(2)), 0
    for number, (as_of_us, route_id) in enumerate(city.moments):
        batch: list[Record] = []
        while done < len(history) and history[done].received_us <= as_of_us:
            batch.append(history[done])
            done += 1
        advance = features.advance(batch)
        if through is not None:
            through.publish_all(advance.publications)
        yield assemble(features.book.itinerary([route_id], as_of_us), read or features.read, as_of_us)
        if number % 25 == 0:
            features = killed(features)


def killed(features: LiveFeatures) -> LiveFeatures:
    again = LiveFeatures()
    for route_id in {
        record.body["route_id"] for record in every_record(city_history(2)) if record.type == "routes"
    }:
        if features.book.route(route_id) is not None:
            again.book.load(route_id, features.book.dump(route_id))
    again.restore(list(features.dump()))
    return again


def rows_of(vectors: Vectors) -> dict[tuple[str, int], tuple[bytes, bytes, list[bytes]]]:
    """Every row by stop and instant, to the bit."""
    return {
        (stop_id, int(as_of_us)): (
            vectors.matrix[i].tobytes(),
            vectors.base_s[i].tobytes(),
            [vectors.ages_s[feed][i].tobytes() for feed in FEEDS],
        )
        for i, (stop_id, as_of_us) in enumerate(zip(vectors.stop_ids, vectors.as_of_us, strict=True))
    }


def assert_same(live: Iterator[Vectors], offline: Vectors) -> None:
    expected = rows_of(offline)
    found: dict[tuple[str, int], tuple[bytes, bytes, list[bytes]]] = {}
    for vectors in live:
        found |= {key: row for key, row in rows_of(vectors).items() if key in expected}
    assert found.keys() == expected.keys()
    different = [key for key in found if found[key] != expected[key]]
    if different:
        pytest.fail(
            f"{len(different)} of {len(found)} rows differ, first {different[0]}: {columns(found, expected)}"
        )


def columns(found: dict, expected: dict) -> list[str]:
    """Names of the columns that differ anywhere."""
    ours, theirs = (
        np.stack([np.frombuffer(rows[key][0], np.int32) for key in expected]) for rows in (found, expected)
    )
    return [FEATURE_NAMES[place] for place in np.flatnonzero((ours != theirs).any(axis=0))]


def test_vectors_made_live_are_those_of_training(city: City):
    assert len(city.moments) >= 200
    assert_same(live_vectors(city), city.offline)


def test_vectors_from_the_online_store_are_those_of_training(city: City, tmp_path: Path):
    writer, reader = OnlineWriter(tmp_path / "online.db"), OnlineReader(tmp_path / "online.db")
    assert_same(live_vectors(city, through=writer, read=reader.read), city.offline)
    writer.close()
    reader.close()


def test_training_rows_are_the_rows_that_were_asked_for(city: City):
    wanted = city.asked.select("stop_id", "as_of_us").rows()
    vectors, rows = city.offline, city.dataset.rows
    assert list(zip(vectors.stop_ids, vectors.as_of_us.tolist(), strict=True)) == wanted
    assert rows.select("stop_id", "as_of_us").rows() == wanted


def test_training_rows_know_what_came_of_them(city: City):
    rows, known_us = city.dataset.rows, city.dataset.outcome_known_us
    assert (known_us > city.offline.as_of_us).all()
    done = rows["closed"].to_numpy() == "completed"
    assert np.array_equal(np.isfinite(city.dataset.arrival_s), done)
    expected_s = (rows["arrived_us"] - rows["as_of_us"]).to_numpy()[done] / 1e6
    assert city.dataset.arrival_s[done] == pytest.approx(expected_s)
    assert set(city.dataset.days) == {"2026-03-02", "2026-03-03"}


def test_most_features_say_something_in_the_city(city: City):
    known = np.isfinite(city.offline.matrix).mean(axis=0)
    silent = {name for name, share in zip(FEATURE_NAMES, known, strict=True) if share < 0.05}
    assert silent == set()


def test_features_keep_to_their_bounds(city: City):
    for place, feature in enumerate(FEATURES):
        values = city.offline.matrix[:, place]
        values = values[np.isfinite(values)]
        if values.size:
            assert np.float32(feature.low) <= values.min(), feature.name
            assert values.max() <= np.float32(feature.high), feature.name


def state_of_the_city() -> tuple[LiveFeatures, list[str], int]:
    """The city in the middle of its second day, with the routes that are under way."""
    history = every_record(city_history(2))
    as_of_us = history[int(0.8 * len(history))].received_us
    features = LiveFeatures()
    features.advance([record for record in history if record.received_us <= as_of_us])
    return features, features.book.route_ids(), as_of_us


def test_row_alone_is_the_row_of_a_batch():
    features, route_ids, as_of_us = state_of_the_city()
    batch = rows_of(assemble(features.book.itinerary(route_ids, as_of_us), features.read, as_of_us))
    assert len(route_ids) >= 3
    for route_id in route_ids:
        alone = rows_of(assemble(features.book.itinerary([route_id], as_of_us), features.read, as_of_us))
        assert all(batch[key] == row for key, row in alone.items())


def test_row_of_one_stop_is_its_row_in_a_batch_of_any_size():
    features, route_ids, as_of_us = state_of_the_city()
    itinerary = features.book.itinerary(route_ids, as_of_us)
    lookups = look_up(itinerary, features.read, as_of_us)
    whole = combine(itinerary, lookups)
    first = np.flatnonzero(itinerary.rank == 1)
    for row in first:
        one = np.array([row])
        single = combine(itinerary.take(one), {name: values[one] for name, values in lookups.items()})
        many = np.repeat(one, 67)
        repeated = combine(
            replace(itinerary.take(many), group=np.arange(67)),
            {name: values[many] for name, values in lookups.items()},
        )
        assert single.matrix[0].tobytes() == whole.matrix[row].tobytes()
        assert {values.tobytes() for values in repeated.matrix} == {whole.matrix[row].tobytes()}


def test_a_stop_asked_for_alone_has_the_row_of_its_whole_route():
    features, route_ids, as_of_us = state_of_the_city()
    whole = rows_of(assemble(features.book.itinerary(route_ids, as_of_us), features.read, as_of_us))
    for route_id in route_ids:
        remaining = len(features.book.itinerary([route_id], as_of_us))
        for ahead in {1, 2, remaining // 2 + 1, remaining}:
            itinerary = features.book.itinerary([route_id], as_of_us, {route_id: ahead})
            assert len(itinerary) == min(ahead, remaining)
            last = np.array([len(itinerary) - 1])
            alone = rows_of(assemble(itinerary, features.read, as_of_us, last))
            assert len(alone) == 1
            assert all(whole[key] == row for key, row in alone.items())


# --- the causal prior -------------------------------------------------------------------------------------


def feature(vectors: Vectors, name: str) -> list[float]:
    return vectors.matrix[:, FEATURE_NAMES.index(name)].tolist()


def forecast_of(told: Told, minute: float) -> Vectors:
    """Vectors of a route of which nothing was learned yet but its plan and its progress."""
    features = LiveFeatures(told.book)
    progress = told.route.progress
    if progress.known_us:
        features.absorb(learned_of(told), {})
    return assemble(told.book.itinerary(["R-1"], at(minute)), features.read, at(minute))


def learned_of(told: Told) -> Learned:
    learned = Learned()
    learned.progress.add(told.route, Message(1, told.route.progress.known_us, {}))
    return learned


def test_prior_of_a_route_before_departure_is_its_wait_its_legs_and_its_doors():
    vectors = forecast_of(Told(), -5)
    assert vectors.base_s.tolist() == [300 + 600, 300 + 600 + 720, 300 + 600 + 2 * 720]
    assert feature(vectors, "departs_in_s") == [300.0] * 3


def test_prior_of_the_leg_under_way_is_what_is_left_of_it():
    told = Told()
    told.hears("departed_depot", minute=0)
    assert forecast_of(told, 4).base_s.tolist() == [360, 360 + 720, 360 + 1440]


def test_leg_that_takes_too_long_is_never_all_done():
    told = Told()
    told.hears("departed_depot", minute=0)
    assert forecast_of(told, 30).base_s[0] == pytest.approx(0.15 * 600)


def test_prior_at_a_stop_begins_with_what_is_left_at_the_door():
    told = Told()
    told.hears("departed_depot", minute=0)
    told.hears("arrived", 1, minute=10)
    assert forecast_of(told, 11).base_s.tolist() == [60 + 600, 60 + 600 + 720]


def test_slips_say_where_a_route_lost_its_time():
    told = Told()
    told.hears("departed_depot", minute=30)
    told.hears("arrived", 1, minute=45)
    vectors = forecast_of(told, 46)
    assert feature(vectors, "depot_slip_s") == [1800.0] * 2
    assert feature(vectors, "travel_slip_s") == [300.0] * 2


def test_absurd_plan_stays_within_bounds():
    told = Told(stops=0)
    told.tell("stops", make_stop(1, planned_travel_s=172_800.0 * 9, planned_arrival_at=at(10**7)), minute=-60)
    vectors = forecast_of(told, 0)
    for column, of in zip(vectors.matrix.T, FEATURES, strict=True):
        assert not np.isfinite(column[0]) or of.low <= column[0] <= of.high, of.name


def test_feature_that_nothing_is_known_of_is_nan_and_so_is_the_age_of_its_feed():
    vectors = forecast_of(Told(), -5)
    for name in ("vehicle_speed_mps", "target_jam", "temperature_c", "depot_ready_share", "telemetry_age_s"):
        assert np.isnan(feature(vectors, name)).all(), name
    assert all(np.isnan(vectors.ages_s[feed]).all() for feed in FEEDS)


def test_nothing_to_forecast_makes_no_vectors():
    features = LiveFeatures()
    vectors = assemble(features.book.itinerary([], at(0)), features.read, at(0))
    assert vectors.matrix.shape == (0, len(FEATURE_NAMES))


def test_every_feature_has_a_meaning_a_unit_and_bounds():
    assert len(set(FEATURE_NAMES)) == len(FEATURES)
    for of in FEATURES:
        assert of.meaning.endswith(".") and of.unit and of.low < of.high, of.name


def test_feature_set_hash_is_a_short_word():
    assert len(feature_set_hash()) == 16 and feature_set_hash() == feature_set_hash()


@pytest.mark.parametrize("feed", FEEDS)
def test_columns_that_go_dark_are_those_that_a_dead_feed_leaves_empty(feed: str):
    ordered = city_history(1)
    features = LiveFeatures()
    noon_us = int(ordered["stop_events"]["received_at"].median())
    features.advance([record for record in every_record(ordered) if record.received_us <= noon_us])
    itinerary = features.book.itinerary(features.book.route_ids(), noon_us)
    found = look_up(itinerary, features.read, noon_us)
    aliases = tuple(f"{lookup.alias}__" for lookup in LOOKUPS if lookup.view in FEED_VIEWS[feed])
    silent = {
        name: np.full_like(values, np.nan) if name.startswith(aliases) else values
        for name, values in found.items()
    }
    whole, dead = combine(itinerary, found), combine(itinerary, silent)
    dark = darkened(whole, {feed: np.ones(len(whole), np.bool_)})
    assert np.array_equal(dark.matrix, dead.matrix, equal_nan=True)
    assert np.array_equal(dark.base_s, dead.base_s)
    assert np.isnan(dark.ages_s[feed]).all()
    assert not np.array_equal(whole.matrix, dark.matrix, equal_nan=True)
    assert darkened(whole, {feed: np.zeros(len(whole), np.bool_)}) is whole


def test_density_is_stops_by_kilometre_of_the_way_to_a_stop():
    told = Told(stops=0)
    for number, metres in enumerate((500.0, 250.0, 0.0), start=1):
        told.tell("stops", make_stop(number, planned_distance_m=metres), minute=-60)
    assert feature(forecast_of(told, -5), "density_ahead") == pytest.approx([2.0, 2 / 0.75, 3 / 0.75])


def test_density_is_unknown_beyond_a_leg_of_unknown_length():
    told = Told(stops=0)
    told.tell("stops", make_stop(1, planned_distance_m=500.0), minute=-60)
    told.tell("stops", make_stop(2), minute=-60)
    first, second = feature(forecast_of(told, -5), "density_ahead")
    assert first == 2.0 and np.isnan(second)
