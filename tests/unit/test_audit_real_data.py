"""Audits of the published sets: the columns that they must name, and those that they must not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from data_contracts.errors import SourceError
from pipelines.audit.leaks import find_leaks
from pipelines.audit.raw_sets import delhivery_raw, sendy_raw
from pipelines.audit.run import Audit, audit
from pipelines.audit.verdicts import Answer

DATA = Path(__file__).parents[3] / "shared" / "data"

pytestmark = [pytest.mark.real_data, pytest.mark.slow]


def folder(name: str) -> Path:
    if not (DATA / name).exists():
        pytest.skip(f"{DATA / name} is absent: the data sets are not part of the project")
    return DATA / name


def answers(done: Audit) -> dict[str, str]:
    return {one.capability: str(one.answer) for one in done.verdicts}


def test_the_taxis_meter_and_fares_are_named() -> None:
    done = audit(folder("nyc_green_taxi"), weather=folder("nyc_weather"))
    assert {"trip_distance", "duration", "fare_amount", "total_amount"} == set(done.named)
    assert done.source == "nyc_taxi"
    assert answers(done)["windows"] == "yes"
    weather = next(one for one in done.coverage if one.feed == "weather")
    assert 0.45 < weather.share < 0.6, "there is weather for 2021, and none for 2023"


@pytest.mark.parametrize("year", ["2021", "2023"])
def test_one_year_of_taxis_names_the_meter_too(year: str, tmp_path: Path) -> None:
    (tmp_path / "trips.parquet").symlink_to(folder("nyc_green_taxi") / f"green_tripdata_{year}-01.parquet")
    assert {"trip_distance", "fare_amount", "total_amount"} <= set(audit(tmp_path).named)


def test_kandys_weather_is_named_and_the_clock_is_not() -> None:
    done = audit(folder("kandy_bus"))
    assert {"weather", "run_time_in_seconds", "start_time"} == set(done.named)
    weather = next(one for one in done.leaks or () if one.column == "weather")
    assert weather.auc is not None
    assert weather.auc >= 0.999
    assert answers(done)["windows"] == "yes"
    silence = next(one.silence for one in done.tables if one.table == "stop_events")
    assert silence is not None
    assert silence.longest_s > 100 * 86_400, "no buses from March to June 2022"


def test_sendys_arrival_is_named_and_its_planned_distance_is_not() -> None:
    done = audit(folder("sendy_nairobi"))
    assert done.named == ("Arrival at Destination - Time",)
    assert "Distance (KM)" in done.known
    assert "calendar" in " ".join(done.as_json()["remarks"])


def test_nothing_of_delhivery_is_named() -> None:
    done = audit(folder("delhivery"))
    assert done.named == ()
    assert "osrm_time" in done.known
    assert answers(done)["updates under way"] == "no"


@pytest.mark.parametrize(
    ("name", "read", "planned"),
    [("sendy_nairobi", sendy_raw, "Distance (KM)"), ("delhivery", delhivery_raw, "osrm_time")],
)
def test_a_planned_quantity_would_not_be_named_even_undeclared(name: str, read, planned: str) -> None:  # type: ignore[no-untyped-def]
    raw = read([folder(name)])
    rest = raw.frame.drop(raw.undeclared)
    raw = replace(raw, frame=rest, known=tuple(column for column in raw.known if column != planned))
    (found,) = find_leaks(raw)
    assert (found.column, found.is_leak) == (planned, False)


def test_twenty_rows_of_lade_carry_no_forecast() -> None:
    done = audit(folder("lade_jilin_sample"))
    assert not done.carries_a_forecast
    assert {one.answer for one in done.verdicts} == {Answer.NO}


def test_weather_alone_carries_no_forecast() -> None:
    assert not audit(folder("nyc_weather")).carries_a_forecast


def test_a_day_of_positions_without_event_times_is_refused_with_its_columns() -> None:
    with pytest.raises(SourceError, match=r"no adapter knows .*service_duration"):
        audit(folder("amazon_depot_day"))
