"""What alerts are worth on the reference city and the perturbed ones: ``python -m benchmarks.alerts FOLDER``.

Thresholds are chosen on validation days of the demo city; figures are of later days of it and of cities that nothing
was trained on. Beside them: the oracle under the same rule, the injected disruptions, and a twin of each day in which
the proposed orders are driven.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

os.environ.setdefault("POLARS_MAX_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import polars as pl
import pyarrow as pa

from data_contracts.workspace import Workspace
from pipelines.alert_stream import AlertStream, Frames, PathMaker, outcomes_of
from pipelines.history import build_features, landed_history
from pipelines.land import land
from pipelines.simulation.actions import Resequence
from pipelines.simulation.city import END_S, City
from pipelines.simulation.disruptions import Disruption
from pipelines.simulation.oracle import oracle_of_day, quarter_hours
from pipelines.sources import simulated
from pipelines.sources.registry import source
from serving.decisions.alerts import AlertPolicy
from serving.decisions.incidents import Cause
from serving.decisions.promises import DeliveryWindow, Promise
from serving.engine.advice import AdvicePolicy, Adviser, Kind
from serving.engine.rounds import EngineSettings
from serving.engine.scoring import Manner
from serving.rehearsals.alert_evaluation import StopOutcome, alert_figures
from serving.rehearsals.alert_thresholds import (
    BUDGET,
    Paths,
    RiskPath,
    at_threshold,
    late_spans,
    predictions,
    raw_spans,
    sweep,
    threshold_for,
)
from serving.rehearsals.incident_evaluation import TrueDisruption, incident_figures
from serving.rehearsals.rehearsal import Rehearsal
from training.boosters import BoosterSettings
from training.dataset import Dataset, build, instants, outcomes
from training.forecaster import DeliveryForecaster, train
from training.instants import Instants

Say = Callable[[str], None]
SEED = 3
FIRST_DAY = date(2026, 1, 5)
TRAIN_DAYS, VALIDATION_DAYS, TEST_DAYS = 16, 5, 7
#: Of a perturbed city: days that only fill the features' state, and days that are judged.
STATE_DAYS, JUDGED_DAYS = 3, 3
#: Routes are asked about from this long before they leave.
AHEAD_S = 3600.0
QUARTER_US = 900_000_000
ORACLE_ROLLOUTS = 100
POLICY = AlertPolicy(least_lead_s=900.0)


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


def rows_of(folder: Path, ordered: Frames, until: date, say: Say) -> Dataset:
    """Training rows of the demo city, up to a day."""
    workspace = Workspace(folder / "demo")
    from features import feast_repo

    build_features(workspace, ordered, say)
    asked = instants(ordered, Instants.ALONG_ROUTE, seed=20)
    rows = build(feast_repo.open_store(workspace), ordered, asked, say)
    return rows.where(rows.days < until.isoformat())


def forecaster(folder: Path, ordered: Frames, say: Say) -> DeliveryForecaster:
    """Trained on the days before the validation days, so that it has seen neither those nor the test days."""
    place = folder / "models" / "early"
    if not place.exists():
        rows = rows_of(folder, ordered, FIRST_DAY + timedelta(days=TRAIN_DAYS), say)
        say("training")
        made, _ = train(rows, name="punctual-eta", version=place.name, settings=BoosterSettings())
        made.save(place, rows.vectors)
    return DeliveryForecaster.load(place)


def judge(model: DeliveryForecaster, days: Days, policy: AlertPolicy | None, say: Say) -> Judged:
    """The risks of some days every five minutes; with a policy, alerts, incidents and actions too."""
    known = outcomes(days.ordered).filter(pl.col("promise_end_us").is_not_null())
    ends = dict(known.select("stop_id", "promise_end_us").iter_rows())
    stream = AlertStream(
        ordered=days.ordered,
        forecaster=model,
        promise_end_us=ends,
        days=days.names,
        instants=source("simulated").instants,
        ahead_s=AHEAD_S,
    )
    ours = PathMaker(lambda moment: moment.risks.late_probability)
    rehearsal = adviser = None
    if policy is not None:
        rehearsal = Rehearsal(stream.features, EngineSettings(alerts=policy))
        adviser = Adviser(
            route_of=stream.features.book.route,
            read=stream.features.read,
            manner=Manner(forecaster=model, coverage=0.8),
            promises={stop_id: _promised(stop_id, end_us) for stop_id, end_us in ends.items()},
            alerts=policy,
            policy=AdvicePolicy(),
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


def oracle_paths(days: Days, say: Say) -> dict[str, RiskPath]:
    """The oracle's late risks every quarter of an hour."""
    found = []
    for day in days.dates:
        say(f"{days.size}: oracle of a day")
        city = simulated.open_day(days.size, SEED, day)
        found += list(oracle_of_day(city, quarter_hours(city)[1:], ORACLE_ROLLOUTS))
    table = pl.DataFrame(pl.from_arrow(pa.concat_tables(found))).with_columns(pl.col("as_of").dt.epoch("us"))
    return {
        stop_id: RiskPath(of_stop["as_of"].to_numpy(), of_stop["p_late"].to_numpy())
        for (stop_id,), of_stop in table.sort("as_of").partition_by("stop_id", as_dict=True).items()
    }


