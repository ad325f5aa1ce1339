"""Bring your own data: our tables in any format, and other tables through a mapping."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from data_contracts.errors import SourceError
from data_contracts.workspace import Workspace
from pipelines.land import land
from pipelines.sources.canonical import Canonical
from pipelines.sources.lade import Lade
from pipelines.sources.mapping import read_mapping
from pipelines.sources.nyc_taxi import NycTaxi
from pipelines.sources.registry import FEEDS, SOURCES, feed, source
from pipelines.sources.simulated import Simulated
from pipelines.sources.source import Feed, Loaded, Source

GOLDEN = Path(__file__).parents[1] / "golden"
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
PING = {"vehicle_id": "V1", "lat": 52.5, "lon": 13.4, "occurred_at": "2024-05-01T12:00:00Z"}


def pings(loaded: Loaded) -> pl.DataFrame:
    return pl.DataFrame(loaded.tables["pings"])


def mapped(
    tmp_path: Path, columns: str, rows: str = "v,lat,lon,at,x\n1,52.5,13.4,2024-05-01 14:00:00,3\n"
) -> Loaded:
    """One ping through a mapping that adds ``columns`` to the plain ones."""
    (tmp_path / "gps.csv").write_text(rows)
    (tmp_path / "mapping.toml").write_text(
        f'[pings]\nfiles = "gps.csv"\n[pings.columns]\nvehicle_id = "v"\nlat = "lat"\nlon = "lon"\n{columns}\n'
    )
    return Canonical().load([tmp_path])


def test_the_registry_names_every_set_and_feed_once() -> None:
    assert [each.name for each in SOURCES] == [
        "simulated",
        "nyc_taxi",
        "sendy",
        "kandy",
        "delhivery",
        "lade",
        "canonical",
    ]
    assert [each.name for each in FEEDS] == ["open_meteo", "tomtom", "traccar", "onfleet"]
    every: tuple[Source | Feed, ...] = (source("kandy"), feed("tomtom"))
    assert [each.name for each in every] == ["kandy", "tomtom"]


def test_an_unknown_source_is_told_the_known_ones() -> None:
    with pytest.raises(SourceError, match=r"source 'kandi' is unknown; known are simulated, nyc_taxi, sendy"):
        source("kandi")
    with pytest.raises(SourceError, match="known are open_meteo"):
        feed("kandy")


@pytest.mark.parametrize("suffix", ["csv", "parquet", "ndjson", "json"])
@pytest.mark.parametrize("inside", [True, False])
def test_our_own_tables_are_read_in_every_format(suffix: str, inside: bool, tmp_path: Path) -> None:
    file = tmp_path / (f"pings/day-1.{suffix}" if inside else f"pings.{suffix}")
    file.parent.mkdir(exist_ok=True)
    rows = pl.DataFrame([PING])
    match suffix:
        case "csv":
            rows.write_csv(file)
        case "parquet":
            rows.write_parquet(file)
        case "ndjson":
            rows.write_ndjson(file)
        case "json":
            file.write_text(json.dumps([PING]))
    read = pings(Canonical().load([tmp_path])).row(0, named=True)
    assert (read["vehicle_id"], float(read["lat"]), read["received_at"]) == ("V1", 52.5, PING["occurred_at"])
    assert read["event_id"].startswith("pings-")


def test_what_was_landed_can_be_loaded_again(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "first")
    land(workspace, Lade().load([GOLDEN / "lade" / "input.csv"]).tables, "day")
    again = Canonical().load([workspace.landed])
    report = land(Workspace(tmp_path / "second"), again.tables, "day")
    assert [(one.table, one.bad, one.duplicates) for one in report.tables if one.bad or one.duplicates] == []
    assert Simulated().load([workspace.landed]).tables == again.tables


def test_the_same_message_without_an_id_gets_the_same_id_and_another_one_not(tmp_path: Path) -> None:
    sent = [PING, PING | {"received_at": "2024-05-01T12:00:09Z"}, PING | {"lat": 52.6}]
    ids = []
    for number, row in enumerate(sent):
        folder = tmp_path / str(number)
        folder.mkdir()
        pl.DataFrame([row]).write_ndjson(folder / "pings.ndjson")
        ids.append(pings(Canonical().load([folder]))["event_id"][0])
    assert ids[0] == ids[1] != ids[2]


def test_a_mapping_reads_lades_format_without_code(tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text((GOLDEN / "lade" / "input.csv").read_text())
    (tmp_path / "mapping.toml").write_text(
        """
