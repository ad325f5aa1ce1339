"""Days of the reference city and of perturbed ones as alerts are judged on them: histories, forecasts, truths."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from data_contracts.workspace import Workspace
from features import feast_repo
from pipelines.alert_stream import AlertStream, Frames, PathMaker, outcomes_of
from pipelines.history import build_features, landed_history
from pipelines.land import land
from pipelines.simulation.actions import Resequence
from pipelines.simulation.city import City
from pipelines.simulation.disruptions import Disruption
from pipelines.simulation.oracle import oracle_of_day, quarter_hours
from pipelines.sources import simulated
from pipelines.sources.registry import source
from serving.decisions.alerts import AlertPolicy
from serving.decisions.grouping import IncidentPolicy
from serving.decisions.incidents import Cause
from serving.decisions.promises import DeliveryWindow, Promise
from serving.engine.advice import AdvicePolicy, Adviser
from serving.engine.rounds import EngineSettings
from serving.engine.scoring import Manner
from serving.rehearsals.alert_evaluation import StopOutcome
from serving.rehearsals.alert_thresholds import Paths, RiskPath
from serving.rehearsals.incident_evaluation import TrueDisruption
from serving.rehearsals.rehearsal import Rehearsal
from training.boosters import BoosterSettings
from training.dataset import Dataset, build, instants, outcomes
from training.forecaster import DeliveryForecaster, train
from training.instants import Instants

Say = Callable[[str], None]
SEED = 3
FIRST_DAY = date(2026, 1, 5)
#: Routes are asked about from this long before they leave.
AHEAD_S = 3600.0
#: New actions are proposed once an incident.
ONCE = IncidentPolicy(actions_every_s=1e9)
#: Risks are looked at so seldom that nothing is held.
POLICY = AlertPolicy(least_lead_s=900.0, hold_s=0.0, clear_s=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Which days are for what, and how closely they are looked at.

    train_days, validation_days, test_days : of the demo city, one after the other
    state_days, own_days, judged_days : of another city: days that only fill the features' state, days that its own
        threshold is chosen on, and days that are judged
    every_s : between two looks at a route
    per_route : at how many instants a route is looked at in training
    rollouts : of the oracle
    """

    train_days: int = 16
    validation_days: int = 5
    test_days: int = 5
    state_days: int = 2
    own_days: int = 2
    judged_days: int = 2
    every_s: float = 900.0
    per_route: int | None = None
    rollouts: int = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Days:
    """Some judged days of one city, with what went before them."""

    size: str
    ordered: Frames
    first_day: date
    days: int

    @property
    def dates(self) -> list[date]:
        return [self.first_day + timedelta(days=number) for number in range(self.days)]

    @property
    def names(self) -> frozenset[str]:
        return frozenset(day.isoformat() for day in self.dates)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What a run over some days gave."""

    paths: Paths
    outcomes: dict[str, StopOutcome]
    rehearsal: Rehearsal | None


def city_history(folder: Path, size: str, days: int, say: Say) -> Frames:
    """Landed days of a city, made once."""
    workspace = Workspace(folder / size)
    if not workspace.root.exists():
        say(f"{size}: {days} days")
        for first in range(0, days, 7):
            start, some = FIRST_DAY + timedelta(days=first), min(7, days - first)
            made = list(simulated.generate(size, SEED, start, some))
            names = dict.fromkeys(name for _, tables in made for name in tables)
            joined = {n: pa.concat_tables([t[n] for _, t in made if n in t]) for n in names}
            land(workspace, joined, start.isoformat())
    return landed_history(workspace)


def rows_of(folder: Path, ordered: Frames, until: date, per_route: int | None, say: Say) -> Dataset:
    """Training rows of the demo city, up to a day."""
    workspace = Workspace(folder / "demo")
    build_features(workspace, ordered, say)
    asked = instants(ordered, Instants.ALONG_ROUTE, seed=20, per_route=per_route)
    rows = build(feast_repo.open_store(workspace), ordered, asked, say)
    return rows.where(rows.days < until.isoformat())


def forecaster(folder: Path, ordered: Frames, plan: Plan, say: Say) -> DeliveryForecaster:
    """Trained on the days before the validation days, so that it has seen neither those nor the test days."""
    place = folder / "models" / "early"
    if not place.exists():
        until = FIRST_DAY + timedelta(days=plan.train_days)
        rows = rows_of(folder, ordered, until, plan.per_route, say)
        say("training")
        made = train(rows, name="punctual-eta", version=place.name, settings=BoosterSettings())
        made.save(place, rows.vectors)
    return DeliveryForecaster.load(place)


def judge(
    model: DeliveryForecaster, days: Days, policy: AlertPolicy | None, every_s: float, say: Say
) -> Judged:
    """The risks of some days; with a policy, alerts, incidents and actions too (once an incident, for one route)."""
    known = outcomes(days.ordered).filter(pl.col("promise_end_us").is_not_null())
    ends = dict(known.select("stop_id", "promise_end_us").iter_rows())
    stream = AlertStream(
        ordered=days.ordered,
        forecaster=model,
        promise_end_us=ends,
        days=days.names,
        instants=source("simulated").instants,
        grid_s=every_s,
        ahead_s=AHEAD_S,
    )
    ours = PathMaker(lambda moment: moment.risks.late_probability)
    rehearsal = adviser = None
    if policy is not None:
        rehearsal = Rehearsal(stream.features, EngineSettings(alerts=policy, incidents=ONCE))
        adviser = Adviser(
            route_of=stream.features.book.route,
            read=stream.features.read,
            manner=Manner(forecaster=model, coverage=0.8),
            promises={stop_id: _promised(stop_id, end_us) for stop_id, end_us in ends.items()},
            alerts=policy,
            policy=AdvicePolicy(most_routes=1),
        )
    day = 0
    for moment in stream.moments():
        ours.add(moment)
        if rehearsal is not None:
            rehearsal.tick(moment.risks, moment.live_route_ids, adviser)
        if moment.risks.as_of_us // 86_400_000_000 != day:
            day = moment.risks.as_of_us // 86_400_000_000
            say(f"{days.size}: a day")
    found = outcomes_of(days.ordered, ends, days.names)
    asked = {stop_id: each for stop_id, each in found.items() if stop_id in ours.asked}
    return Judged(paths=ours.paths(), outcomes=asked, rehearsal=rehearsal)


def oracle_paths(folder: Path, days: Days, rollouts: int, say: Say) -> dict[str, RiskPath]:
    """The oracle's late risks every quarter of an hour, made once."""
    made = folder / days.size / f"oracle-{days.first_day}-{days.days}-{rollouts}.parquet"
    if not made.exists():
        found = []
        for day in days.dates:
            say(f"{days.size}: oracle of a day")
            city = opened_day(days, day)
            found += list(oracle_of_day(city, quarter_hours(city)[1:], rollouts))
        told = pl.DataFrame(pl.from_arrow(pa.concat_tables(found)))
        told.select("stop_id", "p_late", as_of_us=pl.col("as_of").dt.epoch("us")).write_parquet(made)
    return {
        stop_id: RiskPath(of_stop["as_of_us"].to_numpy(), of_stop["p_late"].to_numpy())
        for (stop_id,), of_stop in pl.read_parquet(made)
        .sort("as_of_us")
        .partition_by("stop_id", as_dict=True)
        .items()
    }