def quarterly(paths: Paths) -> dict[str, RiskPath]:
    """Risks at whole quarters of an hour only, as the oracle gives them."""
    found = {}
    for stop_id, path in paths.items():
        kept = path.at_us % QUARTER_US == 0
        found[stop_id] = RiskPath(path.at_us[kept], path.late_probability[kept])
    return found


def beside_the_oracle(run: Judged, oracle: Paths, open_at: float) -> dict[str, Any]:
    """Ours and the oracle by the same rule at the same instants; the oracle takes the threshold that is best here."""
    at_once = AlertPolicy(least_lead_s=POLICY.least_lead_s, hold_s=0.0)
    both = {stop_id: each for stop_id, each in run.outcomes.items() if stop_id in oracle}
    theirs = sweep(oracle, both, at_once)
    best = threshold_for(theirs)
    ours = alert_figures(
        predictions(late_spans(quarterly(run.paths), both, at_threshold(at_once, open_at))),
        list(both.values()),
    )
    bound = next(each for each in theirs if each["open_at"] == best)
    shares = {
        name: ours[name] / bound[name] for name in ("precision", "recall", "median_lead_min") if bound[name]
    }
    return {"ours": ours, "oracle": bound, "share_of_oracle": shares, "oracle_curve": theirs}


def told_figures(run: Judged, open_at: float) -> dict[str, Any]:
    """The contract's figures of the engine's own run, and how much it says beside a raw threshold."""
    assert run.rehearsal is not None
    known, rehearsal = list(run.outcomes.values()), run.rehearsal
    raw = raw_spans(run.paths, run.outcomes, open_at)
    incidents = [each for each in rehearsal.incidents.values() if each.told_us is not None]
    opened, stops = rehearsal.told["disruption.opened"], rehearsal.told["stop.delay.predicted"]
    spans = rehearsal.spans()
    return {
        **alert_figures(predictions(spans), known),
        "with_broken_windows": alert_figures(spans, known),
        "raw": alert_figures(raw, known),
        "raw_messages": len(raw),
        "incidents_told": len(incidents),
        "events": dict(rehearsal.told),
        "fewer_to_operators": 1 - opened / len(raw),
        "fewer_in_all": 1 - (opened + stops) / len(raw),
    }


def causes(run: Judged, days: Days) -> dict[str, Any]:
    """Incidents against what was injected."""
    assert run.rehearsal is not None
    routes = days.ordered["routes"].filter(pl.col("service_date").is_in(sorted(days.names)))
    truths = [
        _truth(each, routes) for each in simulated.disruptions(days.size, SEED, days.first_day, days.days)
    ]
    depot_of = dict(routes.select("route_id", "depot_id").iter_rows())
    return incident_figures(list(run.rehearsal.incidents.values()), truths, depot_of)