timezone = "Asia/Shanghai"
year = 2022
[stops]
files = "orders.csv"
[stops.columns]
stop_id = { template = "S-{city}-{order_id}" }
route_id = { template = "R-{city}-{courier_id}-{ds}" }
plan_version = { value = 0 }
sequence = { rank_by = ["occurred_at", "stop_id"], within = ["route_id"] }
zone_id = { template = "aoi:{aoi_id}" }
lat = "lat"
lon = "lng"
product_type = "aoi_type"
occurred_at = { from = "accept_time", format = "%m-%d %H:%M:%S" }
"""
    )
    by_mapping = pl.DataFrame(Canonical().load([tmp_path]).tables["stops"]).sort("stop_id").drop("event_id")
    by_adapter = pl.DataFrame(Lade().load([tmp_path / "orders.csv"]).tables["stops"]).sort("stop_id")
    assert by_mapping.select(sorted(by_mapping.columns)).equals(by_adapter.select(sorted(by_mapping.columns)))


@pytest.mark.parametrize(
    ("spec", "cell", "at"),
    [
        ('{ from = "at", timezone = "Europe/Berlin" }', "2024-05-01 14:00:00", NOON),
        ('{ from = "at", timezone = "Europe/Berlin" }', "2024-05-01T14:00", NOON),
        ('"at"', "2024-05-01T14:00:00+02:00", NOON),
        ('"at"', "2024-05-01 12:00:00.000Z", NOON),
        ('{ from = "at", unit = "epoch_s" }', "1714564800", NOON),
        ('{ from = "at", unit = "epoch_ms" }', "1714564800000", NOON),
        ('{ from = "at", format = "%d.%m.%Y %H:%M", timezone = "UTC" }', "01.05.2024 12:00", NOON),
        ('{ from = "at", format = "%m-%d %H:%M", timezone = "UTC", year = 2024 }', "05-01 12:00", NOON),
        ('{ from = "at", format = "%Y-%m-%d %H:%M %z" }', "2024-05-01 14:00 +0200", NOON),
    ],
)
def test_times_come_in_many_forms(spec: str, cell: str, at: datetime, tmp_path: Path) -> None:
    loaded = mapped(tmp_path, f"occurred_at = {spec}", f"v,lat,lon,at\n1,52.5,13.4,{cell}\n")
    assert pings(loaded)["occurred_at"].to_list() == [at]


def test_naive_times_of_parquet_get_the_zone(tmp_path: Path) -> None:
    pl.DataFrame({"v": ["1"], "lat": [1.0], "lon": [2.0], "at": [NOON.replace(tzinfo=None)]}).write_parquet(
        tmp_path / "gps.parquet"
    )
    (tmp_path / "mapping.toml").write_text(
        'timezone = "Europe/Berlin"\n[pings]\nfiles = "*.parquet"\n[pings.columns]\n'
        'vehicle_id = "v"\nlat = "lat"\nlon = "lon"\noccurred_at = "at"\n'
    )
    assert pings(Canonical().load([tmp_path]))["occurred_at"].to_list() == [NOON.replace(hour=10)]


AT = 'occurred_at = { from = "at", timezone = "UTC" }'


@pytest.mark.parametrize(("unit", "mps"), [("km/h", 3 / 3.6), ("kn", 3 * 0.514444), ("mph", 3 * 0.44704)])
def test_speeds_are_converted(unit: str, mps: float, tmp_path: Path) -> None:
    loaded = mapped(tmp_path, f'{AT}\nspeed_mps = {{ from = "x", unit = "{unit}" }}')
    assert pings(loaded)["speed_mps"][0] == pytest.approx(mps, rel=1e-5)


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ('occurred_at = "at"', "its times have no zone; give timezone"),
        ('occurred_at = { from = "when", timezone = "UTC" }', "lacks the columns when"),
        (f'{AT}\nspeed = "x"', "pings: column 'speed' is unknown; known are event_id"),
        (
            f'{AT}\nspeed_mps = {{ from = "x", unit = "furlong" }}',
            "speed_mps: unit 'furlong' cannot be turned",
        ),
        (f'{AT}\nspeed_mps = {{ from = "x", units = "km/h" }}', "unknown keys: units"),
        (f"{AT}\nspeed_mps = {{ unit = 'km/h' }}", "says not where the column comes from"),
        (f'{AT}\nspeed_mps = {{ from = "x", value = 3 }}', "says not where the column comes from"),
        (f'{AT}\nspeed_mps = {{ template = "{{x}}" }}', "a template makes text"),
        (f'{AT}\nstatus = {{ from = "x", unit = "km" }}', "a string has no unit"),
        (f'{AT}\nstatus = {{ template = "{{y}}" }}', "lacks the columns y"),
        ('occurred_at = { from = "at", timezone = "Mars/Base" }', "time zone 'Mars/Base' is unknown"),
        ('occurred_at = { from = "at", unit = "km" }', "unit 'km' is not one of times"),
        ('occurred_at = { from = "at", format = "%H:%M", timezone = "UTC" }', "has no year"),
        ('occurred_at = { from = "x", timezone = "UTC" }', r"none of its 1 rows is a time \(first: '3'\)"),
        (f'{AT}\nspeed_mps = "at"', "column 'at' holds no Float64"),
        ("", "pings lacks the columns occurred_at"),
    ],
)
def test_a_wrong_mapping_is_told_what_is_wrong(columns: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=told):
        mapped(tmp_path, columns)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[pings", "cannot be read as TOML"),
        ("", "maps no table"),
        ("[parcels]\n", "table 'parcels' is unknown; known are routes"),
        ("[pings]\n", "has no columns"),
        ("[pings.columns]\n", "names no files"),
        ('[pings]\nfiles = "*"\nonly = 1\n[pings.columns]\n', "unknown keys: only"),
        ('[pings]\nfiles = "*"\nneeds = ["lat"]\n[pings.columns]\n', "column 'lat' is used and not mapped"),
        ('timezone = "Mars"\n', "time zone 'Mars' is unknown"),
        ('year = "2022"\n', "year is '2022'"),
    ],
)
def test_a_broken_mapping_file_is_told_what_is_wrong(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "mapping.toml").write_text(text)
    with pytest.raises(SourceError, match=told):
        read_mapping(tmp_path / "mapping.toml")


def test_a_pattern_that_matches_nothing_is_named(tmp_path: Path) -> None:
    (tmp_path / "mapping.toml").write_text('[pings]\nfiles = "gps*.csv"\n[pings.columns]\nlat = "lat"\n')
    with pytest.raises(SourceError, match=r"no file matches 'gps\*\.csv'"):
        Canonical().load([tmp_path])


def test_a_mapping_can_lie_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "gps.csv").write_text("v,a,o,t\n1,52.5,13.4,2024-05-01T12:00:00Z\n")
    (tmp_path / "ours.toml").write_text(
        '[pings]\nfiles = "*.csv"\n[pings.columns]\nvehicle_id = "v"\nlat = "a"\nlon = "o"\noccurred_at = "t"\n'
    )
    loaded = Canonical(tmp_path / "ours.toml").load([tmp_path / "data"])
    assert pings(loaded)["occurred_at"].to_list() == [NOON]


def test_a_folder_of_none_of_our_tables_is_refused(tmp_path: Path) -> None:
    (tmp_path / "parcels.csv").write_text("a\n1\n")
    with pytest.raises(SourceError, match=r"holds none of the tables routes, stops"):
        Canonical().load([tmp_path])
    with pytest.raises(SourceError, match="no such folder"):
        Canonical().load([tmp_path / "absent"])


def test_a_table_without_its_required_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pings.csv").write_text("vehicle_id,lat\nV1,52.5\n")
    with pytest.raises(SourceError, match=r"pings lacks the columns occurred_at, received_at, lon"):
        Canonical().load([tmp_path])


def test_the_taxi_adapter_leaves_other_formats_to_the_mapping(tmp_path: Path) -> None:
    (tmp_path / "trips.parquet").write_text("not parquet")
    with pytest.raises(SourceError, match="not a readable Parquet file"):
        NycTaxi().load([tmp_path / "trips.parquet"])
