"""Which forecasts are made, what could be known then, and what came of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
import pytest

from features.backfill import in_log_order
from features.vectors import FEATURE_NAMES, FEEDS
from tests.builders import (
    MINUTE_US,
    Row,
    at,
    city_history,
    make_dataset,
    make_route,
    make_stop,
    make_tables,
)
from training.dataset import (
    BEFORE_DEPARTURE,
    HORIZON_EDGES_MIN,
    HORIZON_NAMES,
    instants,
    itineraries,
    outcomes,
)
from training.estimator import DeliveryTimeRegressor
from training.instants import Instants

Frames = Mapping[str, pl.DataFrame]
FAR_AWAY_MIN = 1e9


def event(kind: str, stop: int | None, minute: float, known: float | None = None) -> Row:
    columns: dict[str, Any] = {"route_id": "R-1", "kind": kind, "occurred_at": at(minute)}
    columns["received_at"] = at(minute if known is None else known)
    return "stop_events", columns | ({"stop_id": f"R-1-S{stop}"} if stop else {})


def planned(stop: int, minute: float = -600, **columns: Any) -> Row:
    return "stops", make_stop(stop, occurred_at=at(minute), received_at=at(minute), **columns)


def history(*rows: Row) -> dict[str, pl.DataFrame]:
    """A route planned ten hours before it leaves at 08:00, and what is heard of it."""
    route: Row = ("routes", make_route(occurred_at=at(-600), received_at=at(-600)))
    return in_log_order(make_tables([route, *rows]))


def a_day() -> dict[str, pl.DataFrame]:
    return history(
        planned(1, promised_end_at=at(30)),
        planned(2),
        planned(3),
        event("departed_depot", None, 0),
        event("arrived", 1, 20, known=22),
        event("completed", 1, 25, known=26),
        event("arrived", 2, 80),
        event("failed", 2, 84),
        event("skipped", 3, 85),
    )


# --- outcomes ---------------------------------------------------------------------------------------------


def outcome(ordered: Frames, stop: int) -> dict[str, Any]:
    return outcomes(ordered).filter(pl.col("stop_id") == f"R-1-S{stop}").row(0, named=True)


def test_outcome_is_when_a_stop_was_reached_and_closed_and_when_that_was_known():
    found = outcome(a_day(), 1)
    assert (found["arrived_us"], found["arrived_known_us"]) == (at(20), at(22))
    assert (found["closed"], found["closed_known_us"]) == ("completed", at(26))
    assert found["promise_end_us"] == at(30)


def test_first_promise_told_stays_the_promise():
    rows = [planned(1, promised_end_at=at(30)), planned(1, -5, plan_version=2, promised_end_at=at(90))]
    assert outcome(history(*rows, event("completed", 1, 50)), 1)["promise_end_us"] == at(30)


def test_outcome_of_a_skipped_stop_has_no_arrival():
    found = outcome(a_day(), 3)
    assert (found["arrived_us"], found["closed"]) == (None, "skipped")


def test_what_was_withdrawn_is_no_outcome_and_what_was_told_afterwards_is():
    wrong, right = event("arrived", 1, 20), event("arrived", 1, 35, known=41)
    found = outcome(history(planned(1), planned(2), wrong, event("withdrawn", 1, 40), right), 1)
    assert (found["arrived_us"], found["arrived_known_us"]) == (at(35), at(41))
    still_open = history(planned(1), planned(2), wrong, event("completed", 1, 25), event("withdrawn", 1, 40))
    found = outcome(still_open, 1)
    assert (found["arrived_us"], found["closed"]) == (None, None)


# --- instants ---------------------------------------------------------------------------------------------


def asked_of(ordered: Frames, policy: Instants = Instants.ALONG_ROUTE, **more: Any) -> pl.DataFrame:
    return instants(ordered, policy, seed=4, **more)


def test_each_stop_is_asked_about_once_in_each_horizon_bin():
    asked = asked_of(city_history(1))
    assert not asked.select("stop_id", "horizon").is_duplicated().any()
    assert set(asked["horizon"]) >= {BEFORE_DEPARTURE, "0-15", "15-30", "30-60", "60-120", "120-240"}


def test_nothing_is_asked_before_its_plan_nor_after_its_outcome_was_known():
    ordered = city_history(1)
    settled = ["arrived", "completed", "failed", "skipped"]
    events = ordered["stop_events"].filter(pl.col("kind").is_in(settled))
    first_known = events.group_by("stop_id").agg(pl.col("received_at").min().alias("known"))
    plan = ordered["stops"].group_by("stop_id").agg(pl.col("received_at").min().alias("planned"))
    asked = asked_of(ordered).join(first_known, on="stop_id").join(plan, on="stop_id")
    assert len(asked) > 100
    assert (asked["as_of_us"] < asked["known"]).all()
    assert (asked["as_of_us"] >= asked["planned"]).all()


def test_horizon_is_the_time_that_was_left_once_the_route_had_departed():
    ordered = city_history(1)
    left = ordered["stop_events"].filter(pl.col("kind") == "departed_depot")
    departed = dict(left.select("route_id", "received_at").iter_rows())
    arrived = dict(outcomes(ordered).select("stop_id", "arrived_us").iter_rows())
    for stop_id, route_id, as_of_us, horizon in asked_of(ordered).iter_rows():
        if as_of_us < departed[route_id]:
            assert horizon == BEFORE_DEPARTURE
        elif arrived[stop_id] is not None:
            minutes = (arrived[stop_id] - as_of_us) / MINUTE_US
            edges = (0, *HORIZON_EDGES_MIN, FAR_AWAY_MIN)
            place = HORIZON_NAMES.index(horizon)
            assert edges[place] <= minutes < edges[place + 1]


def test_moments_are_the_evening_the_departure_completions_and_every_quarter():
    moments = set(asked_of(a_day())["as_of_us"].to_list())
    possible = {at(-600), at(0), at(26), *(at(15 * quarter) for quarter in range(1, 6))}
    assert moments <= possible and at(-600) in moments


def test_at_departure_each_stop_is_asked_about_when_its_route_leaves():
    asked = asked_of(a_day(), Instants.AT_DEPARTURE)
    assert asked["as_of_us"].to_list() == [at(0)] * 3
    assert asked["stop_id"].to_list() == ["R-1-S1", "R-1-S2", "R-1-S3"]
    assert asked["horizon"].to_list()[:2] == ["15-30", "60-120"]


def test_stop_that_joins_the_route_later_is_not_asked_about_before():
    ordered = history(
        planned(1),
        planned(2, minute=30),
        event("departed_depot", None, 0),
        event("arrived", 1, 20),
        event("completed", 1, 40),
        event("arrived", 2, 80),
    )
    asked = asked_of(ordered).filter(pl.col("stop_id") == "R-1-S2")
    assert len(asked) > 0 and asked["as_of_us"].min() >= at(30)


def test_route_that_is_planned_after_its_stops_is_not_asked_about_before():
    late: Row = ("routes", make_route(occurred_at=at(-60), received_at=at(-60)))
    rows = [planned(1), event("departed_depot", None, 0), event("arrived", 1, 20), event("completed", 1, 22)]
    assert asked_of(in_log_order(make_tables([late, *rows])))["as_of_us"].min() >= at(-60)


def test_stop_without_an_outcome_is_not_asked_about():
    ordered = history(planned(1), planned(2), event("departed_depot", None, 0), event("completed", 1, 20))
    assert set(asked_of(ordered)["stop_id"]) == {"R-1-S1"}


def test_seed_draws_the_instants_and_a_bound_keeps_them_few():
    ordered = city_history(1)
    first, again = asked_of(ordered), asked_of(ordered)
    other = instants(ordered, Instants.ALONG_ROUTE, seed=5)
    few = asked_of(ordered, per_route=3)
    assert first.equals(again) and not first.equals(other)
    assert few.group_by("route_id").agg(pl.col("as_of_us").n_unique())["as_of_us"].max() <= 3


def test_instants_do_not_change_when_other_days_are_added():
    one = asked_of(city_history(1))
    both = asked_of(city_history(2)).filter(pl.col("route_id").is_in(one["route_id"].implode()))
    assert both.equals(one)


# --- itineraries ------------------------------------------------------------------------------------------


def test_route_stands_as_it_was_known_at_each_instant():
    asked = pl.DataFrame({"as_of_us": [at(26), at(21), at(-700)], "route_id": ["R-1"] * 3})
    rows = itineraries(a_day(), asked)
    stood = [
        [stop for stop, as_of_us in zip(rows.stop_ids, rows.as_of_us, strict=True) if as_of_us == at(minute)]
        for minute in (-700, 21, 26)
    ]
    assert stood == [[], ["R-1-S1", "R-1-S2", "R-1-S3"], ["R-1-S2", "R-1-S3"]]


def test_message_of_the_very_instant_is_known():
    rows = itineraries(a_day(), pl.DataFrame({"as_of_us": [at(22)], "route_id": ["R-1"]}))
    assert rows.stop_ids == ["R-1-S2", "R-1-S3"]


# --- a data set -------------------------------------------------------------------------------------------


def test_some_rows_of_a_data_set_are_a_data_set():
    rows = make_dataset(40, days=4)
    some = rows.where(rows.days == rows.days[-1])
    place = np.flatnonzero(rows.days == rows.days[-1])
    assert len(some) == len(place) == 10
    assert (
        some.vectors.stop_ids == [rows.vectors.stop_ids[i] for i in place] == some.rows["stop_id"].to_list()
    )
    assert some.arrival_s.tolist() == rows.arrival_s[place].tolist()
    assert some.vectors.matrix.tobytes() == rows.vectors.matrix[place].tobytes()
    assert all(len(some.vectors.ages_s[feed]) == 10 for feed in FEEDS)


@pytest.mark.parametrize("policy", list(Instants))
def test_history_of_one_plan_asks_nothing(policy: Instants):
    assert len(asked_of(history(planned(1), event("departed_depot", None, 0)), policy)) == 0


def test_rows_stand_in_pandas_under_the_names_of_their_features():
    rows = make_dataset(30)
    frame = rows.to_pandas()
    assert list(frame.columns) == [*FEATURE_NAMES, "base_s", "arrival_s"]
    assert np.array_equal(frame["arrival_s"], rows.arrival_s, equal_nan=True)
    assert frame.index.get_level_values("stop_id").to_list() == rows.vectors.stop_ids
    learned = frame.dropna(subset="arrival_s")
    model = DeliveryTimeRegressor(prior="base_s", trees=2, min_rows_in_leaf=5)
    assert len(
        model.fit(learned.drop(columns="arrival_s"), learned["arrival_s"]).predict_quantiles(
            learned.drop(columns="arrival_s")
        )
    ) == len(learned)
