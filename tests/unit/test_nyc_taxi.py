"""Taxi files as routes of one stop: local clocks, known traps, and nothing of the label in the inputs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from data_contracts.errors import SourceError
from data_contracts.quarantine import coerce, split
from data_contracts.tables import TABLES
from pipelines.sources.nyc_taxi import NycTaxi

REAL = Path(__file__).parents[2] / "../shared/data"
WEATHER_HEADER = (
    "full_time,temperature_2m (°C),precipitation (mm),rain (mm),cloudcover (%),windspeed_10m (km/h)\n"
)


def clock(*moment: int) -> datetime:
    """A clock time as the files have it: without a zone."""
    return datetime(*moment)  # type: ignore[arg-type]  # noqa: DTZ001


NOON = clock(2021, 1, 15, 12)


def make_trip(picked_up: datetime = NOON, minutes: float = 20, **columns: Any) -> dict[str, Any]:
    """A trip from zone 74 to zone 41, with the columns of the published files."""
    return {
        "VendorID": 2,
        "lpep_pickup_datetime": picked_up,
        "lpep_dropoff_datetime": picked_up + timedelta(minutes=minutes),
        "PULocationID": 74,
        "DOLocationID": 41,
        "passenger_count": 1.0,
        "trip_distance": 3.2,
        "fare_amount": 12.5,
        "total_amount": 15.3,
        "trip_type": 1.0,
        "duration": minutes,
    } | columns


def write(path: Path, trips: Sequence[dict[str, Any]], **schema: pl.DataType) -> Path:
    pl.DataFrame(trips, schema_overrides=schema).write_parquet(path)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "trips.parquet"


def tables(*files: Path, weather: Path | None = None) -> dict[str, pl.DataFrame]:
    loaded = NycTaxi().load(list(files), weather)
    return {name: pl.DataFrame(pl.from_arrow(table)) for name, table in loaded.tables.items()}


def excluded(file: Path) -> dict[str, int]:
    return dict(NycTaxi().load([file]).excluded)


def utc(*moment: int) -> datetime:
    return datetime(*moment, tzinfo=UTC)  # type: ignore[arg-type,misc]


def refusal(*files: Path, weather: Path | None = None) -> SourceError:
    with pytest.raises(SourceError) as raised:
        NycTaxi().load(list(files), weather)
    assert raised.value.next_step
    return raised.value


# --- what a trip becomes ----------------------------------------------------------------------------------


def test_trip_is_a_route_of_one_stop_known_at_its_pick_up(file: Path):
    found = tables(write(file, [make_trip()]))
    route, stop = (found[name].row(0, named=True) for name in ("routes", "stops"))
    assert route["received_at"] == stop["received_at"] == utc(2021, 1, 15, 17)
    assert (route["origin_zone_id"], stop["zone_id"], stop["sequence"]) == ("74", "41", 1)
    assert stop["route_id"] == route["route_id"]
    assert route["service_date"] == "2021-01-15"


def test_outcome_is_known_at_the_drop_off(file: Path):
    events = tables(write(file, [make_trip(minutes=25)]))["stop_events"]
    known = dict(events.select("kind", "received_at").iter_rows())
    assert known == {
        "departed_depot": utc(2021, 1, 15, 17),
        "arrived": utc(2021, 1, 15, 17, 25),
        "completed": utc(2021, 1, 15, 17, 25),
    }
    assert events["received_at"].equals(events["occurred_at"].alias("received_at"))


def test_rows_keep_the_contract(file: Path):
    loaded = NycTaxi().load([write(file, [make_trip(), make_trip(minutes=40)])])
    known: dict[str, Any] = {}
    for name, table in loaded.tables.items():
        parts = split(
            TABLES[name],
            coerce(TABLES[name], table),
            {r.column: known[r.column] for r in TABLES[name].references},
        )
        assert parts.bad.num_rows == 0, parts.reasons
        for column in ("route_id", "stop_id"):
            if name in ("routes", "stops") and column in parts.good.column_names:
                known.setdefault(column, parts.good[column].to_pylist())


@pytest.mark.parametrize("of", ["duration", "trip_distance", "fare_amount", "total_amount"])
def test_what_is_recorded_at_the_end_of_a_trip_changes_nothing(tmp_path: Path, of: str):
    trips = [make_trip(minutes=m) for m in (5, 20, 59)]
    honest = tables(write(tmp_path / "a.parquet", trips))
    poisoned = tables(write(tmp_path / "b.parquet", [trip | {of: -1e9} for trip in trips]))
    without = tables(write(tmp_path / "c.parquet", [{k: v for k, v in t.items() if k != of} for t in trips]))
    for name, frame in honest.items():
        assert frame.equals(poisoned[name]) and frame.equals(without[name]), name


def test_when_a_trip_ends_shows_only_in_its_outcome(tmp_path: Path):
    """Neither the plan nor what is known at the pick-up may tell how long the trip will take; ids are names."""
    short, long = (tables(write(tmp_path / f"{m}.parquet", [make_trip(minutes=m)])) for m in (5, 50))
    for name in ("routes", "stops"):
        named = [
            column for column in short[name].columns if not column.endswith("_id") or column == "zone_id"
        ]
        assert short[name].select(named).equals(long[name].select(named)), name


@pytest.mark.parametrize("zone", [("74", "41", pl.String), (74, 41, pl.Int32), (74.0, 41.0, pl.Float64)])
def test_zone_ids_are_the_same_text_in_every_months_type(file: Path, zone: tuple[Any, Any, pl.DataType]):
    start, end, dtype = zone
    write(file, [make_trip(PULocationID=start, DOLocationID=end)], PULocationID=dtype, DOLocationID=dtype)
    found = tables(file)
    assert (found["routes"]["origin_zone_id"][0], found["stops"]["zone_id"][0]) == ("74", "41")


def test_half_of_the_columns_may_be_empty(file: Path):
    write(file, [make_trip(), make_trip(passenger_count=None, trip_type=None)])
    stops = tables(file)["stops"]
    assert sorted(stops["service_level"].to_list(), key=str) == ["1", None]
    assert stops["event_id"].null_count() == 0


# --- which trips are judged -------------------------------------------------------------------------------


def test_trips_outside_the_month_of_the_file_are_left_out_and_counted(file: Path):
    strays = [
        make_trip(clock(2008, 12, 31, 23)),
        make_trip(clock(2009, 1, 1)),
        make_trip(clock(2021, 2, 1)),
    ]
    write(file, [make_trip(), make_trip(), make_trip(), make_trip(), *strays])
    assert len(tables(file)["routes"]) == 4
    assert excluded(file) == {"outside_month": 3, "duration_out_of_range": 0}


@pytest.mark.parametrize(("minutes", "kept"), [(0.98, 0), (1, 1), (60, 1), (60.02, 0), (-5, 0), (24 * 60, 0)])
def test_trips_of_one_to_sixty_minutes_are_judged(file: Path, minutes: float, kept: int):
    write(file, [make_trip(), make_trip(minutes=minutes)])
    assert len(tables(file)["routes"]) == 1 + kept
    assert excluded(file)["duration_out_of_range"] == 1 - kept


# --- clocks -----------------------------------------------------------------------------------------------


def test_clock_of_summer_is_four_hours_behind_and_of_winter_five(file: Path):
    trips = [make_trip(clock(2021, 3, 13, 12)), make_trip(clock(2021, 3, 15, 12))]
    hours = sorted(tables(write(file, trips))["routes"]["received_at"].dt.hour())
    assert hours == [16, 17]


def test_trip_of_an_hour_that_never_was_breaks_the_contract_alone(file: Path):
    write(file, [make_trip(clock(2021, 3, 14, 2, 30)), make_trip(clock(2021, 3, 14, 12))])
    found = tables(file)["routes"]
    assert found["received_at"].null_count() == 1
    routes = NycTaxi().load([file]).tables["routes"]
    parts = split(TABLES["routes"], coerce(TABLES["routes"], routes), {})
    assert (parts.good.num_rows, parts.bad.num_rows) == (1, 1)


def test_trip_over_the_change_to_summer_time_lasts_as_long_as_it_did(file: Path):
    """Picked up at 01:50, dropped off at 03:10 of the clock: 20 minutes."""
    write(file, [make_trip(clock(2021, 3, 14, 1, 50), minutes=80), make_trip(clock(2021, 3, 14, 12))])
    events = tables(file)["stop_events"].filter(pl.col("occurred_at") < utc(2021, 3, 14, 12))
    assert sorted(events["occurred_at"].unique()) == [utc(2021, 3, 14, 6, 50), utc(2021, 3, 14, 7, 10)]


def test_no_trip_lasts_longer_than_an_hour_where_the_clock_is_doubtful(file: Path):
    """In the hour that comes twice a clock time may be read an hour off; what comes of it is left out."""
    first = clock(2021, 11, 7, 0, 30)
    trips = [make_trip(first + timedelta(minutes=7 * i), minutes=m) for i in range(20) for m in (-20, 5, 40)]
    events = tables(write(file, [*trips, make_trip(clock(2021, 11, 9))]))["stop_events"]
    wide = events.pivot("kind", index="route_id", values="occurred_at")
    minutes = (wide["arrived"] - wide["departed_depot"]).dt.total_seconds() / 60
    assert minutes.is_between(1, 60).all()


# --- identity ---------------------------------------------------------------------------------------------


def test_ids_do_not_depend_on_the_order_of_rows_or_files(tmp_path: Path):
    january = [make_trip(NOON + timedelta(minutes=i % 3), minutes=5 + i % 4) for i in range(12)]
    february = [make_trip(clock(2021, 2, 3, 9), minutes=m) for m in (7, 7, 8)]
    one, other = write(tmp_path / "1.parquet", january), write(tmp_path / "2.parquet", february)
    back = write(tmp_path / "3.parquet", january[::-1])
    straight, turned = tables(one, other), tables(other, back)
    for name, frame in straight.items():
        assert frame.sort("event_id").equals(turned[name].sort("event_id")), name
        assert frame["event_id"].n_unique() == len(frame) and frame["event_id"].null_count() == 0


def test_trips_alike_in_everything_are_trips_of_their_own(file: Path):
    assert tables(write(file, [make_trip()] * 3))["stops"]["stop_id"].n_unique() == 3


def test_file_named_twice_is_read_once(file: Path):
    write(file, [make_trip()])
    assert len(tables(file, file, file.parent)["routes"]) == 1


# --- weather ----------------------------------------------------------------------------------------------


def test_hour_of_weather_is_utc_and_known_when_it_is_over(file: Path, tmp_path: Path):
    path = tmp_path / "weather.csv"
    path.write_text(f"{WEATHER_HEADER}2021-01-15T17:00,-1.5,2.0,0.5,80,36\n")
    (row,) = tables(write(file, [make_trip()]), weather=path)["weather"].rows(named=True)
    assert row["valid_at"] == utc(2021, 1, 15, 17)
    assert row["received_at"] == row["issued_at"] == utc(2021, 1, 15, 18)
    assert (row["area_id"], row["kind"], row["temperature_c"]) == ("NYC", "observed", -1.5)
    assert row["wind_mps"] == pytest.approx(10.0) and row["cloud_share"] == pytest.approx(0.8)
    assert row["snow_cm"] == pytest.approx(1.5 * 0.7)


def test_without_weather_there_is_no_weather_table(file: Path):
    assert "weather" not in tables(write(file, [make_trip()]))


@pytest.mark.parametrize(
    "text", ["full_time,rain (mm)\n2021-01-15T17:00,0.5\n", "hello\n", f"{WEATHER_HEADER}noon,1,1,1,1,1\n"]
)
def test_table_that_is_no_weather_is_refused_by_its_name(file: Path, tmp_path: Path, text: str):
    path = tmp_path / "weather.csv"
    path.write_text(text)
    assert refusal(write(file, [make_trip()]), weather=path).where == str(path)


# --- bad files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lpep_pickup_datetime", "DOLocationID", "VendorID"])
def test_missing_column_is_named_with_its_file(file: Path, name: str):
    trip = make_trip()
    del trip[name]
    error = refusal(write(file, [trip]))
    assert error.where == str(file) and name in error.what


def test_file_without_rows_is_refused(file: Path):
    pl.DataFrame([make_trip()]).clear().write_parquet(file)
    assert refusal(file).where == str(file)


def test_empty_file_is_refused(file: Path):
    file.write_bytes(b"")
    error = refusal(file)
    assert error.where == str(file) and "empty" in error.what


def test_file_that_is_not_parquet_is_refused(file: Path):
    file.write_text("VendorID,lpep_pickup_datetime\n")
    error = refusal(file)
    assert error.where == str(file) and "Parquet" in error.what


def test_half_a_file_is_refused(file: Path):
    write(file, [make_trip()] * 100)
    file.write_bytes(file.read_bytes()[:-40])
    assert refusal(file).where == str(file)


def test_path_that_names_nothing_is_refused(tmp_path: Path):
    assert refusal(tmp_path / "gone.parquet").where == str(tmp_path / "gone.parquet")
    assert "*.parquet" in refusal(tmp_path).what


# --- the published files ----------------------------------------------------------------------------------


@pytest.mark.real_data
@pytest.mark.skipif(
    not (REAL / "nyc_green_taxi").exists(), reason="the taxi files are not here (../shared/data)"
)
@pytest.mark.parametrize("month", ["2021-01", "2023-02"])
def test_published_month_is_read_whole_and_keeps_the_rules(month: str):
    loaded = NycTaxi().load([REAL / "nyc_green_taxi" / f"green_tripdata_{month}.parquet"], None)
    routes = pl.DataFrame(pl.from_arrow(loaded.tables["routes"]))
    events = pl.DataFrame(pl.from_arrow(loaded.tables["stop_events"]))
    assert 60_000 < len(routes) < 75_000 and routes["event_id"].n_unique() == len(routes)
    assert routes["received_at"].null_count() == 0
    assert set(routes["service_date"].str.slice(0, 7)) == {month}
    span = events.group_by("route_id").agg(pl.col("occurred_at").max() - pl.col("occurred_at").min())
    minutes = span["occurred_at"].dt.total_seconds() / 60
    assert minutes.is_between(1, 60).all()
    assert 10 < minutes.median() < 20  # type: ignore[operator]


@pytest.mark.real_data
@pytest.mark.skipif(
    not (REAL / "nyc_weather").exists(), reason="the weather file is not here (../shared/data)"
)
def test_published_weather_is_hourly_to_its_end(file: Path):
    found = tables(write(file, [make_trip()]), weather=REAL / "nyc_weather")["weather"].sort("valid_at")
    assert found["valid_at"].diff().drop_nulls().unique().to_list() == [timedelta(hours=1)]
    assert 5 < found["temperature_c"].fill_nan(None).mean() < 20  # type: ignore[operator]
