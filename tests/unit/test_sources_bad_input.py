"""Bad files are refused with the file, the column and what to do; single bad cells become null and are counted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from data_contracts.errors import SourceError
from data_contracts.quarantine import coerce
from data_contracts.tables import TABLES
from data_contracts.workspace import Workspace
from pipelines.land import land
from pipelines.sources.delhivery import Delhivery
from pipelines.sources.kandy import Kandy
from pipelines.sources.lade import Lade
from pipelines.sources.onfleet import Onfleet
from pipelines.sources.open_meteo import OpenMeteo
from pipelines.sources.sendy import Sendy
from pipelines.sources.source import Feed, Source
from pipelines.sources.tomtom import TomTom
from pipelines.sources.traccar import Traccar
from pipelines.sources.units import convert

GOLDEN = Path(__file__).parents[1] / "golden"
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
CSV_SETS: tuple[Source, ...] = (Sendy(), Kandy(), Delhivery(), Lade())
LABELS = {
    "sendy": "Time from Pickup to Arrival",
    "kandy": "segment",
    "delhivery": "actual_time",
    "lade": "order_id",
}
FEEDS: tuple[Feed, ...] = (OpenMeteo(), TomTom(), Traccar(), Onfleet())
named = pytest.mark.parametrize("adapter", CSV_SETS, ids=lambda adapter: adapter.name)
feeds = pytest.mark.parametrize("feed", FEEDS, ids=lambda feed: feed.name)


def rows_of(adapter: Source) -> pl.DataFrame:
    return pl.read_csv(GOLDEN / adapter.name / "input.csv", infer_schema=False)


@named
def test_a_missing_file_is_named(adapter: Source, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"absent\.csv: no such file; name a file"):
        adapter.load([tmp_path / "absent.csv"])


@named
def test_a_folder_without_files_is_named(adapter: Source, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="the folder holds no"):
        adapter.load([tmp_path])


@pytest.mark.parametrize(("adapter", "side"), [(Sendy(), "Riders.csv"), (Delhivery(), "corridors.csv")])
def test_a_folder_of_side_files_alone_is_refused(adapter: Source, side: str, tmp_path: Path) -> None:
    (tmp_path / side).write_text("a\n1\n")
    with pytest.raises(SourceError, match=rf"{side}: holds no (orders|legs)"):
        adapter.load([tmp_path])


@named
def test_an_empty_file_is_refused(adapter: Source, tmp_path: Path) -> None:
    (tmp_path / "input.csv").touch()
    with pytest.raises(SourceError, match=r"input\.csv: the file is empty; fetch it again"):
        adapter.load([tmp_path / "input.csv"])


@named
def test_a_file_with_a_header_alone_is_refused(adapter: Source, tmp_path: Path) -> None:
    rows_of(adapter).clear().write_csv(tmp_path / "input.csv")
    with pytest.raises(SourceError, match=r"input\.csv: holds no rows"):
        adapter.load([tmp_path / "input.csv"])


@named
def test_a_missing_column_is_named(adapter: Source, tmp_path: Path) -> None:
    rows_of(adapter).drop(LABELS[adapter.name]).write_csv(tmp_path / "input.csv")
    with pytest.raises(SourceError, match=f"lacks the columns {LABELS[adapter.name]}"):
        adapter.load([tmp_path / "input.csv"])


@named
def test_a_column_of_another_type_is_named_with_its_first_row(adapter: Source, tmp_path: Path) -> None:
    label = LABELS[adapter.name]
    rows_of(adapter).with_columns(pl.lit("soon").alias(label)).write_csv(tmp_path / "input.csv")
    with pytest.raises(SourceError, match=rf"column '{label}' holds no .* \(first: row 1, 'soon'\)"):
        adapter.load([tmp_path / "input.csv"])


@named
def test_bytes_that_are_no_text_are_refused(adapter: Source, tmp_path: Path) -> None:
    (tmp_path / "input.csv").write_bytes(bytes(range(128, 256)) * 9)
    with pytest.raises(SourceError, match=r"input\.csv"):
        adapter.load([tmp_path / "input.csv"])


def test_a_single_bad_cell_is_counted_and_its_row_lands_in_quarantine(tmp_path: Path) -> None:
    many = pl.concat(
        rows_of(Sendy()).with_columns(pl.format("{}-{}", "Order No", pl.lit(number)).alias("Order No"))
        for number in range(10)
    ).with_row_index("row")
    label = LABELS["sendy"]
    broken = many.with_columns(
        pl.when(pl.col("row") == 7).then(pl.lit("soon")).otherwise(label).alias(label)
    ).drop("row")
    broken.write_csv(tmp_path / "input.csv")
    loaded = Sendy().load([tmp_path / "input.csv"])
    assert loaded.unreadable == {label: 1}
    reports = {report.table: report for report in land(Workspace(tmp_path), loaded.tables, "b").tables}
    assert (reports["stops"].good, reports["stop_events"].bad) == (30, 2)
    assert set(reports["stop_events"].reasons) == {"NULL_OCCURRED_AT"}


# --- feeds ------------------------------------------------------------------------------------------------


@feeds
@pytest.mark.parametrize("text", ["{", '"text"', "[1, 2]", "[]", "null", "[[]]"])
def test_json_that_is_no_message_is_refused(feed: Feed, text: str, tmp_path: Path) -> None:
    (tmp_path / "input.json").write_text(text)
    with pytest.raises(SourceError, match=r"input\.json"):
        feed.load([tmp_path / "input.json"], NOON)


@pytest.mark.parametrize(
    ("feed", "change", "told"),
    [
        (Traccar(), {"speed": "fast"}, "position 1: speed is 'fast', not a number"),
        (Traccar(), {"fixTime": "noon"}, "fixTime is 'noon', not a time"),
        (Traccar(), {"fixTime": "2024-05-01T08:00:00"}, "has no time zone"),
        (Traccar(), {"deviceId": None}, "lacks the field 'deviceId'"),
        (TomTom(), {"flowSegmentData": None}, "answer 1: lacks the field 'flowSegmentData'"),
        (TomTom(), {"flowSegmentData": []}, "flowSegmentData is not an object"),
        (TomTom(), {"flowSegmentData": {"currentSpeed": 3}}, "has no coordinates"),
        (Onfleet(), {"timeCreated": "yesterday"}, "timeCreated is 'yesterday', not a number"),
        (Onfleet(), {"completeAfter": 1e300}, "not milliseconds of the epoch"),
        (Onfleet(), {"destination": {"location": [1]}}, r"not \[longitude, latitude\]"),
        (OpenMeteo(), {"hourly": {}}, "has no hourly.time"),
        (OpenMeteo(), {"hourly": {"time": ["soon"]}}, "hourly.time cannot be read"),
        (OpenMeteo(), {"hourly_units": {"temperature_2m": "bananas"}}, "unit 'bananas' cannot be turned"),
        (OpenMeteo(), {"hourly": {"time": [0], "temperature_2m": []}}, "is not a list of 1 values"),
        (OpenMeteo(), {"hourly": {"time": [0], "temperature_2m": ["warm"]}}, "other things than numbers"),
    ],
)
def test_a_wrong_field_is_named(feed: Feed, change: dict[str, object], told: str, tmp_path: Path) -> None:
    (tmp_path / "input.json").write_text(json.dumps(first_message(feed) | change))
    with pytest.raises(SourceError, match=told):
        feed.load([tmp_path / "input.json"], NOON)


def places(body: object, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where each value of a JSON document stands."""
    yield place
    items = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    for key, value in items:
        yield from places(value, (*place, key))


