"""Counterfactual twins: the same day with one disruption taken out, every other draw the same."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pyarrow as pa

from pipelines.simulation.city import END_S, City
from pipelines.simulation.conditions import Conditions
from pipelines.simulation.dispatch import advance
from pipelines.simulation.disruptions import CAUSES, INJECTED
from pipelines.simulation.draws import Draws
from pipelines.simulation.engine import Run
from pipelines.simulation.envelope import named
from pipelines.simulation.noise import Array
from pipelines.simulation.state import State
from pipelines.simulation.truth import disruptions_of

#: A cost below this many minutes is not told.
LEAST_MIN = 0.05

_TIME = pa.timestamp("us", tz="UTC")
SCHEMA = pa.schema(
    [
        ("stop_id", pa.string()),
        ("disruption_id", pa.string()),
        ("cause", pa.string()),
        ("zone_id", pa.string()),
        ("onset", _TIME),
        ("end", _TIME),
        ("minutes", pa.float64()),
    ]
)


def cost_of_disruptions(city: City) -> pa.Table:
    """What each injected disruption of a finished day cost each stop that it touched, in minutes of its arrival.

    Minutes are null where only one of the twins visited the stop, and negative where the stop was reached earlier.
    """
    disruptions = disruptions_of(city)
    if not disruptions:
        return SCHEMA.empty_table()
    stops = city.plan.stops
    with np.errstate(invalid="ignore"):
        minutes = (city.arrived_s[:stops] - arrivals_without(city)[:, :stops]) / 60
    minutes = np.where(np.isnan(minutes), 0.0, minutes)
    number, stop = np.nonzero(np.abs(minutes) >= LEAST_MIN)
    cost = minutes[number, stop]
    struck = [disruptions[n] for n in number]
    return pa.table(
        {
            "stop_id": named(city.plan.stop_ids, stop),
            "disruption_id": pa.array([d.disruption_id for d in struck], pa.string()),
            "cause": pa.array([str(d.cause) for d in struck], pa.string()),
            "zone_id": pa.array([d.zone_id for d in struck], pa.string()),
            "onset": pa.array([d.onset for d in struck], _TIME),
            "end": pa.array([d.end for d in struck], _TIME),
            "minutes": pa.array(cost, mask=~np.isfinite(cost)),
        },
        schema=SCHEMA,
    )


def arrivals_without(city: City) -> Array:
    """(disruptions, places) arrivals of the day without each of its injected disruptions, side by side."""
    draws, run = city.running.draws, city.running
    injected = np.flatnonzero(np.isin(draws.upsets.cause, [CAUSES.index(cause) for cause in INJECTED]))
    many = _spread(draws, len(injected))
    every = draws.upsets.spread(len(injected))
    without = every.take(np.tile(np.arange(len(draws.upsets)), len(injected)) != injected[every.day])
    many = replace(many, upsets=without)
    conditions = Conditions.of(city.world, city.plan, many, city.slowdowns)
    state = State.evening_before(city.world, city.plan).spread(len(injected))
    twins = Run(city.world, city.plan, many, conditions, state, run.promised_s.copy())
    advance(twins, END_S)
    return twins.state.arrived_s


def _spread(draws: Draws, days: int) -> Draws:
    columns = {f.name: getattr(draws, f.name) for f in fields(draws) if f.name != "upsets"}
    return Draws(upsets=draws.upsets, **{name: np.repeat(a, days, axis=0) for name, a in columns.items()})