def true_disruptions(days: Days) -> list[TrueDisruption]:
    """What was injected on some days."""
    routes = days.ordered["routes"].filter(pl.col("service_date").is_in(sorted(days.names)))
    found = simulated.disruptions(days.size, SEED, days.first_day, days.days)
    return [_truth(each, routes) for each in found]


def opened_day(days: Days, day: date) -> City:
    """A running city on the evening before a day."""
    return simulated.open_day(days.size, SEED, day)


def drive(twin: City, at_us: int, action: dict[str, Any]) -> bool:
    """Drive a proposed order, as far as its stops have not begun; whether anything could be changed."""
    twin.advance(twin.instant(at_us / 1e6 - twin.plan.start.timestamp()))
    route = list(twin.plan.route_ids).index(action["route_id"])
    left = [twin.plan.stop_ids[stop] for stop in twin.to_visit(route)]
    wanted = [stop_id for stop_id in action["stop_ids"] if stop_id in set(left)]
    order = [*(stop_id for stop_id in left if stop_id not in set(wanted)), *wanted]
    if len(order) < 2 or order == left:
        return False
    twin.apply(Resequence(route_id=action["route_id"], stop_ids=tuple(order)))
    return True


def late_stops(city: City) -> int:
    """Stops that were reached, or given up unattempted, after the end of their first promise."""
    city.finish()
    promised = np.isfinite(city.promised_end_s)
    return int((city.arrived_s[: city.plan.stops][promised] > city.promised_end_s[promised]).sum())


def _promised(stop_id: str, end_us: int) -> Promise:
    window = DeliveryWindow(start_us=end_us, end_us=end_us)
    return Promise(stop_id=stop_id, route_id="", first=window, told=window)


def _truth(found: Disruption, routes: pl.DataFrame) -> TrueDisruption:
    of_vehicle = routes.filter(pl.col("vehicle_id") == (found.vehicle_id or ""))
    onset_us, end_us = (int(at.timestamp() * 1e6) for at in (found.onset, found.end))
    return TrueDisruption(
        disruption_id=found.disruption_id,
        cause=Cause(found.cause.value),
        onset_us=onset_us,
        end_us=end_us,
        area_id=found.area_id,
        zone_ids=frozenset(found.zone_ids),
        depot_id=found.depot_id,
        route_ids=frozenset(
            of_vehicle.filter(pl.col("service_date") == found.onset.date().isoformat())["route_id"].to_list()
        ),
    )
