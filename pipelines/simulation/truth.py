"""The truth of a day, which only tests and benchmarks may see beside the messages."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from pipelines.simulation.disruptions import INJECTED, Cause, Disruption, Upset
from pipelines.simulation.envelope import timestamps

if TYPE_CHECKING:
    from pipelines.simulation.city import City


class Outcome(IntEnum):
    OPEN = 0
    COMPLETED = 1
    FAILED = 2
    SKIPPED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What truly happened: one row a stop (times null where it did not), and what was injected.

    ``stops`` : stop_id, route_id, outcome, arrived_at, completed_at; a failed visit is completed when it was
    given up, a skipped one when it was dropped.
    """

    stops: pa.Table
    disruptions: tuple[Disruption, ...]


def truth_of(city: City) -> Truth:
    """What truly happened before ``city.now``; the disruptions are those of the whole day."""
    plan, stops = city.plan, city.plan.stops
    arrived_s, done_s = (
        np.where(at[:stops] < city.now_s, at[:stops], np.inf) for at in (city.arrived_s, city.done_s)
    )
    outcome = np.where(np.isfinite(done_s), city.outcome[:stops], Outcome.OPEN)
    return Truth(
        stops=pa.table(
            {
                "stop_id": pa.array(plan.stop_ids),
                "route_id": pa.array(plan.route_ids).take(pa.array(plan.place_route[:stops])),
                "outcome": pa.array([Outcome(o).name.lower() for o in outcome]),
                "arrived_at": timestamps(plan.start, arrived_s),
                "completed_at": timestamps(plan.start, done_s),
            }
        ),
        disruptions=tuple(_disruption(city, upset) for upset in city.draws.upsets if upset.cause in INJECTED),
    )


def _disruption(city: City, upset: Upset) -> Disruption:
    world, onset, end = city.world, city.instant(upset.onset_s), city.instant(upset.end_s)
    match upset.cause:
        case Cause.STORM:
            area_id = world.parameters.place.area_id
            return Disruption(cause=upset.cause, onset=onset, end=end, area_id=area_id)
        case Cause.SORT_DELAY:
            depot_id = world.depot_ids[upset.subject]
            return Disruption(cause=upset.cause, onset=onset, end=end, depot_id=depot_id)
        case Cause.BREAKDOWN:
            vehicle_id = world.vehicle_ids[upset.subject]
            return Disruption(cause=upset.cause, onset=onset, end=end, vehicle_id=vehicle_id)
        case _:
            zone_id = world.zone_ids[upset.subject]
            return Disruption(cause=upset.cause, onset=onset, end=end, zone_id=zone_id)
