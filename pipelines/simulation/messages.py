"""What the outside world gets to hear of a day: the canonical tables."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pipelines.simulation import plan_messages, surroundings
from pipelines.simulation.envelope import Envelope, Messages, empty, joined_id, named
from pipelines.simulation.pings import pings
from pipelines.simulation.service_day import ServiceDay
from pipelines.simulation.state import Outcome


def messages_between(day: ServiceDay, from_s: float, until_s: float) -> Messages:
    """Messages about what happened from ``from_s`` until just before ``until_s``, by table."""
    envelope = Envelope(day.plan.start, day.noise, day.world.parameters.messages)
    builders = {
        "routes": plan_messages.routes,
        "stops": plan_messages.stops,
        "stop_events": stop_events,
        "pings": pings,
        "traffic": surroundings.traffic,
        "weather": surroundings.weather,
        "depots": surroundings.depots,
        "promises": plan_messages.promises,
    }
    told = {name: build(day, envelope, from_s, until_s) for name, build in builders.items()}
    return {**told, "customers": empty("customers")}


def stop_events(day: ServiceDay, envelope: Envelope, from_s: float, until_s: float) -> pa.Table:
    plan, count = day.plan, day.plan.stops
    stop, route = np.arange(count), np.arange(len(plan.route_ids))
    visited = day.outcome[:count] != Outcome.SKIPPED
    ended = np.array(["", "completed", "failed", "skipped"])[day.outcome[:count]]
    moved_s = np.array([move.at_s for move in day.moves], float)
    moved, place = (np.array([getattr(m, name) for m in day.moves], int) for name in ("stop", "sequence"))
    kind = np.concatenate(
        [["departed_depot"] * len(route), ["arrived"] * count, ended, ["resequenced"] * len(moved)]
    )
    occurred_s = np.concatenate(
        [day.departed_s, np.where(visited, day.arrived_s[:count], np.inf), day.done_s[:count], moved_s]
    )
    subject = np.concatenate([-1 - route, stop, stop, moved])
    sequence = np.concatenate([np.zeros(len(route) + 2 * count, int), place])
    slot = np.concatenate([route, len(route) + np.arange(2 * count), len(route) + 2 * count + moved])
    now = np.flatnonzero((occurred_s >= from_s) & (occurred_s < until_s))
    kind, occurred_s, subject, sequence, slot = (a[now] for a in (kind, occurred_s, subject, sequence, slot))
    of_route = np.where(subject < 0, -1 - subject, day.route[np.maximum(subject, 0)])
    ids = [plan.stop_ids[s] if s >= 0 else plan.route_ids[-1 - s] for s in subject]
    columns = {
        "event_id": joined_id(
            "E", pa.array(ids, pa.string()), pa.array(kind), np.rint(occurred_s * 1e3).astype(int)
        ),
        "route_id": named(plan.route_ids, of_route),
        "stop_id": named(plan.stop_ids, subject),
        "kind": pa.array(kind),
        "sequence": pa.array(sequence, pa.int64(), mask=sequence == 0),
    }
    return envelope.seal("stop_events", columns, occurred_s, slot, len(route) + 3 * count)
