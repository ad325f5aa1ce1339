"""The oracle: how well arrivals can be foretold by one who knows the true state and the law of what is to come.

Its quantiles are a bound, not a competitor: a model that is significantly better has a leak.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa

from pipelines.simulation.city import END_S, City
from pipelines.simulation.dispatch import advance
from pipelines.simulation.envelope import named, timestamps
from pipelines.simulation.futures import futures
from pipelines.simulation.noise import Array
from pipelines.simulation.state import Outcome

LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
ROLLOUTS = 400
QUARTER_S = 900.0
LAST_FORECAST_S = 22 * 3600.0
_ORACLE_NOISE = 3

_TIME = pa.timestamp("us", tz="UTC")
SCHEMA = pa.schema(
    [
        ("stop_id", pa.string()),
        ("as_of", _TIME),
        *((f"q{level * 100:02.0f}", _TIME) for level in LEVELS),
        ("mean", _TIME),
        ("p_late", pa.float64()),
    ]
)


@dataclass(frozen=True, slots=True)
class Rollouts:
    """Arrivals of the stops that remain: ``arrived_s`` is (rollouts, stops), inf where it is not visited."""

    stop: Array
    arrived_s: Array


def roll_out(city: City, rollouts: int = ROLLOUTS) -> Rollouts:
    """Draws the future of a city from now on, again and again; those of one instant are always the same."""
    noise = city.noise.child(_ORACLE_NOISE, int((city.now_s + END_S) * 1e3))
    stop = remaining(city)
    run = futures(city.running, noise, rollouts, city.slowdowns)
    advance(run, END_S)
    return Rollouts(stop, run.state.arrived_s[:, stop])


def remaining(city: City) -> Array:
    """Stops that are known of, neither reached nor dropped."""
    stops = city.plan.stops
    told = city.joined_s <= city.now_s
    dropped = (city.outcome[:stops] == Outcome.SKIPPED) & (city.done_s[:stops] < city.now_s)
    return np.flatnonzero(told & ~dropped & (city.arrived_s[:stops] >= city.now_s))


def oracle(city: City, rollouts: int = ROLLOUTS) -> pa.Table:
    """Quantiles of each remaining stop's arrival, given that it is visited, and its probability to be late.

    A stop that is dropped in a rollout counts as late there, since nobody comes before its promise ends.
    """
    if not remaining(city).size:
        return SCHEMA.empty_table()
    future, plan = roll_out(city, rollouts), city.plan
    quantiles_s, mean_s = quantiles(future.arrived_s)
    late = future.arrived_s > city.promised_end_s[future.stop]
    names = [f"q{level * 100:02.0f}" for level in LEVELS]
    return pa.table(
        {
            "stop_id": named(plan.stop_ids, future.stop),
            "as_of": timestamps(plan.start, np.full(len(future.stop), city.now_s)),
            **{name: timestamps(plan.start, at_s) for name, at_s in zip(names, quantiles_s, strict=True)},
            "mean": timestamps(plan.start, mean_s),
            "p_late": late.mean(axis=0),
        },
        schema=SCHEMA,
    )


def oracle_of_day(city: City, instants: Iterable[datetime], rollouts: int = ROLLOUTS) -> Iterator[pa.Table]:
    """The oracle at instants in their order; the city moves on with them."""
    for instant in instants:
        if instant > city.now:
            city.advance(instant)
        yield oracle(city, rollouts)


def quarter_hours(city: City) -> tuple[datetime, ...]:
    """The evening before, and each quarter of an hour from before the first departure on until nobody is out."""
    first_s = float(city.plan.departure_s.min()) - QUARTER_S
    return (city.now, *(city.instant(at_s) for at_s in np.arange(first_s, LAST_FORECAST_S, QUARTER_S)))


def quantiles(arrived_s: Array) -> tuple[Array, Array]:
    """Quantiles (levels, stops) and means (stops,) of the finite entries of each column (Hazen 1914).

    The k-th smallest of n stands for the level (k - 1/2) / n.
    """
    ordered = np.sort(arrived_s.T, axis=1)
    known = np.isfinite(ordered).sum(axis=1)
    column = np.arange(len(ordered))
    levels = []
    for level in LEVELS:
        place = np.clip(level * known - 0.5, 0, np.maximum(known - 1, 0))
        low = np.floor(place).astype(int)
        high = np.minimum(low + 1, np.maximum(known - 1, 0))
        at_low, at_high = ordered[column, low], ordered[column, high]
        levels.append(np.where(known > 0, _between(at_low, at_high, place - low), np.inf))
    total = np.where(np.isfinite(arrived_s), arrived_s, 0).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_s = np.where(known > 0, total / known, np.inf)
    return np.array(levels), mean_s


def _between(low: Array, high: Array, share: Array) -> Array:
    """``low`` where that is the last that is known."""
    gap = np.subtract(high, low, out=np.zeros_like(low), where=np.isfinite(low) & np.isfinite(high))
    return low + share * gap
