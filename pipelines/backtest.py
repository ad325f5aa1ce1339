"""Backtest a source: the same contracts, features, training and calibration as live, on files that stand apart.

Where outcomes say when they were known, one history is folded and every forecast sees what had been received by
then; what is tested in another area than was trained in is another fleet, with a history of its own that begins with
the test. Where nobody says (sealed sets), an encoding of outcomes is made out of fold on training rows, from the other
folds moved before them by whole weeks, and from all training rows, frozen, on the test.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from data_contracts.errors import SourceError
from data_contracts.tables import TABLES
from data_contracts.workspace import Workspace
from features import feast_repo
from pipelines.alert_backtest import AlertBacktest, AlertGoal, refuse_without_order
from pipelines.history import build_features, landed_history
from pipelines.judged_reasons import Truth, judged_reasons
from pipelines.land import LandReport, land
from pipelines.sources.frozen import moved_before, opened
from pipelines.sources.source import History, Loaded, Source
from training.boosters import BoosterSettings
from training.dataset import Dataset, build, instants
from training.evaluation import Split, evaluate, split
from training.forecaster import DeliveryForecaster, train
from training.instants import Instants

Say = Callable[[str], None]
Tables = dict[str, pa.Table]
Frames = Mapping[str, pl.DataFrame]
SEED = 20
FOLDS = 4
#: Folders of the history of a source with live outcomes: one, or two of two fleets.
HISTORY, TRAINED, TESTED = "history", "trained", "tested"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backtest:
    """The figures of a backtest, what they were made of, and what landed of its files."""

    figures: dict[str, Any]
    rows: Split
    forecaster: DeliveryForecaster
    landed: tuple[LandReport, ...]


@dataclass(slots=True)
class _Chain:
    """Contracts, features and point-in-time rows in one folder; ``landed`` collects what became of the rows.

    per_route : at how many instants a route is looked at; all of them if None
    """

    source: Source
    folder: Path
    say: Say
    per_route: int | None = None
    beside_oracle: bool = False
    landed: list[LandReport] = field(default_factory=list)

    def rows(self, name: str, batches: Mapping[str, Tables], tested: Sequence[str] = ()) -> Dataset:
        """Every forecast that the batches allow; of stops that are tested, those that an oracle was asked for."""
        workspace = Workspace(self.folder / name)
        self.say("checking contracts")
        self.landed += [land(workspace, tables, batch) for batch, tables in batches.items() if tables]
        ordered = landed_history(workspace)
        build_features(workspace, ordered, self.say)
        asked = self._asked(ordered, tested)
        store = feast_repo.open_store(workspace)
        return build(store, ordered, asked, self.say, cluster=self.source.cluster)

    def _asked(self, ordered: Mapping[str, pl.DataFrame], tested: Sequence[str]) -> pl.DataFrame:
        asked = instants(ordered, self.source.instants, seed=SEED, per_route=self.per_route)
        if not self.beside_oracle:
            return asked
        is_tested = pl.col("stop_id").is_in(pl.Series(tested, dtype=pl.String).implode())
        quarters = instants(ordered, Instants.EACH_QUARTER, seed=SEED)
        return pl.concat([asked.filter(~is_tested), quarters.filter(is_tested)])

    def histories(self) -> tuple[Frames, Frames]:
        """What landed of the training files and of the test files, which may be one history."""
        names = (HISTORY,) if (self.folder / HISTORY).exists() else (TRAINED, TESTED)
        found = [landed_history(Workspace(self.folder / name)) for name in names]
        return found[0], found[-1]


def backtest(
    source: Source,
    train_paths: Sequence[Path],
    test_paths: Sequence[Path],
    *,
    weather: Path | None = None,
    folder: Path | None = None,
    settings: BoosterSettings | None = None,
    truth: Truth | None = None,
    per_route: int | None = None,
    say: Say | None = None,
    alerts: AlertGoal | None = None,
) -> Backtest:
    """Train on some files and judge on others; where ``alerts`` are to reach a goal, they are replayed too.

    Without a ``folder`` everything is built in a temporary one and removed again. ``per_route`` bounds at how many
    instants a route is looked at, but for a test whose ``truth`` is told: that is asked at all of its oracle's.
    """
    tell = say or (lambda _: None)
    if alerts is not None:
        refuse_without_order(source)
    tell("reading sources")
    test, past = source.load(test_paths, weather), source.load(train_paths, None)
    return judge(
        source,
        past,
        test,
        folder=folder,
        settings=settings,
        say=say,
        per_route=per_route,
        truth=truth,
        alerts=alerts,
    )


def judge(
    source: Source,
    past: Loaded,
    test: Loaded,
    *,
    folder: Path | None = None,
    settings: BoosterSettings | None = None,
    say: Say | None = None,
    per_route: int | None = None,
    keep: Callable[[Dataset], NDArray[np.bool_]] | None = None,
    truth: Truth | None = None,
    alerts: AlertGoal | None = None,
) -> Backtest:
    """Train on some tables and judge on others.

    ``keep`` says which rows a published protocol leaves, in training and in the test.
    """
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="punctual-backtest-") as made:
            place = Path(made)
            return judge(
                source,
                past,
                test,
                folder=place,
                settings=settings,
                say=say,
                per_route=per_route,
                keep=keep,
                truth=truth,
                alerts=alerts,
            )
    tell = say or (lambda _: None)
    _refuse_overlap(past.tables, test.tables)
    chain = _Chain(source, folder, tell, per_route, truth is not None)
    parts = _live(chain, past, test) if source.history is History.LIVE else _frozen(chain, past, test)
    if keep is not None:
        parts = _kept(parts, keep)
    tell("training")
    forecaster = train(parts.train, name="punctual-eta", version="backtest", settings=settings)
    excluded = test.excluded + Counter({f"train_{reason}": n for reason, n in past.excluded.items()})
    excluded += Counter({f"unreadable_{column}": n for column, n in test.unreadable.items()})
    excluded += _quarantined(chain.landed)
    oracle = None if truth is None else truth.oracle
    figures = evaluate(source.name, forecaster, parts, excluded, tell, oracle)
    if alerts is not None:
        past_history, test_history = chain.histories()
        replayed = AlertBacktest(
            source=source,
            past=past_history,
            ordered=test_history,
            rows=parts,
            settings=settings,
            say=tell,
            goal=alerts,
        )
        figures["alerts"] = replayed.figures(forecaster)
    if truth is not None:
        figures["reasons"] = judged_reasons(truth, test.tables, parts.test, forecaster)
    return Backtest(
        figures=figures,
        rows=parts,
        forecaster=forecaster,
        landed=tuple(chain.landed),
    )


def _kept(parts: Split, keep: Callable[[Dataset], NDArray[np.bool_]]) -> Split:
    """What a protocol leaves of a split, with the count of what it does not."""
    train_kept, test_kept = keep(parts.train), keep(parts.test)
    left_out = Counter(by_protocol=int((~test_kept).sum()), train_by_protocol=int((~train_kept).sum()))
    return Split(parts.train.where(train_kept), parts.test.where(test_kept), parts.excluded + left_out)


def _live(chain: _Chain, past: Loaded, test: Loaded) -> Split:
    """One history, or two of two fleets; outcomes are state from the instant at which they were received."""
    tested, before = _stop_ids(test.tables), {"context": past.context, "train": past.tables}
    if _areas(past.tables).isdisjoint(_areas(test.tables)):
        anew = {"context": test.context, "test": test.tables}
        return split(chain.rows(TRAINED, before), chain.rows(TESTED, anew, tested))
    rows = chain.rows(HISTORY, before | {"test": test.tables}, tested)
    in_test = np.isin(rows.vectors.stop_ids, tested)
    trained = np.isin(rows.vectors.stop_ids, _stop_ids(past.tables))
    return split(rows.where(trained), rows.where(in_test))


def _areas(tables: Tables) -> set[str]:
    return set(tables["routes"]["area_id"].to_pylist())


def _frozen(chain: _Chain, past: Loaded, test: Loaded) -> Split:
    """A history for each fold of training rows, and one for the test; none holds an outcome of what is asked.

    Folds are parted as the test is: single orders of known couriers where there is no calendar, else whole clusters.
    """
    undated = chain.source.history is History.UNDATED
    folds = _folds(past.tables, "route_id" if undated else chain.source.cluster)
    parts = []
    for fold in range(FOLDS):
        asked = of_routes(past.tables, [route for route, at in folds.items() if at == fold])
        taught = of_routes(past.tables, [route for route, at in folds.items() if at != fold])
        parts.append(_asked(chain, f"fold-{fold}", past.context, taught, asked))
    tested = _asked(chain, "test", past.context, past.tables, test.tables)
    trained = Dataset.concat(parts)
    if undated:
        return Split(trained, tested, Counter())
    return split(_known_as_they_happened(trained), tested)


def _asked(chain: _Chain, name: str, context: Tables, taught: Tables, asked: Tables) -> Dataset:
    """Rows of what is asked, with what is taught moved before all of it."""
    first = pl.Series(asked["stop_events"]["received_at"]).min()
    outcomes = {table: rows for table, rows in taught.items() if "route_id" in TABLES[table].names}
    before = moved_before(opened(outcomes), first)  # type: ignore[arg-type]
    rows = chain.rows(name, {"context": context, "taught": before, "asked": asked})
    return rows.where(np.isin(rows.vectors.stop_ids, _stop_ids(asked)))


def _folds(tables: Tables, cluster: str) -> dict[str, int]:
    """Fold of each route; a cluster is never cut."""
    routes = pl.DataFrame(tables["routes"]).select("route_id", pl.col(cluster).fill_null("").alias("cluster"))
    draw = routes.with_columns(fold=pl.col("cluster").hash(SEED) % FOLDS)
    return dict(draw.select("route_id", "fold").iter_rows())


def of_routes(tables: Tables, routes: Sequence[str]) -> Tables:
    """The rows of some routes; tables without routes are kept whole."""
    wanted = pl.Series("route_id", list(routes), pl.String).implode()
    frames = {name: pl.DataFrame(table) for name, table in tables.items()}
    return {
        name: frame.filter(pl.col("route_id").is_in(wanted)).to_arrow()
        if "route_id" in TABLES[name].names and "route_id" in frame.columns
        else frame.to_arrow()
        for name, frame in frames.items()
    }


def _known_as_they_happened(rows: Dataset) -> Dataset:
    """Outcomes dated by their occurrence, since nobody says when they were received."""
    happened = rows.rows["arrived_us"].fill_null(int(rows.outcome_known_us.max())).to_numpy()
    return Dataset(rows.vectors, rows.rows, rows.arrival_s, happened)


def _stop_ids(tables: Tables) -> list[str]:
    return list(tables["stops"]["stop_id"].to_pylist())


def _refuse_overlap(train_tables: Tables, test_tables: Tables) -> None:
    shared = np.intersect1d(np.array(_stop_ids(train_tables)), np.array(_stop_ids(test_tables)))
    if len(shared):
        raise SourceError(
            f"{len(shared)} stops stand in both --train and --test (first: {shared[0]})",
            where="--test",
            next_step="name files that do not overlap",
        )


def _quarantined(reports: Sequence[LandReport]) -> Counter[str]:
    return Counter({f"quarantined_{t.table}": t.bad for report in reports for t in report.tables if t.bad})
