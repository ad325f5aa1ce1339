"""LaDe's task on made-up couriers, by both protocols, and on the published sample."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from data_contracts.errors import SourceError
from pipelines.lade import LadeAtEachStop, judge_lade, split_by_date, within_two_hours
from training.boosters import BoosterSettings
from training.published import LADE_LONGEST_MIN, Protocol, lade_figures

pytestmark = pytest.mark.end_to_end
SAMPLE = Path("../shared/data/lade_jilin_sample/delivery_jl.csv")
SMALL = BoosterSettings(trees=20)
CLOCK = "%m-%d %H:%M:%S"


def write_city(path: Path, *, days: int = 10, couriers: int = 6, stops: int = 12) -> Path:
    """Couriers who take all orders in the morning and deliver them one after the other; the last take long."""
    draw, rows = np.random.default_rng(11), []
    for day in range(days):
        start = datetime(2022, 5, 2, 8, tzinfo=UTC) + timedelta(days=day)
        for courier in range(couriers):
            at = start
            for stop in range(stops):
                at += timedelta(minutes=float(draw.gamma(4, 4 + courier)))
                rows.append(
                    {
                        "order_id": day * 10_000 + courier * 100 + stop,
                        "region_id": 1,
                        "city": "Jilin",
                        "courier_id": courier,
                        "lng": 126.5 + 0.01 * stop,
                        "lat": 43.8 + 0.002 * courier,
                        "aoi_id": stop % 5,
                        "aoi_type": 1,
                        "accept_time": start.strftime(CLOCK),
                        "accept_gps_time": start.strftime(CLOCK),
                        "accept_gps_lng": 126.5,
                        "accept_gps_lat": 43.8,
                        "delivery_time": at.strftime(CLOCK),
                        "delivery_gps_time": at.strftime(CLOCK),
                        "delivery_gps_lng": 126.5,
                        "delivery_gps_lat": 43.8,
                        "ds": int(start.strftime("%m%d")),
                    }
                )
    pl.DataFrame(rows).write_csv(path)
    return path


def test_compat_keeps_what_came_within_two_hours_and_honest_keeps_all(tmp_path: Path) -> None:
    city = write_city(tmp_path / "delivery_jl.csv")
    compat = judge_lade([city], Protocol.COMPAT, settings=SMALL)
    honest = judge_lade([city], Protocol.HONEST, settings=SMALL)
    kept = compat.backtest.rows
    assert kept.test.arrival_s.max() <= LADE_LONGEST_MIN * 60 and within_two_hours(kept.train).all()
    assert honest.backtest.rows.test.arrival_s.max() > LADE_LONGEST_MIN * 60
    assert compat.figures["n"] < honest.figures["n"]
    assert compat.figures["n_excluded"]["by_protocol"] > 0
    assert "by_protocol" not in honest.figures["n_excluded"]
    for done in (compat, honest):
        published = done.figures["lade"]
        assert published["rmse_averaged_min"] <= published["rmse_pooled_min"]
        assert published["mae_min"] == pytest.approx(done.figures["mae_min"])
        assert 0 < published["acc_20"] <= 1


def test_the_published_errors_are_weighed_by_their_sample() -> None:
    told = lade_figures(np.zeros(4), np.array([60.0, 60.0, 60.0, 30 * 60.0]), np.array([1, 1, 1, 2]))
    assert told["rmse_averaged_min"] == pytest.approx((3 * 1 + 1 * 30) / 4)
    assert told["rmse_pooled_min"] == pytest.approx(np.sqrt((3 + 900) / 4))
    assert told["acc_20"] == 0.75


def test_dates_are_never_cut_in_two(tmp_path: Path) -> None:
    past, test = split_by_date(LadeAtEachStop().load([write_city(tmp_path / "a.csv")]), 0.8)
    dates = [set(pl.DataFrame(part.tables["routes"])["service_date"]) for part in (past, test)]
    assert len(dates[0]) == 8 and len(dates[1]) == 2 and max(dates[0]) < min(dates[1])


def test_a_few_dates_are_too_few_to_be_split(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds 3 dates"):
        split_by_date(LadeAtEachStop().load([write_city(tmp_path / "a.csv", days=3)]), 0.8)


@pytest.mark.real_data
@pytest.mark.skipif(not SAMPLE.exists(), reason=f"{SAMPLE} is not there")
def test_the_published_sample_driven_on_ten_days_is_judged(tmp_path: Path) -> None:
    assert LadeAtEachStop().load([SAMPLE]).tables["stops"].num_rows == 20
    sample = pl.read_csv(SAMPLE, schema_overrides={"ds": pl.String})
    days = [f"06-{day:02d}" for day in range(1, 11)]
    times = [name for name in sample.columns if name.endswith("_time")]
    driven = pl.concat(
        [
            sample.with_columns(
                pl.col("order_id") + 10_000_000 * place,
                pl.lit(day.replace("-", "")).alias("ds"),
                *(pl.concat_str(pl.lit(f"{day} "), pl.col(name).str.tail(8)).alias(name) for name in times),
            )
            for place, day in enumerate(days)
        ]
    )
    driven.write_csv(tmp_path / "delivery_jl.csv")
    done = judge_lade([tmp_path / "delivery_jl.csv"], Protocol.HONEST, settings=SMALL)
    assert done.figures["n"] > 40 and done.figures["lade"]["protocol"] == "honest"
