"""A forecast stands beside an oracle's on the rows that the oracle was asked about, and on no others."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from tests.builders import MINUTE_US, make_dataset
from training.dataset import Dataset
from training.oracle import QUANTILES, Oracle, beside_oracle
from training.quantiles import GRID, QUANTILE_LEVELS, QuantileForecast


def told(rows: Dataset, quantiles_s: np.ndarray, *, before_min: int = 0) -> pl.DataFrame:
    """An oracle's table that says some quantiles of each row, asked some minutes before the row's instant."""
    as_of_us = rows.rows["as_of_us"].to_numpy()
    stamp = pl.Datetime("us", "UTC")
    at = {
        name: pl.Series(as_of_us + np.rint(quantiles_s[:, place] * 1e6).astype(np.int64)).cast(stamp)
        for place, name in enumerate(QUANTILES)
    }
    return pl.DataFrame(
        {
            "stop_id": rows.rows["stop_id"],
            "as_of": pl.Series(as_of_us - before_min * MINUTE_US).cast(stamp),
            **at,
            "mean": at["q50"],
            "p_late": np.full(len(rows), 0.25),
        }
    )


def around(rows: Dataset, spread_s: float, levels: tuple[float, ...]) -> np.ndarray:
    return rows.arrival_s[:, None] + spread_s * (np.array(levels) - 0.5)


def test_ratio_is_that_of_the_two_losses():
    rows = make_dataset(200)
    theirs = Oracle.of(told(rows, around(rows, 600.0, QUANTILE_LEVELS)), rows)
    ours = QuantileForecast(around(rows, 1200.0, tuple(GRID)), rows.arrival_s)
    late = np.zeros(len(rows))
    found = beside_oracle(theirs, rows, ours, late, late + 0.1, 0.1)
    assert (found["n"], found["n_not_asked"]) == (200, 0)
    assert found["ratio"] == pytest.approx(2.0, rel=1e-3)
    assert found["ratio_95"] == pytest.approx([2.0, 2.0], rel=1e-3)
    assert found["mae_min"] == pytest.approx(0.0, abs=1e-6)
    assert found["width_80_min"] == pytest.approx(8.0, rel=1e-3)
    assert found["late"]["brier"] == pytest.approx(0.0625) and found["ours_late"]["brier"] == pytest.approx(
        0.01
    )
    assert set(found["by_horizon"]) == set(rows.rows["horizon"].unique())


def test_oracle_is_asked_at_the_instant_or_a_little_before_and_never_after():
    rows = make_dataset(40)
    words = around(rows, 600.0, QUANTILE_LEVELS)
    for before_min, found in ((0, 40), (14, 40), (16, 0), (-1, 0)):
        theirs = Oracle.of(told(rows, words, before_min=before_min), rows)
        assert len(theirs.rows) == found
        assert theirs.quantiles_s == pytest.approx(words[theirs.rows], abs=1e-5)


def test_rows_that_the_oracle_says_nothing_of_are_counted():
    rows = make_dataset(40)
    table = told(rows, around(rows, 600.0, QUANTILE_LEVELS)).head(25)
    silent = table.with_columns(q05=pl.when(pl.int_range(25) < 5).then(None).otherwise(pl.col("q05")))
    theirs = Oracle.of(silent, rows)
    assert theirs.rows.tolist() == list(range(5, 25))
    ours = QuantileForecast(around(rows, 600.0, tuple(GRID)), rows.arrival_s)
    assert beside_oracle(theirs, rows, ours, np.zeros(40), np.zeros(40), 0.1)["n_not_asked"] == 20
    assert table["as_of"][0].astimezone(UTC) < datetime(2027, 1, 1, tzinfo=UTC)
