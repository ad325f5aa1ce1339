"""The reference city as a source of canonical tables."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data_contracts.errors import SourceError
from pipelines.simulation.city import City
from pipelines.simulation.customers import customers
from pipelines.simulation.disruptions import Disruption
from pipelines.simulation.oracle import ROLLOUTS, oracle_of_day, quarter_hours
from pipelines.simulation.parameters import Parameters, parameters_hash, perturbed_cities
from pipelines.simulation.truth import Truth, disruptions_table
from pipelines.simulation.twins import cost_of_disruptions
from pipelines.simulation.world import World
from pipelines.sources.canonical import own_tables
from pipelines.sources.source import History, Loaded
from training.instants import Instants

__all__ = [
    "Simulated",
    "content_hash",
    "default_days",
    "disruptions",
    "generate",
    "open_day",
    "parameters_hash",
    "perturbed_cities",
    "truth",
    "write",
    "write_truth",
]

Progress = Callable[[int, int], None]


class Simulated:
    """Adapter of folders that ``write`` made; they hold what a fleet would have seen, and not the truth."""

    name = "simulated"
    instants = Instants.ALONG_ROUTE
    history = History.LIVE
    cluster = "service_date"

    def load(self, paths: Sequence[Path], weather: Path | None = None) -> Loaded:
        if weather is not None:
            what = "a city brings its own weather"
            raise SourceError(what, where=str(weather), next_step="leave --weather out")
        return Loaded(own_tables(paths))


def default_days(size: str) -> int:
    """How many days of history a city of this size is meant for."""
    return Parameters.load(size).size.days


def open_day(size: str, seed: int, day: date) -> City:
    """A running city on the evening before ``day``."""
    return City.day(World.draw(Parameters.load(size), seed), day, seed)


def generate(
    size: str, seed: int, first_day: date, days: int, progress: Progress | None = None
) -> Iterator[tuple[date, dict[str, pa.Table]]]:
    """Yields the messages of each day by table; customers come with the first.

    A day's tables start with its plan, told on the evening before; earlier days do not change them.
    """
    world = World.draw(Parameters.load(size), _checked(seed, days))
    for done, day in enumerate(_days(first_day, days)):
        tables = City.day(world, day, seed).run()
        if done == 0:
            tables["customers"] = customers(world, first_day)
        if progress is not None:
            progress(done + 1, days)
        yield day, tables


def truth(size: str, seed: int, first_day: date, days: int) -> Iterator[tuple[date, Truth]]:
    """Yields what truly happened on each day, for benchmarks and tests."""
    world = World.draw(Parameters.load(size), _checked(seed, days))
    for day in _days(first_day, days):
        yield day, City.day(world, day, seed).finish()


def disruptions(size: str, seed: int, first_day: date, days: int) -> list[Disruption]:
    """All disruptions injected on these days, without running them."""
    world = World.draw(Parameters.load(size), _checked(seed, days))
    found = (City.day(world, day, seed).truth().disruptions for day in _days(first_day, days))
    return [disruption for of_day in found for disruption in of_day]


def write(
    folder: Path, size: str, seed: int, first_day: date, days: int, progress: Progress | None = None
) -> int:
    """Writes ``folder/<table>/<day>.parquet``, each whole or not at all, and returns how many rows."""
    rows = 0
    for day, tables in generate(size, seed, first_day, days, progress):
        for name, table in tables.items():
            if table.num_rows:
                _write_whole(folder / name / f"{day.isoformat()}.parquet", table)
                rows += table.num_rows
    return rows


def write_truth(
    folder: Path, size: str, seed: int, first_day: date, days: int, rollouts: int = ROLLOUTS
) -> None:
    """Writes what only a judge may see, beside the messages and never into their folder.

    ``stops``, ``disruptions``, ``costs`` (what each disruption cost each stop) and ``oracle`` (on the evening
    before and every quarter of an hour), each as ``folder/<table>/<day>.parquet``.
    """
    world = World.draw(Parameters.load(size), _checked(seed, days))
    for day in _days(first_day, days):
        city = City.day(world, day, seed)
        foretold = pa.concat_tables(oracle_of_day(city, quarter_hours(city), rollouts))
        found = city.finish()
        tables = {
            "stops": found.stops,
            "disruptions": disruptions_table(found.disruptions),
            "costs": cost_of_disruptions(city),
            "oracle": foretold,
        }
        for name, table in tables.items():
            _write_whole(folder / name / f"{day.isoformat()}.parquet", table)


def content_hash(tables: Mapping[str, pa.Table]) -> str:
    """SHA-256 of the tables' schemas and values, by name, whatever their chunks."""
    digest = hashlib.sha256()
    for name in sorted(tables):
        sink = pa.BufferOutputStream()
        whole = tables[name].combine_chunks()
        with pa.ipc.new_stream(sink, whole.schema) as stream:
            stream.write_table(whole)
        digest.update(name.encode())
        digest.update(sink.getvalue())
    return digest.hexdigest()


def _days(first_day: date, days: int) -> list[date]:
    return [first_day + timedelta(days=number) for number in range(days)]


def _checked(seed: int, days: int) -> int:
    if seed < 0 or days < 1:
        what = f"seed {seed}, {days} days"
        raise SourceError(what, where="simulated", next_step="take a seed >= 0 and one day or more")
    return seed


def _write_whole(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    pq.write_table(table, part, compression="zstd")
    part.replace(path)
