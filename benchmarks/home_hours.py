"""How well the hours that customers are home are learned: each visit foretold by what was known the evening before."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from serving.customers.home import STRENGTHS, Usual, Visit, best_strength, own_visits, usual_share

#: How a visit ends: somebody was home, or nobody.
HOME_IF = {"completed": True, "failed": False}
Known = dict[str, list[Visit]]


def home_hours(ordered: Mapping[str, pl.DataFrame], first_day: date) -> dict[str, Any]:
    """Brier score of what was learned of each customer, and of the base rate, over visits from ``first_day`` on."""
    known: Known = defaultdict(list)
    losses: dict[float, float] = dict.fromkeys(STRENGTHS, 0.0)
    told, usual, home, foretold = list[float](), list[float](), list[bool](), 0
    for day, of_day in _days(ordered):
        visits = [visit for of_customer in known.values() for visit in of_customer]
        now = Usual(share=usual_share(visits), counts_for=best_strength(losses, foretold))
        for customer_id, zone, visit in of_day:
            before = known[customer_id]
            known_at_us = max((each.at_us for each in before), default=0)
            own = own_visits(before, visit.at_us, known_at_us, ZoneInfo(zone))
            if day >= first_day.isoformat():
                told.append(own.share(now))
                usual.append(now.share)
                home.append(visit.home)
            if own.weight > 0:
                foretold += 1
                losses = {each: losses[each] + off for each, off in own.losses(now.share, visit.home).items()}
        for customer_id, _, visit in of_day:
            known[customer_id].append(visit)
    truth = np.array(home, np.float64)
    learned, alone = (float(np.mean((np.array(p) - truth) ** 2)) for p in (told, usual))
    return {
        "visits": len(home),
        "home": float(truth.mean()),
        "brier": learned,
        "brier_of_base_rate": alone,
        "brier_skill": 1 - learned / alone,
        "usual_counts_for": best_strength(losses, foretold),
    }


def _days(ordered: Mapping[str, pl.DataFrame]) -> Iterator[tuple[str, list[tuple[str, str, Visit]]]]:
    """Service days in their order, each with its visits: customer, clock, and how it ended."""
    stops = ordered["stops"].group_by("stop_id").agg(pl.col("customer_id").last())
    routes = ordered["routes"].group_by("route_id").agg(pl.col("service_date", "timezone").last())
    ended = ordered["stop_events"].filter(pl.col("kind").is_in(list(HOME_IF)))
    visits = ended.join(stops, on="stop_id").join(routes, on="route_id").drop_nulls("customer_id")
    for (day,), of_day in (
        visits.sort("service_date", "seq").partition_by("service_date", as_dict=True).items()
    ):
        columns = of_day.select("customer_id", "timezone", "occurred_at", "kind")
        yield (
            str(day),
            [
                (customer_id, zone, Visit(at_us=at_us, home=HOME_IF[kind]))
                for customer_id, zone, at_us, kind in columns.iter_rows()
            ],
        )
