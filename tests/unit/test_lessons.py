"""Outcomes move the calibration as they arrive, once each, and what was learned survives the engine."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from serving.decisions.cadence import Cadence
from serving.engine.readings import OpsReader
from serving.engine.rounds import EngineSettings
from serving.storage.log import NewEvent
from serving.times import US
from tests.builders import NOON_US
from tests.engine_bench import MODEL, Bench, everything, happened, late_day, route_events, tick


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "w")


def rows(bench: Bench, query: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(bench.folder / "ops.db")
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def staked(bench: Bench) -> set[object]:
    return {stop for (stop,) in rows(bench, "SELECT DISTINCT stop_id FROM stakes")}


def test_nothing_is_taught_before_the_first_outcome(bench: Bench) -> None:
    bench.play(MODEL, *route_events(), tick(0))
    assert bench.reader.taught("1").number == 0
    assert staked(bench) == {f"R-1-S{n}" for n in range(1, 6)}


def test_an_outcome_moves_later_forecasts_and_settles_its_stakes(bench: Bench) -> None:
    bench.play(MODEL, *route_events(), tick(0), happened("departed_depot", 0))
    before = bench.forecast("R-1-S5")
    bench.play(happened("arrived", 3000, 1), tick(3001))
    taught = bench.reader.taught("1")
    assert taught.number == 1
    assert taught.live is not None
    assert (taught.live.shifts(np.array([600.0]), [()]) > 0).all(), "it came later than any level"
    assert "R-1-S1" not in staked(bench) and "R-1-S5" in staked(bench)
    assert bench.forecast("R-1-S5")["window"]["end"] > before["window"]["end"]


def test_a_stop_teaches_once_whatever_else_is_heard_of_it(bench: Bench) -> None:
    bench.play(MODEL, *route_events(), tick(0), happened("departed_depot", 0))
    bench.play(happened("arrived", 700, 1), tick(701), happened("completed", 800, 1), tick(801), tick(900))
    assert bench.reader.taught("1").number == 1


@pytest.mark.parametrize("kind", ["failed", "skipped"])
def test_a_stop_that_was_given_up_teaches_nothing(bench: Bench, kind: str) -> None:
    bench.play(
        MODEL, *route_events(), tick(0), happened("departed_depot", 0), happened(kind, 650, 1), tick(651)
    )
    assert bench.reader.taught("1").number == 0
    assert "R-1-S1" not in staked(bench)


def test_a_stake_of_an_earlier_model_does_not_teach_the_next(bench: Bench) -> None:
    new = NewEvent(type="model", body={"version": "2", "alias": "champion"}, received_us=NOON_US + 10 * US)
    bench.play(MODEL, *route_events(), tick(0), happened("departed_depot", 0), new)
    bench.play(happened("arrived", 700, 1), tick(701))
    assert (bench.reader.taught("1").number, bench.reader.taught("2").number) == (0, 0)


def test_each_version_goes_on_from_its_own_lessons_after_a_rollback(bench: Bench) -> None:
    back = [
        NewEvent(type="model", body={"version": version}, received_us=NOON_US + int(after_s * US))
        for version, after_s in (("2", 800), ("1", 900))
    ]
    bench.play(
        MODEL, *route_events(), tick(0), happened("departed_depot", 0), happened("arrived", 700, 1), tick(701)
    )
    bench.play(back[0], tick(801))
    assert bench.reader.taught("2").number == 0
    bench.play(back[1], tick(901))
    assert bench.reader.taught("1").number == 1
    assert rows(bench, "SELECT DISTINCT number FROM calibration WHERE model_version = '1'") == [(1,)]


@pytest.mark.parametrize("limit", [1, 9])
def test_lessons_are_the_same_however_the_log_is_cut_and_the_engine_restarted(
    tmp_path: Path, limit: int
) -> None:
    whole, broken = Bench(tmp_path / "whole"), Bench(tmp_path / "broken")
    whole.play(*late_day())
    broken.log.append(late_day())
    while broken.start().step(limit=limit * 7):
        pass
    assert whole.reader.taught("1").number >= 5
    assert everything(tmp_path / "whole") == everything(tmp_path / "broken")


def test_stakes_of_a_forgotten_route_are_dropped(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "w", EngineSettings(cadence=Cadence(sweep_s=10.0)))
    bench.play(MODEL, *route_events(stops=2), tick(0), tick(2 * 86_400))
    assert staked(bench) == set()


def test_every_state_is_found_again_by_its_number(bench: Bench) -> None:
    bench.play(MODEL, *route_events(), tick(0), happened("departed_depot", 0))
    states = {}
    for stop in range(1, 5):
        bench.play(happened("arrived", 900.0 * stop, stop), tick(900.0 * stop + 1))
        taught = bench.reader.taught("1")
        states[taught.number] = taught.live.to_json() if taught.live else None
    assert len(states) == 4
    for number, state in states.items():
        then = OpsReader(bench.folder / "ops.db").taught_then("1", number)
        assert then is not None and then.live is not None and then.live.to_json() == state
    assert bench.reader.taught_then("1", max(states) + 1) is None


def test_states_that_no_kept_forecast_needs_are_forgotten_and_the_rest_stay_whole(tmp_path: Path) -> None:
    settings = EngineSettings(cadence=Cadence(keep_history_s=1500.0, sweep_s=10.0))
    bench = Bench(tmp_path / "w", settings)
    bench.play(MODEL, *route_events(), tick(0), happened("departed_depot", 0))
    for stop in range(1, 5):
        bench.play(happened("arrived", 900.0 * stop, stop), tick(900.0 * stop + 1))
        latest = bench.reader.taught("1")
    bench.play(tick(3700), tick(3720))
    reader = OpsReader(bench.folder / "ops.db")
    assert reader.taught_then("1", 1) is None
    then = reader.taught_then("1", latest.number)
    assert then is not None and then.live is not None and latest.live is not None
    assert then.live.to_json() == latest.live.to_json()