def replaced(body: Any, place: tuple[Any, ...], value: object) -> Any:
    if not place:
        return value
    changed = body.copy()
    changed[place[0]] = replaced(body[place[0]], place[1:], value)
    return changed


HOSTILE = (None, True, -1, 10**30, float("nan"), "", "x" * 2000, [], {}, [1], "0001-01-01T00:00:00+14:00")


def first_message(feed: Feed) -> Any:
    body = json.loads((GOLDEN / feed.name / "input.json").read_text())
    return body.get("tasks", [body])[0] if isinstance(body, dict) else body[0]


@feeds
def test_a_hostile_value_anywhere_is_refused_or_takes_the_contracts_form(feed: Feed, tmp_path: Path) -> None:
    body = first_message(feed)
    for place in places(body):
        for hostile in HOSTILE:
            (tmp_path / "input.json").write_text(json.dumps(replaced(body, place, hostile)))
            try:
                loaded = feed.load([tmp_path / "input.json"], NOON)
            except SourceError:
                continue
            for name, rows in loaded.tables.items():
                assert coerce(TABLES[name], rows).num_rows == rows.num_rows


@named
@pytest.mark.parametrize(
    "hostile", ["", "nan", "inf", "1e400", "1899-01-01 00:00:00", "25:00:00", "-1", "x" * 3000]
)
def test_a_hostile_cell_is_refused_or_takes_the_contracts_form(
    adapter: Source, hostile: str, tmp_path: Path
) -> None:
    rows = rows_of(adapter).with_row_index("row")
    for column in rows.columns[1:]:
        cell = pl.when(pl.col("row") == 0).then(pl.lit(hostile)).otherwise(column)
        rows.with_columns(cell.alias(column)).drop("row").write_csv(tmp_path / "input.csv")
        try:
            loaded = adapter.load([tmp_path / "input.csv"])
        except SourceError:
            continue
        for name, table in loaded.tables.items():
            assert coerce(TABLES[name], table).num_rows == table.num_rows


