"""Alerts of a backtest: promises where a set has none, risks by the lookup, and sources that alerts cannot follow."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import polars as pl
import pytest
from builders import DAY_US, MINUTE_US, START_US, make_dataset, make_route, make_stop, make_tables

from data_contracts.errors import SourceError
from features.backfill import in_log_order
from features.live import LiveFeatures
from pipelines import alert_backtest
from pipelines.alert_backtest import (
    LOOKUP_LEVELS,
    AlertBacktest,
    AlertGoal,
    LookedUp,
    Run,
    promises,
    refuse_without_order,
)
from pipelines.alert_stream import Moment
from pipelines.sources.registry import source
from serving.decisions.alerts import AlertPolicy
from serving.engine.rounds import EngineSettings
from serving.rehearsals.alert_evaluation import StopOutcome
from serving.rehearsals.alert_thresholds import RiskPath
from serving.rehearsals.rehearsal import Rehearsal, Risks
from training.baselines import Lookup
from training.dataset import Dataset
from training.evaluation import Split

TRIPS = 20


def a_line(**stop: Any) -> dict[str, pl.DataFrame]:
    """Trips of one stop, on as many mornings, which take 10, 11, 12 ... minutes."""
    rows: list[tuple[str, dict[str, Any]]] = []
    for trip in range(TRIPS):
        route_id, left_us = f"R-{trip}", START_US + trip * DAY_US
        known = {"occurred_at": left_us, "received_at": left_us}
        rows.append(("routes", make_route(route_id, **known)))
        rows.append(("stops", make_stop(1, route_id, **known, **stop)))
        for kind, at_us in (("departed_depot", left_us), ("arrived", left_us + (10 + trip) * MINUTE_US)):
            event = {"route_id": route_id, "kind": kind, "occurred_at": at_us, "received_at": at_us}
            stop_id = None if kind == "departed_depot" else f"{route_id}-S1"
            rows.append(("stop_events", {**event, "stop_id": stop_id}))
    return in_log_order(make_tables(rows))


def seen(trips: int) -> Dataset:
    rows = make_dataset(trips, days=2)
    rows.vectors.stop_ids[:] = [f"R-{trip}-S1" for trip in range(trips)]
    return rows


def test_a_stop_without_a_promise_is_promised_what_four_of_five_training_trips_kept() -> None:
    ends = promises(a_line(), seen(10))
    took = {stop_id: (end_us - START_US) % DAY_US / MINUTE_US for stop_id, end_us in ends.items()}
    assert list(took.values()) == pytest.approx([17.2] * TRIPS)


def test_a_promise_of_the_plan_stands() -> None:
    told_us = START_US + 40 * MINUTE_US
    ends = promises(a_line(promised_end_at=told_us, promised_start_at=START_US), seen(10))
    assert set(ends.values()) == {told_us}


def test_too_few_training_trips_promise_nothing() -> None:
    assert promises(a_line(), seen(9)) == {}


def test_the_lookups_risk_is_the_share_of_its_trips_past_the_deadline() -> None:
    rows = make_dataset(400, here_zone_id=["Z-1"] * 400, zone_id=["Z-2"] * 400)
    lookup = Lookup.fit(rows, LOOKUP_LEVELS)
    median_s = float(np.median(rows.arrival_s))
    ends_us = [START_US + int(at_s * 1e6) for at_s in (0.0, median_s, 1e6)]
    moment = Moment(
        risks=Risks(
            as_of_us=START_US,
            stop_ids=["a", "b", "c"],
            route_ids=["R"] * 3,
            late_probability=np.zeros(3),
            expected_late_s=np.zeros(3),
            promise_end_us=np.array(ends_us),
        ),
        live_route_ids=["R"],
        here_zone_ids=["Z-1"] * 3,
        zone_ids=["Z-2"] * 3,
        hours=np.full(3, 99),
    )
    assert LookedUp(lookup)(moment) == pytest.approx([0.95, 0.5, 0.05], abs=0.02)


class Replayed(AlertBacktest):
    """Risks that are made up: ``validation`` of the days that dials are chosen on, then ``tested``."""

    validation: tuple[float, ...] = (0.3, 0.55, 0.7, 0.9)
    tested: tuple[float, ...] = ()

    def run(self, forecaster: Any, ordered: Any, seen: Any, days: Any, policy: AlertPolicy | None) -> Run:
        risks = self.validation if policy is None else self.tested
        ends_us = START_US + 120 * MINUTE_US
        known = {
            f"S-{number}": StopOutcome(
                stop_id=f"S-{number}", promise_end_us=ends_us, reached_us=ends_us + number * MINUTE_US
            )
            for number in range(len(risks))
        }
        paths = {
            stop_id: RiskPath(np.array([START_US], np.int64), np.array([risk]))
            for stop_id, risk in zip(known, risks, strict=True)
        }
        features = LiveFeatures()
        rehearsal = None if policy is None else Rehearsal(features, EngineSettings(alerts=policy))
        return Run(ours=paths, lookup=paths, outcomes=known, rehearsal=rehearsal)


@pytest.mark.parametrize("tested", [(0.1, 0.2, 0.3), (0.99, 0.1, 0.99, 0.4, 0.6)])
def test_dials_are_chosen_without_a_look_at_the_test_days(
    monkeypatch: pytest.MonkeyPatch, tested: tuple[float, ...]
) -> None:
    monkeypatch.setattr(alert_backtest, "train", lambda *rows, **more: (None, None))
    monkeypatch.setattr(Replayed, "tested", tested)
    rows = Split(make_dataset(40, days=8), make_dataset(20, days=2, first_day=20), Counter())
    replayed = Replayed(
        source=source("simulated"), past={}, ordered={}, rows=rows, goal=AlertGoal(budget=0.5)
    )
    told = replayed.figures(None)  # type: ignore[arg-type]
    assert (told["proposal"]["open_at"], told["proposal"]["because"]) == (0.6, "MOST_FOUND")
    assert [each["budget"] for each in told["validation"][:8:7]] == [1.0, 0.75]


def test_a_goal_is_made_of_shares() -> None:
    for wrong in ({"budget": 0.0}, {"precision": 1.1}):
        with pytest.raises(ValueError, match="are shares"):
            AlertGoal(**wrong)


@pytest.mark.parametrize("name", ["sendy", "delhivery"])
def test_alerts_are_refused_where_outcomes_have_no_order(name: str) -> None:
    with pytest.raises(SourceError, match="does not say when outcomes were known"):
        refuse_without_order(source(name))
