"""What alerts would have been worth on days that nothing was chosen on, by the evaluation contract.

Thresholds are chosen on the last service days of the training files, with a forecaster that has not seen them;
figures are made on the test days with the forecaster of all training days.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from data_contracts.errors import SourceError
from pipelines.alert_stream import AlertStream, Moment, PathMaker, outcomes_of
from pipelines.sources.source import History, Source
from serving.decisions.alerts import AlertPolicy
from serving.engine.rounds import EngineSettings
from serving.rehearsals.alert_evaluation import SHORTEST_LEAD_MIN, StopOutcome, alert_figures
from serving.rehearsals.alert_thresholds import (
    BUDGET,
    MOST_LEADS_MIN,
    PRECISION,
    Paths,
    Proposal,
    late_spans,
    predictions,
    propose,
    raw_spans,
    sweep,
    ticks_above,
    tried,
)
from serving.rehearsals.rehearsal import Rehearsal
from training.baselines import Lookup
from training.boosters import BoosterSettings
from training.dataset import Dataset, outcomes
from training.evaluation import Split
from training.forecaster import DeliveryForecaster, train
from training.instants import Instants

Say = Callable[[str], None]
Frames = Mapping[str, pl.DataFrame]
MOST_VALIDATION_DAYS = 7
#: On a line of short legs less lead is asked for.
LEAD_AT_EACH_ARRIVAL_MIN = 5.0
MOST_LEADS_AT_EACH_ARRIVAL_MIN = (None, 60.0, 30.0, 20.0, 15.0, 10.0)
LOOKUP_LEVELS = tuple(round(0.05 * step, 2) for step in range(1, 20))
PROPOSED_BUDGETS = (0.05, 0.10, 0.15, 0.20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The risks of some days by our forecaster and by the lookup, and what became of the stops."""

    ours: Paths
    lookup: Paths
    outcomes: dict[str, StopOutcome]
    rehearsal: Rehearsal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertGoal:
    """What a threshold is chosen for: at most so many stops flagged, and right at least so often.

    budget, precision : shares
    """

    budget: float = BUDGET
    precision: float = PRECISION

    def __post_init__(self) -> None:
        if not (0 < self.budget <= 1 and 0 < self.precision <= 1):
            raise ValueError("the budget and the precision of alerts are shares: over 0, and at most 1")