def twins(run: Judged, days: Days, say: Say) -> dict[str, Any]:
    """Late stops of each day as it was, and of a twin in which the best new order of each route is driven."""
    assert run.rehearsal is not None
    found = []
    for day in days.dates:
        say(f"{days.size}: twin of a day")
        city = simulated.open_day(days.size, SEED, day)
        twin = simulated.open_day(days.size, SEED, day)
        first_us, last_us = (int(city.instant(at_s).timestamp() * 1e6) for at_s in (0.0, END_S))
        moved: set[str] = set()
        for at_us, incident in run.rehearsal.advice:
            top = incident.actions[0] if incident.actions else None
            if not first_us <= at_us < last_us or top is None or top["kind"] != Kind.RESEQUENCE:
                continue
            if top["route_id"] not in moved and _drive(twin, at_us, top):
                moved.add(top["route_id"])
        before, after = _late(city), _late(twin)
        found.append({"day": day.isoformat(), "late": before, "late_twin": after, "routes": len(moved)})
    return {
        "days": found,
        "late": sum(each["late"] for each in found),
        "late_twin": sum(each["late_twin"] for each in found),
        "late_of_acted_days": sum(each["late"] for each in found if each["routes"]),
        "late_twin_of_acted_days": sum(each["late_twin"] for each in found if each["routes"]),
    }


def run(folder: Path, cities: Sequence[str], say: Say) -> dict[str, Any]:
    """Every figure of the page about alerts that the city can give."""
    demo = city_history(folder, "demo", TRAIN_DAYS + VALIDATION_DAYS + TEST_DAYS, say)
    model = forecaster(folder, demo, say)
    held_first = FIRST_DAY + timedelta(days=TRAIN_DAYS)
    held = Days(size="demo", ordered=demo, first_day=held_first, days=VALIDATION_DAYS)
    chosen_on = judge(model, held, None, say)
    swept = sweep(chosen_on.paths, chosen_on.outcomes, POLICY)
    open_at = threshold_for(swept, BUDGET)
    figures: dict[str, Any] = {"open_at": open_at, "validation": swept, "cities": {}}
    for size in ("demo", *cities):
        ordered = demo if size == "demo" else city_history(folder, size, STATE_DAYS + JUDGED_DAYS, say)
        ahead, days = (
            (TRAIN_DAYS + VALIDATION_DAYS, TEST_DAYS) if size == "demo" else (STATE_DAYS, JUDGED_DAYS)
        )
        judged = Days(size=size, ordered=ordered, first_day=FIRST_DAY + timedelta(days=ahead), days=days)
        done = judge(model, judged, at_threshold(POLICY, open_at), say)
        figures["cities"][size] = {
            "told": told_figures(done, open_at),
            "curve": sweep(done.paths, done.outcomes, POLICY),
            "causes": causes(done, judged),
            "twins": twins(done, judged, say),
            "oracle": beside_the_oracle(done, oracle_paths(judged, say), open_at),
        }
        say(f"{size}: done")
        (folder / "alerts.json").write_text(json.dumps(figures, indent=1))
    return figures


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


def _drive(twin: City, at_us: int, action: dict[str, Any]) -> bool:
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


def _late(city: City) -> int:
    """Stops that were reached, or given up unattempted, after the end of their first promise."""
    city.finish()
    promised = np.isfinite(city.promised_end_s)
    return int((city.arrived_s[: city.plan.stops][promised] > city.promised_end_s[promised]).sum())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="made cities, models and figures are kept here")
    parser.add_argument("--cities", nargs="*", default=list(simulated.perturbed_cities()))
    asked = parser.parse_args()
    run(asked.folder, asked.cities, lambda step: print(step, flush=True))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
