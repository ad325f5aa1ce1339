"""The truth of a day, which only tests and benchmarks may see beside the messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.simulation.disruptions import CAUSES, INJECTED, Cause, Disruption, Upsets
from pipelines.simulation.envelope import named, timestamps
from pipelines.simulation.service_day import ServiceDay
from pipelines.simulation.state import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What truly happened: one row a stop (times null where it did not), and what was injected.

    ``stops`` : stop_id, route_id, outcome, arrived_at, completed_at; a failed visit is completed when it was
    given up, a skipped one when it was dropped.
    """

    stops: pa.Table
    disruptions: tuple[Disruption, ...]


def truth_of(day: ServiceDay) -> Truth:
    """What truly happened before ``day.now``; the disruptions are those of the whole day."""
    plan = day.plan
    told = np.flatnonzero(day.joined_s < day.now_s)
    arrived_s, done_s = (
        np.where(at[told] < day.now_s, at[told], np.inf) for at in (day.arrived_s, day.done_s)
    )
    outcome = np.where(np.isfinite(done_s), day.outcome[told], Outcome.OPEN)
    return Truth(
        stops=pa.table(
            {
                "stop_id": named(plan.stop_ids, told),
                "route_id": named(plan.route_ids, day.route[told]),
                "outcome": pa.array([Outcome(o).name.lower() for o in outcome], pa.string()),
                "arrived_at": timestamps(plan.start, arrived_s),
                "completed_at": timestamps(plan.start, done_s),
            }
        ),
        disruptions=disruptions_of(day),
    )


def disruptions_of(day: ServiceDay) -> tuple[Disruption, ...]:
    """What is injected on the day, in the order of ``injected``."""
    struck = injected(day.upsets)
    return tuple(_disruption(day, struck, number) for number in range(len(struck)))


def disruptions_table(disruptions: Sequence[Disruption]) -> pa.Table:
    """One row a disruption, to be stored."""
    schema = pa.schema(
        [
            ("disruption_id", pa.string()),
            ("cause", pa.string()),
            ("onset", pa.timestamp("us", tz="UTC")),
            ("end", pa.timestamp("us", tz="UTC")),
            *((name, pa.string()) for name in ("area_id", "zone_id", "depot_id", "vehicle_id")),
            ("zone_ids", pa.list_(pa.string())),
        ]
    )
    return pa.Table.from_pylist([asdict(d) for d in disruptions], schema=schema)


def injected(upsets: Upsets) -> Upsets:
    return upsets.of(*INJECTED)


def _disruption(day: ServiceDay, struck: Upsets, number: int) -> Disruption:
    world, cause, subject = day.world, CAUSES[struck.cause[number]], int(struck.subject[number])
    named_ids: dict[str, Any]
    match cause:
        case Cause.STORM:
            named_ids = {"area_id": world.parameters.place.area_id}
        case Cause.SORT_DELAY:
            named_ids = {"depot_id": world.depot_ids[subject]}
        case Cause.BREAKDOWN:
            named_ids = {"vehicle_id": world.vehicle_ids[subject]}
        case _:
            zones = tuple(world.zone_ids[zone] for zone in world.zones_of_district(subject))
            named_ids = {"zone_id": world.zone_ids[world.district_zone[subject]], "zone_ids": zones}
    return Disruption(
        disruption_id=f"X-{day.plan.day:%Y%m%d}-{number + 1:02d}",
        cause=cause,
        onset=day.instant(struck.onset_s[number]),
        end=day.instant(struck.end_s[number]),
        **named_ids,
    )
