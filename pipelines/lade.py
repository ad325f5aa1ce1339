"""The LaDe harness: one city's published file, split by date, judged by the published protocol or by an honest one.

Both modes train on the first four fifths of the dates (the published split's training and validation parts, since
calibration needs days too) and judge on the last fifth, at seeded instants of each courier's day.

- *compat* follows the published code: only stops that were reached within 120 minutes count, in training and in the
  test, and the error is averaged over samples. Whether a stop is reached within 120 minutes is known afterwards, so
  that nobody can forecast for just these.
- *honest* leaves nothing out by its label and pools the error. Encodings come from training dates, and from outcomes
  of the test only once they were received.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from data_contracts.errors import SourceError
from pipelines.backtest import Backtest, Say, judge, of_routes
from pipelines.sources.lade import Lade
from pipelines.sources.source import Loaded
from training.boosters import BoosterSettings
from training.dataset import Dataset
from training.instants import Instants
from training.published import LADE_LONGEST_MIN, Protocol, lade_figures

TRAINING_SHARE = 0.8
INSTANTS_PER_ROUTE = 10


class LadeAtEachStop(Lade):
    """LaDe, asked about at each completion, as its task is defined."""

    instants = Instants.AT_EACH_STOP


@dataclass(frozen=True, slots=True, kw_only=True)
class LadeResult:
    """The figures of the protocol, and the whole backtest behind them."""

    figures: dict[str, Any]
    backtest: Backtest


def judge_lade(
    paths: Sequence[Path],
    protocol: Protocol,
    *,
    folder: Path | None = None,
    settings: BoosterSettings | None = None,
    say: Say | None = None,
) -> LadeResult:
    """Split, train and judge; the published figures stand under ``lade`` in the document."""
    source = LadeAtEachStop()
    past, test = split_by_date(source.load(paths), TRAINING_SHARE)
    done = judge(
        source,
        past,
        test,
        folder=folder,
        settings=settings,
        say=say,
        per_route=INSTANTS_PER_ROUTE,
        keep=within_two_hours if protocol is Protocol.COMPAT else None,
    )
    rows = done.rows.test.where(np.isfinite(done.rows.test.arrival_s))
    eta_s = done.forecaster.forecast(rows.vectors).at((0.5,))[:, 0]
    published = lade_figures(rows.arrival_s, eta_s, samples(rows))
    return LadeResult(
        figures=done.figures | {"lade": {"protocol": protocol.value, **published}}, backtest=done
    )


def within_two_hours(rows: Dataset) -> NDArray[np.bool_]:
    """Rows that the published protocol keeps, by what came of them."""
    return (rows.arrival_s > 0) & (rows.arrival_s <= LADE_LONGEST_MIN * 60.0)


def samples(rows: Dataset) -> NDArray[np.int64]:
    """Number of the courier's route and instant that each row belongs to."""
    keys = rows.rows.select(pl.struct("route_id", "as_of_us").rank("dense").alias("sample"))
    return keys["sample"].to_numpy().astype(np.int64)


def split_by_date(loaded: Loaded, share: float) -> tuple[Loaded, Loaded]:
    """The first dates with this share of all dates, and the rest.

    Raises
    ------
    SourceError
        when there are fewer than five dates
    """
    routes = pl.DataFrame(loaded.tables["routes"]).select("route_id", "service_date")
    dates = routes["service_date"].unique().sort()
    if len(dates) < 5:
        raise SourceError(
            f"holds {len(dates)} dates, and a fifth of them would be judged",
            next_step="name a whole city's file",
        )
    first_test = dates[round(len(dates) * share)]
    early = routes.filter(pl.col("service_date") < first_test)["route_id"].to_list()
    late = routes.filter(pl.col("service_date") >= first_test)["route_id"].to_list()
    past, test = of_routes(loaded.tables, early), of_routes(loaded.tables, late)
    return Loaded(past, unreadable=loaded.unreadable), Loaded(test)
