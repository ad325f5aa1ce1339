"""What alerts are worth on the reference city and the perturbed ones: ``python -m benchmarks.alerts FOLDER``.

Thresholds are chosen on validation days of the demo city; figures are of later days of it, and of cities that nothing
was trained on, there also with a threshold of their own preceding days. Beside them: the oracle under the same rule,
the injected disruptions, a twin of each day in which the proposed orders are driven, and the hours of customers.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

os.environ.setdefault("POLARS_MAX_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmarks.alert_cities import (
    FIRST_DAY,
    POLICY,
    Days,
    Judged,
    Plan,
    Say,
    city_history,
    drive,
    forecaster,
    judge,
    late_stops,
    opened_day,
    oracle_paths,
    true_disruptions,
)
from benchmarks.home_hours import home_hours
from pipelines.simulation.city import END_S
from pipelines.sources import simulated
from serving.decisions.alerts import AlertPolicy
from serving.engine.advice import Kind
from serving.rehearsals.alert_evaluation import StopOutcome, alert_figures
from serving.rehearsals.alert_thresholds import (
    Paths,
    Proposal,
    RiskPath,
    at_threshold,
    late_spans,
    predictions,
    propose,
    raw_spans,
    sweep,
    ticks_above,
    tried,
)
from serving.rehearsals.incident_evaluation import incident_figures
from training.forecaster import DeliveryForecaster

Figures = dict[str, Any]


def quarterly(paths: Paths) -> dict[str, RiskPath]:
    """Risks at whole quarters of an hour only, as the oracle gives them."""
    found = {}
    for stop_id, path in paths.items():
        kept = path.at_us % 900_000_000 == 0
        found[stop_id] = RiskPath(path.at_us[kept], path.late_probability[kept])
    return found


def by_policy(paths: Paths, known: Mapping[str, StopOutcome], policy: AlertPolicy) -> Figures:
    """Figures of predictions by one policy."""
    spans = predictions(late_spans(paths, known, policy))
    dials = {"open_at": policy.open_at, "most_lead_s": policy.most_lead_s}
    return dials | alert_figures(spans, list(known.values()))


def beside_the_oracle(run: Judged, oracle: Paths, policies: Mapping[str, AlertPolicy]) -> Figures:
    """Ours and the oracle by the same rule at the same instants.

    The oracle's dials are those that are best on these very days: a bound, and no method.
    """
    both = {stop_id: each for stop_id, each in run.outcomes.items() if stop_id in oracle}
    best = propose(tried(oracle, both, POLICY))
    bound = by_policy(oracle, both, best.policy(POLICY))
    ours = {name: by_policy(quarterly(run.paths), both, policy) for name, policy in policies.items()}
    names = ("precision", "recall", "median_lead_min")
    shares = {
        chosen: {name: each[name] / bound[name] for name in names if bound[name] and each[name] is not None}
        for chosen, each in ours.items()
    }
    return {
        "ours": ours,
        "oracle": bound,
        "because": best.because.value,
        "share_of_oracle": shares,
        "oracle_curve": sweep(oracle, both, POLICY),
    }


def told_figures(run: Judged, open_at: float) -> Figures:
    """The contract's figures of the engine's own run, and how much it says beside a raw threshold."""
    assert run.rehearsal is not None
    known, rehearsal = list(run.outcomes.values()), run.rehearsal
    raw = raw_spans(run.paths, run.outcomes, open_at)
    incidents = [each for each in rehearsal.incidents.values() if each.told_us is not None]
    opened = rehearsal.told["disruption.opened"]
    stops = rehearsal.told["stop.delay.predicted"] + rehearsal.told["stop.delay.updated"]
    spans = rehearsal.spans()
    return {
        **alert_figures(predictions(spans), known),
        "with_broken_windows": alert_figures(spans, known),
        "raw": alert_figures(raw, known),
        "raw_messages": {"per_crossing": len(raw), "per_tick": ticks_above(run.paths, run.outcomes, open_at)},
        "incidents_told": len(incidents),
        "events": dict(rehearsal.told),
        "messages": {"to_operators": opened, "about_stops": stops},
    }


def causes(run: Judged, days: Days) -> Figures:
    """Incidents against what was injected."""
    assert run.rehearsal is not None
    depot_of = dict(days.ordered["routes"].select("route_id", "depot_id").iter_rows())
    return incident_figures(list(run.rehearsal.incidents.values()), true_disruptions(days), depot_of)


def twins(run: Judged, days: Days, say: Say) -> Figures:
    """Late stops of each day as it was, and of a twin in which the best new order of each route is driven."""
    assert run.rehearsal is not None
    found = []
    for day in days.dates:
        say(f"{days.size}: twin of a day")
        city = opened_day(days, day)
        twin = opened_day(days, day)
        first_us, last_us = (int(city.instant(at_s).timestamp() * 1e6) for at_s in (0.0, END_S))
        moved: set[str] = set()
        for at_us, incident in run.rehearsal.advice:
            top = incident.actions[0] if incident.actions else None
            if not first_us <= at_us < last_us or top is None or top["kind"] != Kind.RESEQUENCE:
                continue
            if top["route_id"] not in moved and drive(twin, at_us, top):
                moved.add(top["route_id"])
        before, after = late_stops(city), late_stops(twin)
        found.append({"day": day.isoformat(), "late": before, "late_twin": after, "routes": len(moved)})
    return {
        "days": found,
        "late": sum(each["late"] for each in found),
        "late_twin": sum(each["late_twin"] for each in found),
        "late_of_acted_days": sum(each["late"] for each in found if each["routes"]),
        "late_twin_of_acted_days": sum(each["late_twin"] for each in found if each["routes"]),
    }


def of_days(run: Judged, days: Days, oracle: Paths, policies: Mapping[str, AlertPolicy], say: Say) -> Figures:
    """All figures of some judged days; ``policies`` by how they were chosen, the engine's own first."""
    policy = next(iter(policies.values()))
    return {
        "told": told_figures(run, policy.open_at),
        "at": {name: by_policy(run.paths, run.outcomes, each) for name, each in policies.items()},
        "curve": sweep(run.paths, run.outcomes, POLICY),
        "curve_at_lead": sweep(run.paths, run.outcomes, policy),
        "causes": causes(run, days),
        "twins": twins(run, days, say),
        "oracle": beside_the_oracle(run, oracle, policies),
    }


