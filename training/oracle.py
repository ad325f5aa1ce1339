"""Figures beside those of an oracle, which knew all that could be known.

An oracle is a table of quantiles of each stop's arrival at some instants, made by whoever knows the truth. Both are
judged on the same rows: those that the oracle was asked about. A ratio of 1 cannot be beaten but by a leak.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.dataset import BEFORE_DEPARTURE, HORIZON_NAMES, MINUTE_US, Dataset
from training.intervals import ratio_interval
from training.metrics import late_figures, pinball_rows_min, point_figures, window_figures
from training.quantiles import QUANTILE_LEVELS, QuantileForecast

Float = NDArray[np.float64]
#: Columns of an oracle's table, in the order of ``QUANTILE_LEVELS``.
QUANTILES = ("q05", "q10", "q25", "q50", "q75", "q90", "q95")
#: A forecast of the evening before is made once the plan is in, some minutes after the oracle was asked.
TOLERANCE_US = 15 * MINUTE_US


@dataclass(frozen=True, slots=True)
class Oracle:
    """What an oracle said of m rows.

    rows : (m,) places of them among the rows that were asked about
    quantiles_s : (m, 7) seconds after each row's instant; mean_s : (m,)
    late : (m,) probability to be late
    """

    rows: NDArray[np.int64]
    quantiles_s: Float
    mean_s: Float
    late: Float

    @classmethod
    def of(cls, table: pl.DataFrame, rows: Dataset) -> Oracle:
        """Its words on forecasts that were made at its instants, or at most ``TOLERANCE_US`` after."""
        told = table.select(
            "stop_id",
            "p_late",
            said_us=pl.col("as_of").dt.epoch("us"),
            **{name: pl.col(name).dt.epoch("us") for name in (*QUANTILES, "mean")},
        )
        asked = rows.rows.select("stop_id", "as_of_us").with_row_index("row")
        found = asked.sort("as_of_us").join_asof(
            told.sort("said_us"),
            left_on="as_of_us",
            right_on="said_us",
            by="stop_id",
            strategy="backward",
            tolerance=TOLERANCE_US,
            check_sortedness=False,
        )
        found = found.filter(pl.all_horizontal(pl.col(*QUANTILES, "mean").is_not_null())).sort("row")
        seconds = found.select((pl.col(*QUANTILES, "mean") - pl.col("as_of_us")) / 1e6).to_numpy()
        places = found["row"].to_numpy().astype(np.int64)
        return cls(places, seconds[:, :-1], seconds[:, -1], found["p_late"].to_numpy())


def beside_oracle(
    oracle: Oracle,
    rows: Dataset,
    forecast: QuantileForecast,
    late: Float,
    late_probability: Float,
    training_rate: float,
) -> dict[str, Any]:
    """The oracle's figures, the forecast's on the same rows, and the ratio of their pinball losses."""
    at = oracle.rows
    asked = rows.take(at)
    done = np.isfinite(asked.arrival_s)
    arrival_s, horizons = asked.arrival_s[done], asked.rows["horizon"].to_numpy()[done]
    theirs_s, ours_s = oracle.quantiles_s[done], forecast.quantiles_s[at][done]
    theirs, ours = pinball_rows_min(arrival_s, theirs_s), pinball_rows_min(arrival_s, ours_s)
    median, start, end = (QUANTILE_LEVELS.index(level) for level in (0.5, 0.1, 0.9))
    return {
        "n": int(done.sum()),
        "n_not_asked": len(rows) - len(at),
        **_losses(ours, theirs),
        "ratio_95": ratio_interval(ours, theirs, asked.clusters[done]),
        **point_figures(arrival_s, theirs_s[:, median], oracle.mean_s[done]),
        **window_figures(arrival_s, theirs_s[:, start], theirs_s[:, end]),
        "by_horizon": {
            name: _losses(ours[horizons == name], theirs[horizons == name])
            for name in (*HORIZON_NAMES, BEFORE_DEPARTURE)
            if (horizons == name).any()
        },
        "late": late_figures(late[at], oracle.late, training_rate),
        "ours_late": late_figures(late[at], late_probability[at], training_rate),
    }


def _losses(ours: Float, theirs: Float) -> dict[str, float]:
    return {
        "pinball_min": float(theirs.mean()),
        "ours_pinball_min": float(ours.mean()),
        "ratio": float(ours.mean() / theirs.mean()),
    }
