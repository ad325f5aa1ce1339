"""Whether reasons are right, on days whose truth is known: beside each stop stands its twin without the disruption.

Asked about is every stop that a disruption made at least five minutes later, once, at one of the test's instants five
minutes or more after the first message that could tell of the disruption. A top reason is right when it names what cost
the stop most; it is told beside that how often it names anything that cost it five minutes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from data_contracts.errors import SourceError
from training.dataset import MINUTE_US, Dataset
from training.forecaster import DeliveryForecaster
from training.reasons import DEPOT, ROADS, STOPPED, WEATHER

#: What a disruption is called among the reasons.
CODES = {"storm": WEATHER, "slow_zone": ROADS, "sort_delay": DEPOT, "breakdown": STOPPED}
WORTH_MIN = 5.0
AFTER_US = 5 * MINUTE_US
SEED = 3
NOTHING = "none"


@dataclass(frozen=True, slots=True)
class Truth:
    """What a judge may see of a test: the oracle's words, what was injected, and what it cost each stop."""

    oracle: pl.DataFrame
    disruptions: pl.DataFrame
    costs: pl.DataFrame

    @classmethod
    def read(cls, folder: Path) -> Truth:
        """The days of a folder that ``punctual simulate --truth`` wrote.

        Raises
        ------
        SourceError
            when one of the tables is missing
        """
        return cls(*(_days(folder, name) for name in ("oracle", "disruptions", "costs")))


def _days(folder: Path, name: str) -> pl.DataFrame:
    found = sorted((folder / name).glob("*.parquet"))
    if not found:
        what, next_step = f"holds no {name}/*.parquet", "write it with `punctual simulate --truth`"
        raise SourceError(what, where=str(folder), next_step=next_step)
    return pl.concat([pl.read_parquet(file) for file in found])


def judged_reasons(
    truth: Truth, tables: Mapping[str, pa.Table], rows: Dataset, forecaster: DeliveryForecaster
) -> dict[str, Any] | None:
    """How often the top reason was right, beside the most frequent cause; None where nothing was disrupted."""
    asked = disrupted(truth, tables, rows)
    if not len(asked):
        return None
    places = asked["row"].to_numpy().astype(np.int64)
    every = forecaster.reasons(rows.vectors, places.tolist())
    told = [reasons[0].code if reasons else NOTHING for reasons in every]
    dearest = [CODES[cause] for cause in asked["cause"]]
    worth = [{CODES[cause] for cause in causes} for causes in asked["causes"]]
    pairs = Counter(zip(dearest, told, strict=True))
    return {
        "n": len(told),
        "disruptions": asked["disruption_id"].n_unique(),
        "right": float(np.mean([top == cause for top, cause in zip(told, dearest, strict=True)])),
        "names_one_that_cost": float(np.mean([top in some for top, some in zip(told, worth, strict=True)])),
        "majority_class": Counter(dearest).most_common(1)[0][1] / len(told),
        "by_cause": {
            cause: {top: n for (true, top), n in sorted(pairs.items()) if true == cause}
            for cause in sorted(set(dearest))
        },
    }


def disrupted(truth: Truth, tables: Mapping[str, pa.Table], rows: Dataset) -> pl.DataFrame:
    """One row of each stop that is asked about: ``row``, what cost it most, and all that cost it five minutes."""
    seen = {
        one["disruption_id"]: first_seen_us(one, tables) for one in truth.disruptions.iter_rows(named=True)
    }
    costly = truth.costs.filter(pl.col("minutes") >= WORTH_MIN).sort("minutes", descending=True)
    stops = costly.group_by("stop_id", maintain_order=True).agg(
        pl.col("disruption_id").first(), pl.col("cause").first(), causes=pl.col("cause")
    )
    stops = stops.with_columns(
        seen_us=pl.col("disruption_id").replace_strict(seen, default=None, return_dtype=pl.Int64)
    )
    return (
        rows.rows.select("stop_id", "as_of_us")
        .with_row_index("row")
        .join(stops, on="stop_id")
        .filter(pl.col("as_of_us") >= pl.col("seen_us") + AFTER_US)
        .sort(pl.struct("stop_id", "as_of_us").hash(SEED))
        .unique("stop_id", keep="first", maintain_order=True)
        .sort("row")
    )


def first_seen_us(disruption: Mapping[str, Any], tables: Mapping[str, pa.Table]) -> int | None:
    """When a message could first tell of a disruption: microseconds since the epoch, None where none did."""
    table, column, ids = _told_by(disruption)
    if table not in tables:
        return None
    at = pl.col("valid_at") if table == "weather" else pl.col("occurred_at")
    about = pl.col(column).is_in(pl.Series(ids, dtype=pl.String).implode()) & (at >= disruption["onset"])
    if table == "weather":
        about &= pl.col("kind") == "observed"
    messages = pl.DataFrame(tables[table]).filter(about)
    first = messages.select(pl.col("received_at").dt.epoch("us").min()).item()
    return None if first is None else int(first)


def _told_by(disruption: Mapping[str, Any]) -> tuple[str, str, Sequence[str]]:
    """The table that tells of a disruption, and its column and the ids of what was struck."""
    match disruption["cause"]:
        case "storm":
            return "weather", "area_id", [disruption["area_id"]]
        case "slow_zone":
            return "traffic", "zone_id", disruption["zone_ids"]
        case "sort_delay":
            return "depots", "depot_id", [disruption["depot_id"]]
        case _:
            return "pings", "vehicle_id", [disruption["vehicle_id"]]
