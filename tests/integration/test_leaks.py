"""Nothing of the future is in a training row: through Feast's point-in-time retrieval, for every column there is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from data_contracts.workspace import Workspace
from features import feast_repo
from pipelines.history import build_features
from tests.builders import HOUR_US, city_history
from training.dataset import Dataset, build, instants
from training.evaluation import split
from training.instants import Instants

pytestmark = pytest.mark.slow
Frames = dict[str, pl.DataFrame]
#: What says who and when; everything else of a row that is received later may be anything.
KEPT = (
    *("event_id", "seq", "occurred_at", "received_at", "valid_at", "issued_at", "kind", "status", "timezone"),
    *("promised_start_at", "promised_end_at", "planned_arrival_at", "planned_departure_at", "service_date"),
    *("plan_version", "sequence", "promise_version"),
)


@pytest.fixture(scope="module")
def history() -> Frames:
    return dict(city_history(2))


def rows_until(folder: Path, history: Frames, asked: pl.DataFrame) -> Dataset:
    workspace = Workspace(folder)
    build_features(workspace, history)
    return build(feast_repo.open_store(workspace), history, asked)


def cut(history: Frames) -> int:
    """Noon of the second day: tours are under way."""
    first_us = int(history["stop_events"]["received_at"].min())  # type: ignore[arg-type]
    return first_us + 28 * HOUR_US


def poisoned(history: Frames, at_us: int, absurd: float) -> Frames:
    """Every number that is received after an instant is absurd."""
    found = {}
    for name, frame in history.items():
        later = pl.col("received_at") > at_us
        numbers = [
            pl.when(later).then(pl.lit(absurd).cast(dtype)).otherwise(pl.col(column)).alias(column)
            for column, dtype in frame.schema.items()
            if dtype.is_numeric() and column not in KEPT and not column.endswith("_at")
        ]
        found[name] = frame.with_columns(numbers)
    return found


@pytest.fixture(scope="module")
def asked(history: Frames) -> pl.DataFrame:
    """Instants before the cut of stops whose outcome came after it, and of others."""
    return instants(history, Instants.ALONG_ROUTE, seed=3, per_route=6).filter(
        pl.col("as_of_us") <= cut(history)
    )


@pytest.fixture(scope="module")
def honest(history: Frames, asked: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return rows_until(tmp_path_factory.mktemp("honest"), history, asked)


def test_absurd_values_of_the_future_move_no_vector(
    history: Frames, asked: pl.DataFrame, honest: Dataset, tmp_path: Path
) -> None:
    twin = rows_until(tmp_path, poisoned(history, cut(history), 77.0), asked)
    assert len(twin) == len(honest) > 100
    assert np.array_equal(twin.vectors.matrix, honest.vectors.matrix, equal_nan=True)
    assert np.array_equal(twin.vectors.base_s, honest.vectors.base_s)


def test_the_same_poison_before_the_instants_is_seen(
    history: Frames, asked: pl.DataFrame, honest: Dataset, tmp_path: Path
) -> None:
    """The test above could not fail if poison went nowhere."""
    twin = rows_until(tmp_path, poisoned(history, 0, 77.0), asked)
    assert not np.array_equal(twin.vectors.matrix, honest.vectors.matrix, equal_nan=True)


def test_a_history_that_ends_at_the_cut_gives_the_same_vectors(
    history: Frames, asked: pl.DataFrame, honest: Dataset, tmp_path: Path
) -> None:
    short = {name: frame.filter(pl.col("received_at") <= cut(history)) for name, frame in history.items()}
    workspace = Workspace(tmp_path)
    build_features(workspace, short)
    twin = build(feast_repo.open_store(workspace), short, asked)
    assert np.array_equal(twin.vectors.matrix, honest.vectors.matrix, equal_nan=True)


def test_no_route_day_is_on_both_sides_of_a_split(history: Frames, tmp_path: Path) -> None:
    every = instants(history, Instants.ALONG_ROUTE, seed=3, per_route=4)
    rows = rows_until(tmp_path, history, every)
    parts = split(rows, rows.where(rows.days == max(rows.days)))
    assert len(parts.train) > 50 and len(parts.test) > 50
    assert not set(parts.train.days) & set(parts.test.days)
    assert not set(parts.train.rows["route_id"]) & set(parts.test.rows["route_id"])
    assert parts.train.outcome_known_us.max() < parts.test.vectors.as_of_us.min()