@dataclass(slots=True, kw_only=True)
class AlertBacktest:
    """Alerts of one source.

    past, ordered : the history that training rows are of, and the one that test rows are of; often the same
    """

    source: Source
    past: Frames
    ordered: Frames
    rows: Split
    settings: BoosterSettings | None = None
    say: Say = print
    goal: AlertGoal = field(default_factory=AlertGoal)
    policy: AlertPolicy = field(default_factory=AlertPolicy)

    def __post_init__(self) -> None:
        self.policy = replace(self.policy, least_lead_s=60.0 * self.lead_min)

    @property
    def is_short(self) -> bool:
        """Whether it is a line of short legs, looked at when something happens."""
        return self.source.instants in (Instants.AT_EACH_ARRIVAL, Instants.AT_EACH_STOP)

    @property
    def lead_min(self) -> float:
        """Less lead than this counts as a miss."""
        return LEAD_AT_EACH_ARRIVAL_MIN if self.is_short else SHORTEST_LEAD_MIN

    def figures(self, forecaster: DeliveryForecaster) -> dict[str, Any]:
        """The block ``alerts`` of the evaluation contract."""
        early, late = self._validation()
        self.say("thresholds: training")
        chooser = train(
            self.rows.train.where(early), name="punctual-eta", version="chooser", settings=self.settings
        )
        self.say("thresholds: validation days")
        held = _days(self.rows.train.where(late))
        chosen = self.run(chooser, self.past, self.rows.train.where(early), held, None)
        swept = {name: self._tried(paths, chosen.outcomes) for name, paths in _both(chosen)}
        goals = {name: self._propose(rows, self.goal.budget) for name, rows in swept.items()}
        policies = {name: proposal.policy(self.policy) for name, proposal in goals.items()}
        self.say("alerts of the test days")
        ours, theirs = policies["ours"], policies["lookup"]
        tested = self.run(forecaster, self.ordered, self.rows.train, _days(self.rows.test), ours)
        return self._told(tested, ours) | {
            "proposal": goals["ours"].document(),
            "proposed": {
                f"{budget:g}": self._propose(swept["ours"], budget).document() for budget in PROPOSED_BUDGETS
            },
            "validation": self._sweep(chosen.ours, chosen.outcomes, ours),
            "curve": self._sweep(tested.ours, tested.outcomes, ours),
            "lookup": self._at(tested.lookup, tested.outcomes, theirs)
            | {"proposal": goals["lookup"].document()}
            | {"curve": self._sweep(tested.lookup, tested.outcomes, theirs)},
        }

    def run(
        self,
        forecaster: DeliveryForecaster,
        ordered: Frames,
        seen: Dataset,
        days: frozenset[str],
        policy: AlertPolicy | None,
    ) -> Run:
        """The risks of some days; with a policy, its alerts and incidents too."""
        promise_end_us = promises(ordered, seen)
        stream = AlertStream(
            ordered=ordered,
            forecaster=forecaster,
            promise_end_us=promise_end_us,
            days=days,
            instants=self.source.instants,
        )
        lookup = Lookup.fit(seen, LOOKUP_LEVELS)
        ours, theirs = PathMaker(_ours), PathMaker(LookedUp(lookup))
        rehearsal = Rehearsal(stream.features, EngineSettings(alerts=policy)) if policy else None
        for moment in stream.moments():
            ours.add(moment)
            theirs.add(moment)
            if rehearsal is not None:
                rehearsal.tick(moment.risks, moment.live_route_ids)
        known = outcomes_of(ordered, promise_end_us, days)
        asked = {stop_id: each for stop_id, each in known.items() if stop_id in ours.asked}
        return Run(ours=ours.paths(), lookup=theirs.paths(), outcomes=asked, rehearsal=rehearsal)

    def _validation(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Training rows of the days that the chooser learns of, and of those that thresholds are chosen on."""
        days = np.unique(self.rows.train.days)
        held = min(MOST_VALIDATION_DAYS, max(1, len(days) // 4))
        late = np.isin(self.rows.train.days, days[-held:])
        return ~late, late

    def _propose(self, swept: Sequence[Mapping[str, Any]], budget: float) -> Proposal:
        return propose(swept, budget, self.goal.precision)

    def _tried(self, paths: Paths, known: Mapping[str, StopOutcome]) -> list[dict[str, Any]]:
        most = MOST_LEADS_AT_EACH_ARRIVAL_MIN if self.is_short else MOST_LEADS_MIN
        holds_s = sorted({0.0, self.policy.hold_s})
        return tried(paths, known, self.policy, most_leads_min=most, holds_s=holds_s, lead_min=self.lead_min)

    def _sweep(
        self, paths: Paths, known: Mapping[str, StopOutcome], policy: AlertPolicy
    ) -> list[dict[str, Any]]:
        return sweep(paths, known, policy, lead_min=self.lead_min)

    def _at(self, paths: Paths, known: Mapping[str, StopOutcome], policy: AlertPolicy) -> dict[str, Any]:
        spans = predictions(late_spans(paths, known, policy))
        return {"open_at": policy.open_at} | alert_figures(spans, list(known.values()), self.lead_min)

    def _told(self, run: Run, policy: AlertPolicy) -> dict[str, Any]:
        """The headline: the engine's own run over the test days, beside a raw threshold."""
        assert run.rehearsal is not None
        known, rehearsal = list(run.outcomes.values()), run.rehearsal
        spans = rehearsal.spans()
        raw = raw_spans(run.ours, run.outcomes, policy.open_at)
        told = dict(rehearsal.told)
        incidents = sum(incident.told_us is not None for incident in rehearsal.incidents.values())
        opened = told.get("disruption.opened", 0)
        messages = opened + told.get("stop.delay.predicted", 0) + told.get("stop.delay.updated", 0)
        per_tick = ticks_above(run.ours, run.outcomes, policy.open_at)
        return {
            "open_at": policy.open_at,
            "close_below": policy.close_below,
            **alert_figures(predictions(spans), known, self.lead_min),
            "with_broken_windows": alert_figures(spans, known, self.lead_min),
            "raw_threshold": alert_figures(raw, known, self.lead_min) | {"messages_per_tick": per_tick},
            "incidents": incidents,
            "events": told,
            "notifications_per_incident": messages / incidents if incidents else None,
            "fewer_messages_to_operators": _fewer(opened, len(raw)),
            "fewer_messages_in_all": _fewer(messages, len(raw)),
            "fewer_messages_in_all_than_per_tick": _fewer(messages, per_tick),
        }


def refuse_without_order(source: Source) -> None:
    """Alerts follow events in their order.

    Raises
    ------
    SourceError
        when a source does not say when its outcomes were known
    """
    if source.history is not History.LIVE:
        raise SourceError(
            f"{source.name} does not say when outcomes were known, so that no alert can be replayed",
            where="--alerts",
            next_step="leave --alerts out, or name a source with live outcomes",
        )


def promises(ordered: Frames, seen: Dataset) -> dict[str, int]:
    """End of the first promise of each stop; without one, departure and the training q80 of its place and hour."""
    known = outcomes(ordered).select("stop_id", "route_id", "promise_end_us")
    told = known.filter(pl.col("promise_end_us").is_not_null())
    if len(told):
        return dict(told.select("stop_id", "promise_end_us").iter_rows())
    left = (
        ordered["stop_events"]
        .filter(pl.col("kind") == "departed_depot")
        .group_by("route_id")
        .agg(left_us=pl.col("occurred_at").min())
    )
    arrived = outcomes(ordered).select("stop_id", "arrived_us")
    zones = ordered["stops"].group_by("stop_id").agg(pl.col("zone_id").last())
    clocks = ordered["routes"].group_by("route_id").agg(pl.col("timezone").last())
    trips = _with_local_hour(
        known.join(left, on="route_id")
        .join(clocks, on="route_id")
        .join(zones, on="stop_id")
        .join(arrived, on="stop_id")
    )
    trained = trips.filter(pl.col("stop_id").is_in(pl.Series(seen.vectors.stop_ids).unique().implode()))
    took = trained.with_columns(took_us=pl.col("arrived_us") - pl.col("left_us"))
    by_hour = _q80(took, "zone_id", "hour").rename({"q80": "by_hour"})
    by_place = _q80(took, "zone_id").rename({"q80": "by_place"})
    found = trips.join(by_hour, on=["zone_id", "hour"], how="left").join(by_place, on="zone_id", how="left")
    ends = found.with_columns(
        end_us=pl.col("left_us") + pl.coalesce("by_hour", "by_place").cast(pl.Int64)
    ).drop_nulls("end_us")
    return dict(ends.select("stop_id", "end_us").iter_rows())


def _with_local_hour(trips: pl.DataFrame) -> pl.DataFrame:
    """With the hour of the departure on the route's own clock."""
    left = pl.from_epoch("left_us", "us").dt.replace_time_zone("UTC")
    return pl.concat(
        of_clock.with_columns(hour=left.dt.convert_time_zone(clock).dt.hour())
        for (clock,), of_clock in trips.partition_by("timezone", as_dict=True).items()
    )


def _q80(trips: pl.DataFrame, *keys: str) -> pl.DataFrame:
    grouped = trips.group_by(keys).agg(pl.len(), q80=pl.col("took_us").quantile(0.8, "linear"))
    return grouped.filter(pl.col("len") >= 10).drop("len")


def _ours(moment: Moment) -> NDArray[np.float64]:
    return moment.risks.late_probability


@dataclass(slots=True)
class LookedUp:
    """Late probability by the lookup's quantiles, straight between them; 5 and 95 % beyond."""

    lookup: Lookup
    _known: dict[tuple[str | None, str | None, int], NDArray[np.float64]] = field(default_factory=dict)

    def __call__(self, moment: Moment) -> NDArray[np.float64]:
        keys = list(zip(moment.here_zone_ids, moment.zone_ids, moment.hours.tolist(), strict=True))
        if new := [key for key in dict.fromkeys(keys) if key not in self._known]:
            schema = {"here_zone_id": pl.String, "zone_id": pl.String, "hour": pl.Int64}
            found = self.lookup.look_up(pl.DataFrame(new, schema=schema, orient="row"))
            self._known |= dict(zip(new, found, strict=True))
        deadline_s = (moment.risks.promise_end_us - moment.risks.as_of_us) / 1e6
        rows = zip(deadline_s, keys, strict=True)
        return np.array([1.0 - np.interp(at_s, self._known[key], LOOKUP_LEVELS) for at_s, key in rows])


def _both(run: Run) -> Sequence[tuple[str, Paths]]:
    return (("ours", run.ours), ("lookup", run.lookup))


def _days(rows: Dataset) -> frozenset[str]:
    return frozenset(np.unique(rows.days).tolist())


def _fewer(messages: int, raw: int) -> float | None:
    return 1.0 - messages / raw if raw else None