def test_tomtom_needs_to_be_told_when_it_was_fetched(tmp_path: Path) -> None:
    answer = json.loads((GOLDEN / "tomtom" / "input.json").read_text())[0]
    del answer["fetched_at"]
    (tmp_path / "input.json").write_text(json.dumps(answer))
    with pytest.raises(SourceError, match="give received_at"):
        TomTom().load([tmp_path / "input.json"])
    rows = TomTom().load([tmp_path / "input.json"], NOON).tables["traffic"]
    assert rows["received_at"].to_pylist() == [NOON]


def test_an_onfleet_answer_fetched_now_was_not_known_before() -> None:
    tables = Onfleet().load([GOLDEN / "onfleet" / "input.json"], NOON).tables
    assert all(set(table["received_at"].to_pylist()) == {NOON} for table in tables.values())


def test_onfleet_personal_data_is_never_read() -> None:
    told = str(
        {name: table.to_pylist() for name, table in Onfleet().load([GOLDEN / "onfleet"]).tables.items()}
    )
    assert "Nobody" not in told
    assert "+000" not in told
    assert "Made-up Street" not in told


# --- units ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "wanted", "value", "expected"),
    [
        ("km/h", "m/s", 36.0, 10.0),
        ("kmh", "m/s", 3.6, 1.0),
        ("knots", "m/s", 1.0, 0.514444),
        ("mph", "m/s", 10.0, 4.4704),
        ("miles", "m", 1.0, 1609.344),
        ("km", "m", 1.5, 1500.0),
        ("ft", "m", 1.0, 0.3048),
        ("minutes", "s", 2.5, 150.0),
        ("h", "s", 0.5, 1800.0),
        ("ms", "s", 1500.0, 1.5),
        ("F", "degC", 212.0, 100.0),
        ("°F", "degC", 14.0, -10.0),
        ("K", "degC", 273.15, 0.0),
        ("%", "1", 25.0, 0.25),
        ("inch", "mm/h", 1.0, 25.4),
        ("m/s", "m/s", 3.0, 3.0),
    ],
)
def test_units_convert(given: str, wanted: str, value: float, expected: float) -> None:
    assert pl.select(convert(pl.lit(value), given, wanted)).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("given", "wanted"), [("furlong", "m"), ("km", "s"), ("", "m/s")])
def test_units_that_do_not_convert_name_those_that_do(given: str, wanted: str) -> None:
    with pytest.raises(SourceError, match="give one of"):
        convert(pl.lit(1.0), given, wanted)


def test_traccar_speeds_are_knots_and_tomtom_speeds_what_was_asked_for() -> None:
    pings = Traccar().load([GOLDEN / "traccar" / "input.json"]).tables["pings"]
    assert pings["speed_mps"][0].as_py() == pytest.approx(5.14444, rel=1e-5)
    miles = TomTom("mph").load([GOLDEN / "tomtom" / "input.json"]).tables["traffic"]
    assert miles["free_flow_mps"][0].as_py() == pytest.approx(54 * 0.44704)
