"""Backtest a source: the same contracts, features, training and calibration as live, on files that stand apart."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_contracts.errors import SourceError
from data_contracts.workspace import Workspace
from features import feast_repo
from pipelines.history import build_features, landed_history
from pipelines.land import LandReport, land
from pipelines.sources.source import Source
from training.boosters import BoosterSettings
from training.dataset import build, instants
from training.evaluation import evaluate, split
from training.forecaster import train

Say = Callable[[str], None]
SEED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Backtest:
    """The figures of a backtest, and what landed of its files."""

    figures: dict[str, Any]
    landed: tuple[LandReport, ...]


def backtest(
    source: Source,
    train_paths: Sequence[Path],
    test_paths: Sequence[Path],
    *,
    weather: Path | None = None,
    workspace: Workspace | None = None,
    settings: BoosterSettings | None = None,
    say: Say | None = None,
) -> Backtest:
    """Train on some files and judge on others.

    Without a ``workspace`` everything is built in a temporary folder and removed again.
    """
    if workspace is not None:
        return _run(workspace, source, train_paths, test_paths, weather, settings, say)
    with tempfile.TemporaryDirectory(prefix="punctual-backtest-") as folder:
        return _run(Workspace(Path(folder)), source, train_paths, test_paths, weather, settings, say)


def _run(
    workspace: Workspace,
    source: Source,
    train_paths: Sequence[Path],
    test_paths: Sequence[Path],
    weather: Path | None,
    settings: BoosterSettings | None,
    say: Say | None,
) -> Backtest:
    tell = say or (lambda _: None)
    tell("reading sources")
    test = source.load(test_paths, weather)
    past = source.load(train_paths, None)
    _refuse_overlap(past.tables["stops"]["stop_id"].to_pylist(), test.tables["stops"]["stop_id"].to_pylist())
    tell("checking contracts")
    reports = (land(workspace, past.tables, "train"), land(workspace, test.tables, "test"))
    ordered = landed_history(workspace)
    build_features(workspace, ordered, tell)
    store = feast_repo.open_store(workspace)
    asked = instants(ordered, source.instants, seed=SEED)
    rows = build(store, ordered, asked, tell)
    tested = rows.rows["stop_id"].is_in(test.tables["stops"]["stop_id"].to_pylist()).to_numpy()
    parts = split(rows.where(~tested), rows.where(tested))
    tell("training")
    forecaster, _ = train(parts.train, name="punctual-eta", version="backtest", settings=settings)
    excluded = test.excluded + Counter({f"train_{reason}": n for reason, n in past.excluded.items()})
    excluded += _quarantined(reports)
    return Backtest(figures=evaluate(source.name, forecaster, parts, excluded, tell), landed=reports)


def _refuse_overlap(train_stops: Sequence[str], test_stops: Sequence[str]) -> None:
    shared = np.intersect1d(np.array(train_stops), np.array(test_stops))
    if len(shared):
        raise SourceError(
            f"{len(shared)} stops stand in both --train and --test (first: {shared[0]})",
            where="--test",
            next_step="name files that do not overlap",
        )


def _quarantined(reports: Sequence[LandReport]) -> Counter[str]:
    return Counter({f"quarantined_{t.table}": t.bad for report in reports for t in report.tables if t.bad})
