"""The figures that tell whether a city is plausible, to be held against the bands of ``city.toml``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, timedelta

import numpy as np
import polars as pl

from pipelines.simulation.city import City
from pipelines.simulation.disruptions import HOUR_S
from pipelines.simulation.noise import Array
from pipelines.simulation.oracle import LEVELS, quantiles, remaining, roll_out
from pipelines.simulation.parameters import Parameters
from pipelines.simulation.state import Outcome
from pipelines.simulation.world import World

HORIZONS_MIN = (15, 30, 60, 120, 240)
HORIZONS = ("0_15", "15_30", "30_60", "60_120", "120_240", "over_240", "before_departure")
_LOOKUPS = (("here", "there", "hour"), ("here", "there"), ("here",), ())
_FEWEST = 10
_GRID_S = 900.0


def shares(size: str, seed: int, first_day: date, days: int) -> dict[str, float]:
    """Shares of the stops of some days that were late, failed, skipped, added and handed over."""
    world, counted = World.draw(Parameters.load(size), seed), []
    for number in range(days):
        city = City.day(world, first_day + timedelta(days=number), seed)
        city.finish()
        counted.append(_counts(city))
    stops, *counts = np.sum(counted, axis=0)
    names = ("late_share", "failed_share", "skipped_share", "added_share", "handed_over_share")
    return dict(zip(names, (np.array(counts) / stops).tolist(), strict=True))


def _counts(city: City) -> tuple[int, ...]:
    plan, stop = city.plan, np.flatnonzero(np.isfinite(city.joined_s))
    late = city.arrived_s[stop] > city.promised_end_s[stop]
    dropped = city.outcome[stop] == Outcome.SKIPPED
    return (
        len(stop),
        int((late & ~dropped).sum()),
        int((city.outcome[stop] == Outcome.FAILED).sum()),
        int(dropped.sum()),
        int((stop >= plan.planned).sum()),
        int((city.route[stop] != plan.place_route[stop]).sum()),
    )


def lookup_and_oracle(
    size: str, seed: int, train: Sequence[date], test: Sequence[date], rollouts: int
) -> dict[str, float]:
    """Mean pinball loss in minutes of a lookup and of the oracle, their ratio, and the oracle's error by horizon.

    One seeded instant per stop and horizon, as the evaluation contract has it, from the evening before and
    every quarter of an hour.
    """
    world = World.draw(Parameters.load(size), seed)
    draw = np.random.default_rng(seed)
    known = pl.concat(forecasts(City.day(world, day, seed)) for day in train)
    known = _one_each(known, draw)
    asked = _one_each(pl.concat(forecasts(City.day(world, day, seed), rollouts) for day in test), draw)
    arrival_s = asked["arrival_s"].to_numpy()
    by_lookup = _pinball_min(_looked_up(known, asked), arrival_s)
    foretold = asked.select(f"q{place}" for place in range(len(LEVELS))).to_numpy()
    by_oracle = _pinball_min(foretold, arrival_s)
    error_min = np.abs(foretold[:, len(LEVELS) // 2] - arrival_s) / 60
    horizon = asked["horizon"].to_numpy()
    return {
        "lookup_pinball_min": float(by_lookup.mean()),
        "oracle_pinball_min": float(by_oracle.mean()),
        "lookup_to_oracle": float(by_lookup.mean() / by_oracle.mean()),
        **{f"error_min_{name}": _mean(error_min[horizon == name]) for name in HORIZONS},
        **{
            f"ratio_{name}": _mean(by_lookup[horizon == name]) / _mean(by_oracle[horizon == name])
            for name in HORIZONS
        },
    }


def forecasts(city: City, rollouts: int = 0) -> pl.DataFrame:
    """Every remaining stop at every instant of a day, with what came of it and, where asked for, the oracle's word."""
    frames = []
    for at_s in _instants_s(city):
        city.advance(city.instant(at_s))
        stop = remaining(city)
        foretold: dict[str, Array] = {}
        if rollouts and stop.size:
            quantiles_s, _ = quantiles(roll_out(city, rollouts).arrived_s)
            foretold = {f"q{place}": q - at_s for place, q in enumerate(quantiles_s)}
        if stop.size:
            frames.append(pl.DataFrame({"stop": stop, **_situation(city, stop), **foretold}))
    city.finish()
    rows = pl.concat(frames)
    arrival_s = city.arrived_s[rows["stop"].to_numpy()] - rows["as_of_s"].to_numpy()
    edge = np.searchsorted(np.array(HORIZONS_MIN) * 60.0, arrival_s, side="right")
    horizon = np.where(rows["gone"].to_numpy(), edge, len(HORIZONS) - 1)
    rows = rows.with_columns(
        arrival_s=pl.Series(arrival_s),
        horizon=pl.Series([HORIZONS[place] for place in horizon]),
        stop=pl.Series([f"{city.plan.day} {stop}" for stop in rows["stop"]]),
    )
    return rows.filter(pl.col("arrival_s").is_finite())


def _instants_s(city: City) -> Iterable[float]:
    return (city.now_s, *np.arange(7.5 * HOUR_S, 20 * HOUR_S, _GRID_S))


def _situation(city: City, stop: Array) -> dict[str, Array]:
    route, now_s = city.route[stop], city.now_s
    place = city.under_way[route]
    there = (place >= 0) & (city.arrived_s[place] < now_s)
    last = np.where(place < 0, city.plan.depot_place(route), np.where(there, place, city.came_from[place]))
    hour = city.instant(now_s).hour
    return {
        "as_of_s": np.full(len(stop), now_s),
        "here": city.plan.place_zone[last],
        "there": city.plan.place_zone[stop],
        "hour": np.full(len(stop), hour),
        "gone": city.departed_s[route] < now_s,
    }


def _one_each(rows: pl.DataFrame, draw: np.random.Generator) -> pl.DataFrame:
    shuffled = rows.with_columns(draw=pl.Series(draw.random(len(rows)))).sort("draw")
    return shuffled.unique(["stop", "horizon"], keep="first", maintain_order=True)


def _looked_up(known: pl.DataFrame, asked: pl.DataFrame) -> Array:
    """Training quantiles of the most specific group with enough rows: (rows, levels)."""
    found = np.full((len(asked), len(LEVELS)), np.nan)
    wanted = [pl.col("arrival_s").quantile(level, "linear").alias(f"l{n}") for n, level in enumerate(LEVELS)]
    for keys in _LOOKUPS:
        if keys:
            groups = known.group_by(keys).agg(pl.len(), *wanted).filter(pl.col("len") >= _FEWEST)
            joined = asked.select(keys).join(groups, on=keys, how="left", maintain_order="left")
        else:
            joined = asked.select("hour").join(known.select(wanted), how="cross", maintain_order="left")
        level = joined.select(f"l{n}" for n in range(len(LEVELS))).to_numpy()
        found = np.where(np.isnan(found), level, found)
    return found


def _pinball_min(foretold_s: Array, arrival_s: Array) -> Array:
    error = (arrival_s[:, None] - foretold_s) / 60
    level = np.array(LEVELS)
    return np.maximum(level * error, (level - 1) * error).mean(axis=1)


def _mean(values: Array) -> float:
    return float(values.mean()) if len(values) else float("nan")
