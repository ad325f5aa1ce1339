"""Who the customers are and what they prefer."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pyarrow as pa

from pipelines.simulation.disruptions import HOUR_S
from pipelines.simulation.envelope import as_table, joined_id, named, timestamps
from pipelines.simulation.noise import Noise
from pipelines.simulation.plan import service_day_start
from pipelines.simulation.world import World


def customers(world: World, first_day: date) -> pa.Table:
    """What every customer prefers, told once at noon of the day before the history begins."""
    noise, ids = Noise(world.seed, world.parameters.stream, 2), world.customer_ids
    count, site = len(ids), np.arange(len(ids)) // 2
    share = noise.uniform("channel", count)
    visits = 5 + np.floor(20 * noise.uniform("past visits", count))
    home = noise.generator("past homes").binomial(visits.astype(int), world.site_home_share[site]) / visits
    at_s = np.full(count, 12 * HOUR_S)
    start = service_day_start(world.parameters, first_day - timedelta(days=1))
    quiet = noise.uniform("quiet", count) < 0.4
    columns = {
        "event_id": joined_id("CP", named(ids, np.arange(count))),
        "occurred_at": timestamps(start, at_s),
        "received_at": timestamps(start, at_s + 1),
        "customer_id": ids,
        "channel": named(("email", "sms", "push", "none"), np.searchsorted([0.4, 0.7, 0.95], share)),
        "notice_minutes": np.array([15, 30, 60])[(3 * noise.uniform("notice", count)).astype(int)],
        "quiet_from_hour": pa.array(np.full(count, 21), mask=~quiet),
        "quiet_to_hour": pa.array(np.full(count, 8), mask=~quiet),
        "safe_place": named(
            ("shed", "neighbour"), np.floor(5 * noise.uniform("safe", count)).astype(int) - 3
        ),
        "home_share": np.round(home, 3),
    }
    return as_table("customers", columns)
