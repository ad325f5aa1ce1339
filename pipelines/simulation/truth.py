"""The truth of a day, which only tests and benchmarks may see beside the messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pipelines.simulation.disruptions import CAUSES, INJECTED, Cause, Disruption, Upsets
from pipelines.simulation.envelope import named, timestamps

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
    plan = city.plan
    told = np.flatnonzero(city.joined_s < city.now_s)
    arrived_s, done_s = (
        np.where(at[told] < city.now_s, at[told], np.inf) for at in (city.arrived_s, city.done_s)
    )
    outcome = np.where(np.isfinite(done_s), city.outcome[told], Outcome.OPEN)
    return Truth(
        stops=pa.table(
            {
                "stop_id": named(plan.stop_ids, told),
                "route_id": named(plan.route_ids, city.route[told]),
                "outcome": pa.array([Outcome(o).name.lower() for o in outcome], pa.string()),
                "arrived_at": timestamps(plan.start, arrived_s),
                "completed_at": timestamps(plan.start, done_s),
            }
        ),
        disruptions=disruptions_of(city),
    )


def disruptions_of(city: City) -> tuple[Disruption, ...]:
    """What is injected on the day, in the order of ``injected``."""
    struck = injected(city.upsets)
    return tuple(_disruption(city, struck, number) for number in range(len(struck)))


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


def _disruption(city: City, struck: Upsets, number: int) -> Disruption:
    world, cause, subject = city.world, CAUSES[struck.cause[number]], int(struck.subject[number])
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
        disruption_id=f"X-{city.plan.day:%Y%m%d}-{number + 1:02d}",
        cause=cause,
        onset=city.instant(struck.onset_s[number]),
        end=city.instant(struck.end_s[number]),
        **named_ids,
    )
