"""Train a challenger on a workspace's history, judge it on its last days, and hand it over if it passes the gate."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import polars as pl

from data_contracts import __version__
from data_contracts.errors import NoTrainingRowsError
from data_contracts.workspace import Workspace
from features import feast_repo
from features.vectors import feature_set_hash
from training.baselines import Lookup
from training.boosters import BoosterSettings
from training.dataset import Dataset, build, instants
from training.evaluation import Split, evaluate, split
from training.forecaster import DeliveryForecaster, train
from training.gate import Comparison, compare
from training.instants import Instants
from training.quantiles import QUANTILE_LEVELS
from training.registry import PASSED, Registry, Version
from training.report import report

Say = Callable[[str], None]
MODEL_NAME = "punctual-eta"
SEED = 20
LOOKUP = "lookup"
#: What of the figures is a document and no metric.
DOCUMENTS = ("coverage_by_group", "slices", "curves", "intervals_95")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """How much is trained on and judged on.

    instants_per_route : how many instants of each route training looks at
    held_out_days : the last service days, which only the gate sees
    """

    held_out_days: int = 4
    instants_per_route: int = 10
    boosters: BoosterSettings = field(default_factory=BoosterSettings)
    refresh: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A registered challenger, its figures on the held-out days, and what the gate said."""

    version: Version
    figures: dict[str, Any]
    comparison: Comparison
    promoted: bool


def train_challenger(
    workspace: Workspace,
    ordered: Mapping[str, pl.DataFrame],
    *,
    policy: Instants = Instants.ALONG_ROUTE,
    plan: TrainingPlan | None = None,
    promote: bool = True,
    say: Say | None = None,
) -> Trained:
    """Train, evaluate, register and, where the gate allows, promote."""
    tell, plan = say or (lambda _: None), plan or TrainingPlan()
    asked = instants(ordered, policy, seed=SEED, per_route=plan.instants_per_route)
    rows = build(feast_repo.open_store(workspace), ordered, asked, tell)
    parts = split_last_days(rows, plan.held_out_days)
    tell("training")
    forecaster = train(parts.train, name=MODEL_NAME, version="challenger", settings=plan.boosters)
    figures = evaluate("held-out days", forecaster, parts, Counter(), tell)
    tell("gate and registry")
    registry = Registry(workspace)
    comparison = _judge(workspace, registry.champion(), forecaster, parts, plan.refresh)
    version = registry.register(
        forecaster,
        parts.test.vectors,
        parameters=asdict(plan.boosters)
        | {
            "rows": len(parts.train),
            "code_version": __version__,
            "feature_set_hash": feature_set_hash(),
            "data_hash": data_hash(ordered),
            "held_out_days": plan.held_out_days,
        },
        metrics=flat(figures),
        documents={"figures": figures, "gate": comparison.as_json()},
        gate=PASSED if comparison.verdict.passed else comparison.verdict.value,
        report=report("Held-out days", figures),
    )
    if promote and comparison.verdict.passed:
        registry.promote(version.version)
    return Trained(
        version=version,
        figures=figures,
        comparison=comparison,
        promoted=promote and comparison.verdict.passed,
    )


def split_last_days(rows: Dataset, held_out_days: int) -> Split:
    """The last service days apart.

    Raises
    ------
    NoTrainingRowsError
        when the history is too short to keep days apart
    """
    days = np.unique(rows.days)
    if len(days) <= held_out_days:
        raise NoTrainingRowsError(
            f"the history has {len(days)} service days, {held_out_days} of them would be held out",
            next_step="land more days, or hold out fewer",
        )
    held_out = np.isin(rows.days, days[-held_out_days:])
    return split(rows.where(~held_out), rows.where(held_out))


def _judge(
    workspace: Workspace,
    champion: str | None,
    challenger: DeliveryForecaster,
    parts: Split,
    refresh: bool,
) -> Comparison:
    """Against the champion on the same rows; without one, against the lookup."""
    test = parts.test.where(np.isfinite(parts.test.arrival_s))
    ours = challenger.forecast(test.vectors).quantiles_s
    if champion is None:
        theirs, name = Lookup.fit(parts.train, QUANTILE_LEVELS).predict(test), LOOKUP
    else:
        incumbent = DeliveryForecaster.load(workspace.models / champion)
        theirs, name = incumbent.forecast(test.vectors).quantiles_s, f"version {champion}"
    return compare(test.arrival_s, ours, theirs, test.clusters, incumbent=name, refresh=refresh)


def data_hash(ordered: Mapping[str, pl.DataFrame]) -> str:
    """Identifies the rows that were trained on."""
    digest = hashlib.sha256()
    for name, frame in sorted(ordered.items()):
        rows = frame.select(pl.struct("event_id", "received_at").hash(0).sum()).item() if len(frame) else 0
        digest.update(f"{name}:{len(frame)}:{rows}".encode())
    return digest.hexdigest()[:16]


def flat(figures: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Every number of a nested document, by dotted name; groups and curves are documents, not metrics."""
    numbers: dict[str, float] = {}
    for name, value in figures.items():
        if isinstance(value, Mapping) and name not in DOCUMENTS:
            numbers |= flat(value, f"{prefix}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            numbers[f"{prefix}{name}"] = float(value)
    return numbers
