"""Parity over many instants, by the command: days of the reference city, and the Kandy line; engines are killed."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from data_contracts.events import parse
from data_contracts.workspace import Workspace
from pipelines.replay import timeline
from pipelines.sources import simulated
from pipelines.sources.kandy import COLUMNS
from pipelines.sources.registry import source
from serving.api.ingest import to_new_event
from tests.served import append, build_history, parity_of, serve_over_kills

KANDY = Path(__file__).parents[2] / "../shared/data/kandy_bus"
#: The line was driven until February without a gap; then the set goes on in July.
JANUARY = "2022-01-01T00:00:00+05:30", "2022-02-01T00:00:00+05:30"
MANY = 10_000


def city_days(size: str, days: int, unseen: int) -> list[dict[str, pa.Table]]:
    """Days of history, and the days after them."""
    told = [tables for _, tables in simulated.generate(size, 403, date(2026, 3, 2), days + unseen)]
    names = dict.fromkeys(name for tables in told for name in tables)
    return [
        {name: pa.concat_tables([day[name] for day in part if name in day]) for name in names}
        for part in (told[:days], told[days:])
    ]


def cut(tables: Mapping[str, pa.Table], at: datetime, until: datetime) -> list[dict[str, pa.Table]]:
    """Rows received before an instant, and those from then on until another."""
    parts: list[dict[str, pa.Table]] = [{}, {}]
    for name, table in tables.items():
        received = table["received_at"]
        parts[0][name] = table.filter(pc.less(received, at))
        parts[1][name] = table.filter(pc.and_(pc.greater_equal(received, at), pc.less(received, until)))
    return parts


def served(
    root: Path,
    history: Mapping[str, pa.Table],
    unseen: Mapping[str, pa.Table],
    tick_s: float,
    records_a_life: tuple[int, int],
) -> tuple[Workspace, int]:
    workspace = build_history(root, history)
    append(workspace, [to_new_event(parse(event)) for event in timeline(unseen, timedelta(seconds=tick_s))])
    return workspace, serve_over_kills(workspace, records_a_life)


@pytest.mark.on_demand
def test_every_vector_of_days_of_the_reference_city_is_retrieved_again(tmp_path: Path) -> None:
    history, unseen = city_days("demo", 3, 5)
    workspace, deaths = served(tmp_path / "w", history, unseen, 120, (10_000, 25_000))
    report = parity_of(workspace)
    assert deaths >= 3
    assert report["is_identical"] and report["instants"] >= MANY


@pytest.mark.on_demand
@pytest.mark.real_data
@pytest.mark.skipif(not KANDY.exists(), reason="the bus files are not here (../shared/data)")
def test_every_vector_of_a_month_of_the_kandy_line_is_retrieved_again(tmp_path: Path) -> None:
    tables = source("kandy").load([KANDY], None).tables
    history, unseen = cut(tables, *map(datetime.fromisoformat, JANUARY))
    workspace, deaths = served(tmp_path / "w", history, unseen, 30, (15_000, 40_000))
    report = parity_of(workspace)
    assert deaths >= 2
    assert report["is_identical"] and report["instants"] >= MANY


def bus_trips(path: Path, trips: int) -> Path:
    """A file of trips of the line that were made up: one every twenty minutes, in turn in either direction."""
    draw, lines = random.Random(3), [",".join(COLUMNS)]
    for trip in range(trips):
        now = datetime(2021, 10, 4, 7, tzinfo=UTC) + timedelta(minutes=20 * trip)
        for segment in range(1, 16):
            ended = now + timedelta(seconds=draw.randint(60, 300))
            names = (trip, trip % 3, 1 + trip % 2, segment, f"{now:%Y-%m-%d}", f"{now:%H:%M:%S}")
            lines.append(",".join(map(str, (*names, f"{ended:%H:%M:%S}", 0.4 + segment / 10))))
            now = ended + timedelta(seconds=draw.randint(0, 40))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.slow
def test_every_vector_of_a_bus_line_is_retrieved_again(tmp_path: Path) -> None:
    tables = source("kandy").load([bus_trips(tmp_path / "segments.csv", 9)], None).tables
    starts = sorted(pc.unique(tables["routes"]["received_at"]).to_pylist())
    history, unseen = cut(tables, starts[3], starts[-1] + timedelta(days=1))
    workspace, deaths = served(tmp_path / "w", history, unseen, 30, (100, 200))
    report = parity_of(workspace)
    assert deaths >= 1
    assert report["is_identical"] and report["instants"] >= 100
