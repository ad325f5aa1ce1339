"""The oracle tells the true law of what is to come, and twins what each disruption cost."""

from __future__ import annotations

from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from scipy.stats import kstest

from pipelines.simulation.city import City
from pipelines.simulation.conditions import Conditions
from pipelines.simulation.dispatch import advance
from pipelines.simulation.disruptions import INJECTED
from pipelines.simulation.draws import Draws
from pipelines.simulation.engine import Run
from pipelines.simulation.futures import futures
from pipelines.simulation.oracle import LEVELS, oracle, quantiles, remaining, roll_out
from pipelines.simulation.parameters import Parameters
from pipelines.simulation.state import Outcome, State
from pipelines.simulation.twins import arrivals_without, cost_of_disruptions
from pipelines.simulation.world import World
from pipelines.sources import simulated

DAY = date(2026, 1, 5)
SEED = 3
HOUR_S = 3600.0


@lru_cache
def world(size: str = "small") -> World:
    return World.draw(Parameters.load(size), SEED)


def make_city(*, until_h: float = -6.0, day: date = DAY, size: str = "small") -> City:
    city = City.day(world(size), day, SEED)
    city.advance(city.instant(until_h * HOUR_S))
    return city


def ranks_of_truth(until_h: float, *, days: int, rollouts: int = 79) -> np.ndarray:
    """One rank a day in [0, 1): of a stop's true arrival among the rollouts of its day."""
    ranks = []
    for number in range(days):
        city = make_city(until_h=until_h, day=DAY + timedelta(days=number))
        future = roll_out(city, rollouts)
        city.finish()
        known = np.isfinite(city.arrived_s[future.stop])
        seen = np.flatnonzero(known & np.isfinite(future.arrived_s).all(axis=0))
        one = seen[number * 7 % len(seen)]
        ranks.append((future.arrived_s[:, one] < city.arrived_s[future.stop[one]]).mean())
    return np.array(ranks)


@pytest.mark.parametrize("until_h", [-6.0, 9.6])
def test_the_truth_is_one_more_draw_of_the_oracle(until_h: float) -> None:
    ranks = ranks_of_truth(until_h, days=24)
    assert kstest(ranks, "uniform").pvalue > 0.01
    assert 0.3 < ranks.mean() < 0.7


@pytest.mark.slow
@pytest.mark.parametrize("until_h", [-6.0, 8.1, 8.35, 8.6, 9.6, 10.4])
def test_the_truth_is_one_more_draw_of_the_oracle_over_many_days(until_h: float) -> None:
    ranks = ranks_of_truth(until_h, days=200)
    assert kstest(ranks, "uniform").pvalue > 0.005
    assert 0.43 < ranks.mean() < 0.57


def test_rollouts_leave_the_past_and_the_city_as_they_are() -> None:
    city = make_city(until_h=9.5)
    before = city.arrived_s.copy()
    run = futures(city.running, city.noise.child(9), 20)
    past = np.isfinite(before) & (before < city.now_s)
    assert past.any()
    advance(run, 29 * HOUR_S)
    assert (run.state.arrived_s[:, past] == before[past]).all()
    assert (run.state.arrived_s[:, ~past] >= city.now_s).all()
    np.testing.assert_array_equal(city.arrived_s, before)


def test_many_days_side_by_side_are_the_days_one_by_one() -> None:
    city, noise = make_city(), make_city().noise.child(5)
    draws = Draws.draw(city.world, city.plan, noise, 3)
    state = State.evening_before(city.world, city.plan)
    together = Run(
        city.world, city.plan, draws, Conditions.of(city.world, city.plan, draws), state.spread(3),
        city.running.promised_s.copy(),
    )  # fmt: skip
    advance(together, 29 * HOUR_S)
    for day in range(3):
        alone = only(draws, day)
        run = Run(
            city.world, city.plan, alone, Conditions.of(city.world, city.plan, alone), state.spread(1),
            city.running.promised_s.copy(),
        )  # fmt: skip
        advance(run, 29 * HOUR_S)
        np.testing.assert_allclose(run.state.arrived_s[0], together.state.arrived_s[day], rtol=0, atol=1e-6)


