"""Windows keep their word after the world has moved: a week of storms, a slowed district, zones never seen before.

Each seed is a small city of its own: eight days teach, one calm day passes, then the world shifts for three days.
Judged are the forecasts that are settled as the 301st to the 1,300th after the onset, as they would have been live.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from data_contracts.workspace import Workspace
from features.backfill import backfill, in_log_order
from features.feast_repo import apply, open_store
from features.live import LiveFeatures
from features.version_files import write_versions
from pipelines.simulation.actions import SlowZone
from pipelines.simulation.city import City
from pipelines.simulation.parameters import Parameters
from pipelines.simulation.world import World
from training.boosters import BoosterSettings
from training.dataset import Dataset, build, instants
from training.forecaster import sides_of_rows, train
from training.instants import Instants
from training.online import replay_online

pytestmark = pytest.mark.end_to_end

FIRST = date(2026, 1, 5)
TAUGHT, CALM, SHIFTED = 8, 1, 3
ONSET = FIRST + timedelta(days=TAUGHT + CALM)
SETTINGS = BoosterSettings(trees=60, leaves=15, min_rows_in_leaf=40)
Day = Callable[[World, date, int], dict[str, pa.Table]]
Coverage = tuple[float, float]


def plain(world: World, day: date, seed: int) -> dict[str, pa.Table]:
    return City.day(world, day, seed).run()


def stormy(world: World, day: date, seed: int) -> dict[str, pa.Table]:
    """A day on which a storm is certain to come, and another likely."""
    parameters = world.parameters
    often = parameters.disruption | {"storm": replace(parameters.disruption["storm"], rate=2.5)}
    return plain(replace(world, parameters=replace(parameters, disruption=often)), day, seed)


def slowed(world: World, day: date, seed: int) -> dict[str, pa.Table]:
    """A day on which the district of the busiest zone is at 45 % of its speed."""
    city = City.day(world, day, seed)
    stops = city.plan.place_zone[: city.plan.stops]
    zone_id = world.zone_ids[int(np.bincount(stops).argmax())]
    from_at = city.plan.start
    city.apply(SlowZone(zone_id=zone_id, factor=0.45, from_at=from_at, to_at=from_at + timedelta(hours=29)))
    return city.run()


def renamed(world: World, day: date, seed: int) -> dict[str, pa.Table]:
    """A day in zones that nobody has ever been to: every third zone and its doors under other names."""
    tables = plain(world, day, seed)
    every_third = pl.col("zone_id").str.slice(-1).is_in(["0", "3", "6", "9"])

    def moved(table: pa.Table) -> pa.Table:
        frame = pl.DataFrame(table)
        named = [
            pl.when(every_third)
            .then(pl.col("zone_id") + "-new")
            .otherwise(pl.col("zone_id"))
            .alias("zone_id")
        ]
        if "site_id" in frame.columns:
            named.append(
                pl.when(every_third)
                .then(pl.col("site_id") + "-new")
                .otherwise(pl.col("site_id"))
                .alias("site_id")
            )
        return frame.with_columns(named).to_arrow()

    return tables | {name: moved(tables[name]) for name in ("stops", "traffic")}


SHIFTS: dict[str, Day] = {"storm week": stormy, "slowed zone": slowed, "new zones": renamed}


def history(world: World, seed: int, after: Day) -> dict[str, pl.DataFrame]:
    """Every day's messages in log order, those from the onset on by ``after``."""
    gathered: dict[str, list[pl.DataFrame]] = {}
    for number in range(TAUGHT + CALM + SHIFTED):
        day = FIRST + timedelta(days=number)
        for name, table in (after if day >= ONSET else plain)(world, day, seed).items():
            frame = pl.from_arrow(table)
            assert isinstance(frame, pl.DataFrame)
            gathered.setdefault(name, []).append(frame)
    return in_log_order(
        {name: pl.concat(frames, how="vertical_relaxed") for name, frames in gathered.items()}
    )


def rows_of(ordered: Mapping[str, pl.DataFrame], folder: Path) -> Dataset:
    workspace = Workspace(folder)
    write_versions(workspace.features, backfill(ordered, LiveFeatures()))
    store = open_store(workspace)
    apply(store)
    return build(store, ordered, instants(ordered, Instants.EACH_QUARTER, seed=1, per_route=14))


def coverage(seed: int, shift: str, folder: Path) -> Coverage:
    """Coverage of the 80 % window over outcomes 301 to 1,300 after the onset, frozen and live."""
    world = World.draw(Parameters.load("small"), seed)
    rows = rows_of(history(world, seed, SHIFTS[shift]), folder)
    taught = rows.days < (FIRST + timedelta(days=TAUGHT)).isoformat()
    forecaster = train(rows.where(taught), name="shift", version="1", settings=SETTINGS)
    test = rows.where(~taught & np.isfinite(rows.arrival_s))
    raw = forecaster.raw(test.vectors)
    live = replay_online(
        forecaster.calibrator,
        raw,
        test.arrival_s,
        test.vectors.as_of_us,
        test.outcome_known_us,
        sides_of_rows(test.vectors),
    )
    after = np.flatnonzero(test.days >= ONSET.isoformat())
    judged = after[np.argsort(test.outcome_known_us[after], kind="stable")][300:1300]
    frozen = forecaster.calibrator.forecast(raw)
    return share_inside(frozen.window(0.8), test, judged), share_inside(live.window(0.8), test, judged)


def share_inside(
    window: tuple[NDArray[np.float64], NDArray[np.float64]], rows: Dataset, judged: NDArray[np.int64]
) -> float:
    start_s, end_s = (edge[judged] for edge in window)
    return float(((rows.arrival_s[judged] >= start_s) & (rows.arrival_s[judged] <= end_s)).mean())


@pytest.mark.on_demand
@pytest.mark.parametrize("shift", SHIFTS)
def test_windows_cover_what_they_promise_after_a_shift_over_twenty_seeds(shift: str, tmp_path: Path):
    found = np.array([coverage(seed, shift, tmp_path / str(seed)) for seed in range(20)])
    frozen, live = found.mean(axis=0)
    print(
        f"{shift}: coverage {live:.3f} live, {frozen:.3f} frozen; seeds {np.round(found[:, 1], 3).tolist()}"
    )
    assert live >= 0.78
