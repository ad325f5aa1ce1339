"""Golden files: made-up rows in each published format, and the canonical rows that come of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from data_contracts.events import rows_to_events
from data_contracts.quarantine import coerce, split
from data_contracts.tables import TABLES
from pipelines.sources.canonical import Canonical
from pipelines.sources.delhivery import Delhivery
from pipelines.sources.kandy import Kandy
from pipelines.sources.lade import Lade
from pipelines.sources.nyc_taxi import NycTaxi
from pipelines.sources.onfleet import Onfleet
from pipelines.sources.open_meteo import OpenMeteo
from pipelines.sources.sendy import Sendy
from pipelines.sources.source import Loaded
from pipelines.sources.tomtom import TomTom
from pipelines.sources.traccar import Traccar

GOLDEN = Path(__file__).parents[1] / "golden"
FETCHED_AT = datetime(2024, 5, 1, 7, 30, tzinfo=UTC)


def lines(tables: Mapping[str, pa.Table]) -> list[str]:
    """Canonical rows as JSON lines, tables in the order of their contracts."""
    return [
        json.dumps(event, ensure_ascii=False)
        for table in TABLES.values()
        if table.name in tables
        for event in rows_to_events(table, coerce(table, tables[table.name]))
    ]


def load(name: str, folder: Path, tmp_path: Path) -> Loaded:
    match name:
        case "nyc_taxi":
            trips = pl.read_ndjson(folder / "input.ndjson").with_columns(
                pl.col("lpep_pickup_datetime", "lpep_dropoff_datetime").str.to_datetime()
            )
            trips.write_parquet(tmp_path / "trips.parquet")
            return NycTaxi().load([tmp_path / "trips.parquet"], folder / "weather.csv")
        case "sendy" | "kandy" | "delhivery" | "lade":
            source = {"sendy": Sendy(), "kandy": Kandy(), "delhivery": Delhivery(), "lade": Lade()}[name]
            return source.load([folder / "input.csv"])
        case "canonical":
            return Canonical().load([folder / "input"])
        case "open_meteo":
            return OpenMeteo("Berlin").load([folder / "input.json"], FETCHED_AT)
        case "onfleet":
            return Onfleet("Europe/Berlin", "Berlin").load([folder / "input.json"])
    return {"tomtom": TomTom(), "traccar": Traccar()}[name].load([folder / "input.json"])


@pytest.mark.parametrize("name", sorted(path.name for path in GOLDEN.iterdir()))
def test_each_format_gives_its_golden_rows(name: str, tmp_path: Path) -> None:
    folder = GOLDEN / name
    loaded = load(name, folder, tmp_path)
    assert lines(loaded.tables) == (folder / "expected.jsonl").read_text(encoding="utf-8").splitlines()
    context = folder / "expected_context.jsonl"
    assert lines(loaded.context) == (
        context.read_text(encoding="utf-8").splitlines() if context.exists() else []
    )


@pytest.mark.parametrize("name", sorted(path.name for path in GOLDEN.iterdir()))
def test_golden_rows_keep_their_contracts(name: str, tmp_path: Path) -> None:
    loaded = load(name, GOLDEN / name, tmp_path)
    for tables in (loaded.tables, loaded.context):
        for table in TABLES.values():
            if table.name in tables:
                known = {r.column: tables[r.table][r.column].to_pylist() for r in table.references}
                parts = split(table, coerce(table, tables[table.name]), known)
                assert (parts.bad.num_rows, dict(parts.reasons), parts.duplicates) == (0, {}, 0)


@pytest.mark.parametrize("name", sorted(path.name for path in GOLDEN.iterdir()))
def test_loading_again_gives_the_same_event_ids(name: str, tmp_path: Path) -> None:
    once, twice = (load(name, GOLDEN / name, tmp_path).tables for _ in range(2))
    for table, rows in once.items():
        assert rows["event_id"].to_pylist() == twice[table]["event_id"].to_pylist()