def chosen_on(model: DeliveryForecaster, days: Days, plan: Plan, say: Say) -> tuple[Proposal, Figures]:
    """The dials that some days propose, with what they were chosen from; a threshold alone beside them."""
    run = judge(model, days, None, plan.every_s, say)
    rows = tried(run.paths, run.outcomes, POLICY)
    proposal = propose(rows)
    alone = propose([row for row in rows if row["most_lead_min"] is None])
    say(f"{days.size}: {proposal.in_words()}")
    told = {"proposal": proposal.document(), "threshold_alone": alone.document(), "validation": rows}
    return proposal, told


def of_demo(folder: Path, plan: Plan, say: Say) -> tuple[DeliveryForecaster, AlertPolicy, Figures]:
    """The demo city: a forecaster of its first days, dials of the days after them, figures of those after."""
    ordered = city_history(folder, "demo", plan.train_days + plan.validation_days + plan.test_days, say)
    model = forecaster(folder, ordered, plan, say)
    held_first = FIRST_DAY + timedelta(days=plan.train_days)
    held = Days(size="demo", ordered=ordered, first_day=held_first, days=plan.validation_days)
    proposal, told = chosen_on(model, held, plan, say)
    policy, alone = proposal.policy(POLICY), at_threshold(POLICY, told["threshold_alone"]["open_at"])
    test_first = held_first + timedelta(days=plan.validation_days)
    tested = Days(size="demo", ordered=ordered, first_day=test_first, days=plan.test_days)
    run = judge(model, tested, policy, plan.every_s, say)
    oracle = oracle_paths(folder, tested, plan.rollouts, say)
    figures = of_days(run, tested, oracle, {"validation": policy, "threshold_alone": alone}, say)
    at_once = judge(model, tested, alone, plan.every_s, say)
    without_waiting = {"told": told_figures(at_once, alone.open_at), "twins": twins(at_once, tested, say)}
    more = {"without_waiting": without_waiting, "home_hours": home_hours(ordered, test_first)}
    return model, policy, figures | told | more


def of_city(
    folder: Path, size: str, model: DeliveryForecaster, policy: AlertPolicy, plan: Plan, say: Say
) -> Figures:
    """Another city: by the dials of the demo city, and by those of its own preceding days."""
    ordered = city_history(folder, size, plan.state_days + plan.own_days + plan.judged_days, say)
    own_first = FIRST_DAY + timedelta(days=plan.state_days)
    own = Days(size=size, ordered=ordered, first_day=own_first, days=plan.own_days)
    proposal, told = chosen_on(model, own, plan, say)
    judged_first = own_first + timedelta(days=plan.own_days)
    judged = Days(size=size, ordered=ordered, first_day=judged_first, days=plan.judged_days)
    run = judge(model, judged, policy, plan.every_s, say)
    policies = {"demo": policy, "own": proposal.policy(POLICY)}
    return of_days(run, judged, oracle_paths(folder, judged, plan.rollouts, say), policies, say) | told


def run(folder: Path, cities: Sequence[str], plan: Plan, say: Say) -> Figures:
    """Every figure of the page about alerts that the city can give."""
    model, policy, of_demo_city = of_demo(folder, plan, say)
    figures = {"demo": of_demo_city}
    for size in cities:
        (folder / "alerts.json").write_text(json.dumps(figures, indent=1))
        figures[size] = of_city(folder, size, model, policy, plan, say)
        say(f"{size}: done")
    (folder / "alerts.json").write_text(json.dumps(figures, indent=1))
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="made cities, models and figures are kept here")
    parser.add_argument("--cities", nargs="*", default=list(simulated.perturbed_cities()))
    parser.add_argument("--per-route", type=int, help="at so many instants is a route looked at in training")
    parser.add_argument("--rollouts", type=int, default=Plan().rollouts, help="of the oracle")
    asked = parser.parse_args()
    plan = Plan(per_route=asked.per_route, rollouts=asked.rollouts)
    run(asked.folder, asked.cities, plan, lambda step: print(step, flush=True))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