def only(draws: Draws, day: int) -> Draws:
    upsets = draws.upsets.take(draws.upsets.day == day)
    upsets.day[:] = 0
    arrays = {name: getattr(draws, name)[[day]] for name in Draws.__dataclass_fields__ if name != "upsets"}
    return Draws(**arrays, upsets=upsets)


def test_quantiles_stand_in_order_around_the_truth_and_say_how_likely_it_is_late() -> None:
    city = make_city(until_h=9)
    table = oracle(city, 200)
    q = np.array([table[f"q{level * 100:02.0f}"].cast("int64").to_numpy() for level in LEVELS])
    assert (np.diff(q, axis=0) >= 0).all()
    assert table.num_rows == len(remaining(city))
    assert pc.min(table["p_late"]).as_py() >= 0
    assert pc.max(table["p_late"]).as_py() <= 1
    assert set(table["as_of"].to_pylist()) == {city.now}


def test_quantiles_pass_over_rollouts_that_do_not_come() -> None:
    arrived_s = np.array([[1.0, np.inf], [2.0, np.inf], [np.inf, np.inf], [3.0, np.inf]])
    at_s, mean_s = quantiles(arrived_s)
    assert at_s[LEVELS.index(0.5), 0] == 2.0
    assert mean_s[0] == 2.0
    assert np.isinf(at_s[:, 1]).all()


def test_a_dropped_stop_does_not_remain() -> None:
    city = make_city(until_h=10)
    stop = city.to_visit(0)[0]
    assert stop in remaining(city)
    city.outcome[stop], city.done_s[stop] = Outcome.SKIPPED, city.now_s - 1
    assert stop not in remaining(city)


@lru_cache
def disrupted() -> City:
    for number in range(40):
        city = make_city(day=DAY + timedelta(days=number), size="demo")
        if len(city.truth().disruptions) > 1:
            city.finish()
            return city
    raise AssertionError("no disrupted day")


def test_costs_are_the_difference_to_the_same_day_without_the_disruption() -> None:
    city, found = disrupted(), disrupted().truth().disruptions
    table = cost_of_disruptions(city)
    without = arrivals_without(city)
    assert len(without) == len(found)
    assert set(table["cause"].to_pylist()) <= {str(cause) for cause in INJECTED}
    row = table.filter(table["minutes"].is_valid()).to_pylist()[0]
    number = [d.disruption_id for d in found].index(row["disruption_id"])
    stop = city.plan.stop_ids.index(row["stop_id"])
    assert row["minutes"] == pytest.approx((city.arrived_s[stop] - without[number, stop]) / 60)


def test_disruptions_cost_time_and_touch_nothing_before_their_onset() -> None:
    city = disrupted()
    table = cost_of_disruptions(city)
    assert pc.mean(table["minutes"]).as_py() > 0
    for row in table.to_pylist():
        if row["minutes"] is not None:
            assert city.instant(city.arrived_s[city.plan.stop_ids.index(row["stop_id"])]) > row["onset"]


def test_a_day_without_disruptions_costs_nothing() -> None:
    quiet = next(
        city
        for city in (make_city(day=DAY + timedelta(days=number)) for number in range(40))
        if not city.truth().disruptions
    )
    quiet.finish()
    assert cost_of_disruptions(quiet).num_rows == 0


def test_truth_lands_beside_the_messages(tmp_path: Path) -> None:
    simulated.write_truth(tmp_path, "small", SEED, DAY, 1, rollouts=8)
    assert {path.parent.name for path in tmp_path.rglob("*.parquet")} == {
        "stops", "disruptions", "costs", "oracle",
    }  # fmt: skip
    table = pq.read_table(tmp_path / "oracle" / f"{DAY}.parquet")
    assert table["as_of"].combine_chunks().unique().__len__() > 4
