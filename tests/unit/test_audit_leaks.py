"""Label leaks on made-up trips: what was written down too late is named, and what was planned is not."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from pipelines.audit.leaks import Judged, Sign, find_leaks
from pipelines.audit.raw import RawForecasts
from pipelines.audit.raw_columns import as_numbers

ROWS = 3_000


def make_trips(rows: int = ROWS, **more: pl.Series) -> RawForecasts:
    """Trips between two known places at 20 km/h, with a third of noise; asked about at the pick-up."""
    random = np.random.default_rng(1)
    lat, lon, to_lat, to_lon = (random.uniform(0, 0.1, rows) for _ in range(4))
    km = 111.2 * np.hypot(to_lat - lat, to_lon - lon)
    minutes = (5 + 3 * km) * np.exp(random.normal(0, 0.3, rows))
    start = datetime(2026, 3, 2, 8)  # noqa: DTZ001 - a clock time of the fleet
    asked = [start + timedelta(days=number % 20, minutes=number % 300) for number in range(rows)]
    frame = pl.DataFrame(
        {
            "asked at": asked,
            "minutes": minutes,
            "day": [f"{instant:%Y-%m-%d}" for instant in asked],
            "line": [f"L{number % 4}" for number in range(rows)],
            "from lat": lat,
            "from lon": lon,
            "to lat": to_lat,
            "to lon": to_lon,
        }
    )
    return RawForecasts(
        frame=frame.with_columns(**more),
        label="minutes",
        as_of="asked at",
        known=("line", "from lat", "from lon", "to lat", "to lon"),
        outcomes=(),
        fold_by="day",
        within=((), ("line",)),
        ends=("from lat", "from lon", "to lat", "to lon"),
    )


def judge(name: str, cells: pl.Series, raw: RawForecasts | None = None) -> Judged:
    raw = raw or make_trips()
    (found,) = find_leaks(replace(raw, frame=raw.frame.with_columns(cells.alias(name))))
    assert found.column == name
    return found


def make_noise(scale: float, seed: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, scale, ROWS)


def test_the_distance_driven_in_truth_is_named() -> None:
    minutes = make_trips().frame["minutes"].to_numpy()
    found = judge("driven_km", pl.Series(minutes / 3 * np.exp(make_noise(0.1))))
    assert found.sign is Sign.CUTS_THE_ERROR
    assert found.error_cut is not None
    assert found.error_cut > 0.4


def test_a_planned_distance_is_not_named_though_nobody_declared_it() -> None:
    frame = make_trips().frame
    km = 111.2 * np.hypot(frame["to lat"] - frame["from lat"], frame["to lon"] - frame["from lon"])
    found = judge("planned_km", pl.Series(1.3 * km + make_noise(0.2)))
    assert found.sign is Sign.NONE
    assert found.error_cut is not None
    assert found.error_cut < 0.1


def test_a_flag_derived_from_the_label_is_found_within_its_groups() -> None:
    """A slow tenth of each line is called rainy; the lines differ so much that no one threshold fits all."""
    raw = make_trips()
    scale = pl.col("line").str.slice(1).cast(pl.Float64) * 200 + 1
    raw = replace(raw, frame=raw.frame.with_columns(minutes=pl.col("minutes") * scale))
    slow = raw.frame.select(pl.col("minutes") > pl.col("minutes").quantile(0.98).over("line")).to_series()
    found = judge("weather", slow.cast(pl.Int64).cast(pl.String), raw)
    assert found.sign is Sign.IS_DETERMINED
    assert (found.auc, found.within) == (1.0, ("line",))


def test_real_weather_is_not_named_though_it_slows_trips() -> None:
    raw = make_trips()
    rain = np.random.default_rng(5).random(ROWS) < 0.2
    raw = replace(raw, frame=raw.frame.with_columns(minutes=pl.col("minutes") * (1 + 0.15 * pl.Series(rain))))
    assert judge("weather", pl.Series(rain), raw).sign is Sign.NONE


def test_the_clock_time_of_arrival_is_named() -> None:
    frame = make_trips().frame
    arrived = frame["asked at"] + (frame["minutes"] * 60e6).cast(pl.Int64).cast(pl.Duration("us"))
    found = judge("arrived", arrived.dt.strftime("%I:%M:%S %p"))
    assert found.sign is Sign.CUTS_THE_ERROR


def test_a_column_that_only_some_rows_have_is_judged_on_them() -> None:
    minutes = make_trips().frame["minutes"]
    filled = pl.Series(np.arange(ROWS) % 4 == 0)
    found = judge("duration", pl.select(pl.when(filled).then(minutes)).to_series())
    assert found.filled_share == 0.25
    assert found.sign is Sign.CUTS_THE_ERROR


def test_a_row_number_and_a_constant_are_not_named() -> None:
    assert judge("index", pl.Series(range(ROWS))).sign is Sign.NONE
    assert judge("currency", pl.Series(["EUR"] * ROWS)).sign is Sign.NONE


def test_twenty_rows_are_too_few_to_name_anything() -> None:
    raw = make_trips(20)
    assert judge("duration", raw.frame["minutes"], raw).sign is Sign.TOO_FEW_ROWS


def test_declared_columns_and_the_outcome_are_not_judged() -> None:
    raw = make_trips()
    raw = replace(raw, known=(*raw.known, "plan"), frame=raw.frame.with_columns(plan=pl.col("minutes")))
    assert find_leaks(raw) == []


def test_one_day_of_rows_is_still_cross_validated() -> None:
    raw = make_trips()
    raw = replace(raw, frame=raw.frame.with_columns(day=pl.lit("one")))
    assert judge("duration", raw.frame["minutes"], raw).sign is Sign.CUTS_THE_ERROR


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["2026-03-02 08:10:00"], 10.0),
        (["08:05:00"], 5.0),
        (["11:58:00 PM"], -482.0),
        (["03-02 09:00:00"], 60.0),
        (["3.5"], 3.5),
        ([True], 1.0),
        ([1_772_438_460], 1.0),
    ],
)
def test_times_of_any_form_become_minutes_after_the_asking(cells: list[object], expected: float) -> None:
    asked = pl.Series([datetime(2026, 3, 2, 8)])  # noqa: DTZ001
    found = as_numbers(pl.Series(cells), asked)
    assert found is not None
    assert found.tolist() == [pytest.approx(expected)]


def test_words_are_no_numbers() -> None:
    assert as_numbers(pl.Series(["rain", "dry"]), pl.Series([datetime(2026, 3, 2)] * 2)) is None  # noqa: DTZ001
