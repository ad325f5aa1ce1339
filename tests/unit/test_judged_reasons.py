"""Reasons are judged against what disruptions truly cost, once they could be seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest

from data_contracts.errors import SourceError
from features.vectors import Vectors
from pipelines.judged_reasons import Truth, disrupted, first_seen_us, judged_reasons
from tests.builders import MINUTE_US, START_US, make_dataset
from training.dataset import Dataset
from training.reasons import Reason

STAMP = pl.Datetime("us", "UTC")


def at(minute: float) -> pl.Series:
    return pl.Series([START_US + round(minute * MINUTE_US)]).cast(STAMP)


def truth(costs: Sequence[tuple[str, str, str, float | None]]) -> Truth:
    """A storm X-S from minute 0 and a slow zone X-Z from minute 10, and what they cost."""
    text = dict.fromkeys(("stop_id", "disruption_id", "cause"), pl.String)
    columns = {**text, "minutes": pl.Float64}
    disruptions = pl.DataFrame(
        {
            "disruption_id": ["X-S", "X-Z"],
            "cause": ["storm", "slow_zone"],
            "onset": pl.concat([at(0), at(10)]),
            "area_id": ["A", None],
            "zone_id": [None, "Z-1"],
            "depot_id": [None, None],
            "vehicle_id": [None, None],
            "zone_ids": [None, ["Z-1", "Z-2"]],
        }
    )
    return Truth(pl.DataFrame(), disruptions, pl.DataFrame(costs, schema=columns, orient="row"))


def tables() -> dict[str, Any]:
    """Weather of minute -30 and 20, traffic of zone 2 at minute 12, each received two minutes later."""
    weather = pl.DataFrame(
        {
            "area_id": ["A"] * 3,
            "kind": ["observed", "forecast", "observed"],
            "valid_at": pl.concat([at(-30), at(5), at(20)]),
            "received_at": pl.concat([at(-28), at(-20), at(22)]),
        }
    )
    traffic = pl.DataFrame({"zone_id": ["Z-2"], "occurred_at": at(12), "received_at": at(14)})
    return {"weather": weather.to_arrow(), "traffic": traffic.to_arrow()}


def asked(stop_ids: Sequence[str], minutes: Sequence[float]) -> Dataset:
    rows = make_dataset(len(stop_ids))
    as_of_us = START_US + np.rint(np.array(minutes) * MINUTE_US).astype(np.int64)
    frame = rows.rows.with_columns(stop_id=pl.Series(stop_ids), as_of_us=pl.Series(as_of_us))
    return Dataset(rows.vectors, frame, rows.arrival_s, rows.outcome_known_us)


class Says:
    """A forecaster that always gives the same cause."""

    def __init__(self, code: str | None) -> None:
        self.code = code

    def reasons(self, vectors: Vectors, rows: Sequence[int]) -> list[list[Reason]]:
        return [[Reason(self.code, 9.0)] if self.code else [] for _ in rows]


def test_disruption_is_seen_with_the_first_message_about_it_after_its_onset():
    storm, zone = truth([]).disruptions.iter_rows(named=True)
    assert first_seen_us(storm, tables()) == START_US + 22 * MINUTE_US
    assert first_seen_us(zone, tables()) == START_US + 14 * MINUTE_US
    assert first_seen_us(zone, {}) is None


def test_stop_is_asked_about_once_and_not_before_the_cause_could_be_seen():
    told = truth(
        [("S-a", "X-S", "storm", 9.0), ("S-b", "X-S", "storm", 4.9), ("S-c", "X-Z", "slow_zone", 7.0)]
    )
    rows = asked(["S-a", "S-a", "S-a", "S-b", "S-c", "S-c", "S-d"], [26, 27, 40, 40, 18, 19, 40])
    found = disrupted(told, tables(), rows)
    assert found["stop_id"].to_list() == ["S-a", "S-c"]
    assert found["row"].to_list()[0] in (1, 2) and found["row"].to_list()[1] == 5


def test_reason_is_right_when_it_names_what_cost_most():
    told = truth(
        [("S-a", "X-S", "storm", 9.0), ("S-a", "X-Z", "slow_zone", 7.0), ("S-b", "X-S", "storm", 8.0)]
    )
    rows = asked(["S-a", "S-b"], [60, 60])

    def judged(code: str | None) -> dict[str, Any]:
        found = judged_reasons(told, tables(), rows, Says(code))  # type: ignore[arg-type]
        assert found is not None
        return found

    weather, roads = judged("WEATHER"), judged("ROAD_CONDITIONS")
    assert (weather["n"], weather["right"], weather["majority_class"]) == (2, 1.0, 1.0)
    assert (roads["right"], roads["names_one_that_cost"]) == (0.0, 0.5)
    assert judged(None)["by_cause"] == {"WEATHER": {"none": 2}}


def test_days_without_a_disruption_say_nothing_of_reasons():
    assert judged_reasons(truth([]), tables(), asked(["S-a"], [60]), Says("WEATHER")) is None  # type: ignore[arg-type]


def test_folder_that_holds_no_truth_is_refused(tmp_path: Any):
    with pytest.raises(SourceError, match="holds no oracle"):
        Truth.read(tmp_path)
