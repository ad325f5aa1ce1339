"""What published data sets hide: each trap of theirs is a test, on made-up rows."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from data_contracts.errors import SourceError
from pipelines.sources.delhivery import CORRIDORS_KNOWN_AT, Delhivery
from pipelines.sources.frozen import moved_before, opened, sealed
from pipelines.sources.kandy import Kandy
from pipelines.sources.lade import Lade
from pipelines.sources.nyc_taxi import NycTaxi
from pipelines.sources.open_meteo import OpenMeteo, weather_of
from pipelines.sources.sendy import Sendy, held_out
from pipelines.sources.source import History, Loaded, Source
from training.instants import Instants

GOLDEN = Path(__file__).parents[1] / "golden"
SETS: dict[str, Source] = {"sendy": Sendy(), "kandy": Kandy(), "delhivery": Delhivery(), "lade": Lade()}


def frame(loaded: Loaded, table: str) -> pl.DataFrame:
    return pl.DataFrame(loaded.tables[table])


def golden(name: str) -> Loaded:
    return SETS[name].load([GOLDEN / name / "input.csv"])


def altered(name: str, tmp_path: Path, **columns: object) -> Loaded:
    """The golden rows of a set with other values in some columns."""
    rows = pl.read_csv(GOLDEN / name / "input.csv", infer_schema=False)
    rows = rows.with_columns(pl.lit(str(value)).alias(column) for column, value in columns.items())
    rows.write_csv(tmp_path / "input.csv")
    return SETS[name].load([tmp_path / "input.csv"])


def trips(tmp_path: Path, **columns: object) -> Path:
    rows = pl.read_ndjson(GOLDEN / "nyc_taxi" / "input.ndjson").with_columns(
        pl.col("lpep_pickup_datetime", "lpep_dropoff_datetime").str.to_datetime()
    )
    file = tmp_path / "trips.parquet"
    rows.with_columns(pl.lit(value).alias(name) for name, value in columns.items()).write_parquet(file)
    return file


# --- New York taxis and weather ---------------------------------------------------------------------------


def test_taxi_columns_recorded_at_the_end_of_a_trip_are_never_read(tmp_path: Path) -> None:
    plain = NycTaxi().load([trips(tmp_path)])
    absurd = NycTaxi().load(
        [trips(tmp_path, trip_distance=99.0, duration=1.0, fare_amount=0.0, total_amount=0.0)]
    )
    assert plain.tables == absurd.tables


def test_taxi_trips_outside_their_month_or_1_to_60_minutes_are_counted_out(tmp_path: Path) -> None:
    loaded = NycTaxi().load([trips(tmp_path)])
    assert loaded.excluded == {"outside_month": 1, "duration_out_of_range": 2}
    assert loaded.tables["routes"].num_rows == 2


def test_taxi_zones_are_the_same_as_text_and_as_integers(tmp_path: Path) -> None:
    as_text = NycTaxi().load([trips(tmp_path)])
    rows = pl.read_parquet(tmp_path / "trips.parquet")
    rows.with_columns(pl.col("PULocationID", "DOLocationID").cast(pl.Int64)).write_parquet(
        tmp_path / "integers.parquet"
    )
    assert NycTaxi().load([tmp_path / "integers.parquet"]).tables == as_text.tables


def test_taxi_weather_is_in_utc_and_known_when_its_hour_is_over() -> None:
    hour = pl.DataFrame(weather_of([GOLDEN / "nyc_taxi" / "weather.csv"], "NYC")).row(0, named=True)
    assert hour["valid_at"] == datetime(2021, 3, 2, 13, tzinfo=UTC)
    assert hour["received_at"] == hour["issued_at"] == datetime(2021, 3, 2, 14, tzinfo=UTC)


def test_taxis_do_without_weather(tmp_path: Path) -> None:
    assert "weather" not in NycTaxi().load([trips(tmp_path)]).tables


# --- Sendy ------------------------------------------------------------------------------------------------


def test_sendy_orders_stand_in_one_pseudo_week_by_their_weekday() -> None:
    routes = frame(golden("sendy"), "routes")
    assert routes["service_date"].to_list() == ["2001-01-01", "2001-01-01", "2001-01-07"]


def test_sendy_is_frozen_and_no_outcome_is_known_before_any_pickup() -> None:
    events = frame(golden("sendy"), "stop_events")
    outcomes = events.filter(pl.col("kind") != "departed_depot")
    assert Sendy().history is History.UNDATED
    assert outcomes["received_at"].n_unique() == 1
    assert outcomes["received_at"].min() > events.filter(kind="departed_depot")["received_at"].max()  # type: ignore[operator]


@pytest.mark.parametrize("column", ["Time", "Day of Month", "Weekday (Mo = 1)"])
def test_sendy_arrival_columns_are_never_read(column: str, tmp_path: Path) -> None:
    other = altered("sendy", tmp_path, **{f"Arrival at Destination - {column}": 1})
    assert other.tables == golden("sendy").tables


def test_sendy_label_moves_the_outcome_and_nothing_else(tmp_path: Path) -> None:
    plain, other = golden("sendy"), altered("sendy", tmp_path, **{"Time from Pickup to Arrival": 61})
    assert other.tables["routes"] == plain.tables["routes"]
    assert other.tables["stops"] == plain.tables["stops"]
    assert other.tables["weather"] == plain.tables["weather"]
    left = pl.col("kind") == "departed_depot"
    assert frame(other, "stop_events").filter(left).equals(frame(plain, "stop_events").filter(left))


def test_sendy_keeps_labels_under_a_minute() -> None:
    events = frame(golden("sendy"), "stop_events").filter(pl.col("route_id") == "R-Order_No_A2")
    left, arrived = (events.filter(kind=kind)["occurred_at"][0] for kind in ("departed_depot", "arrived"))
    assert arrived - left == timedelta(seconds=20)


def test_sendy_absent_temperature_and_rain_stay_absent_for_their_order() -> None:
    weather = frame(golden("sendy"), "weather")
    assert weather["temperature_c"].to_list() == [21.5, None, None]
    assert weather["precipitation_mm"].to_list() == [None, 2.5, None]
    departures = frame(golden("sendy"), "stop_events").filter(kind="departed_depot")
    assert weather["received_at"].to_list() == departures["received_at"].to_list()


def test_sendy_planned_distance_is_in_metres() -> None:
    assert frame(golden("sendy"), "stops")["planned_distance_m"].to_list() == [8000, 4000, 12_000]


def test_sendy_waiting_at_the_pick_up_is_a_late_departure_and_no_stage_is_after_it(tmp_path: Path) -> None:
    ready = frame(golden("sendy"), "routes")["planned_departure_at"]
    left = frame(golden("sendy"), "stop_events").filter(kind="departed_depot")["occurred_at"]
    assert (left - ready).dt.total_minutes().to_list() == [10, 10, 10]
    late = altered("sendy", tmp_path, **{"Arrival at Pickup - Time": "11:59:00 PM"})
    assert (frame(late, "routes")["planned_departure_at"] <= left).all()


def test_sendy_orders_of_the_day_before_keep_their_placement() -> None:
    placed = frame(golden("sendy"), "routes")["occurred_at"][2]
    assert placed == datetime(2001, 1, 6, 15, tzinfo=UTC)


def test_sendy_refuses_weather_that_it_cannot_date(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no calendar"):
        Sendy().load([GOLDEN / "sendy" / "input.csv"], tmp_path)


def test_sendy_hash_holds_out_a_fifth_and_depends_on_the_seed() -> None:
    orders = [f"Order_No_{number}" for number in range(10_000)]
    first, second = ({order for order in orders if held_out(order, seed)} for seed in (1, 2))
    assert 0.18 < len(first) / len(orders) < 0.22
    assert len(first & second) < 0.3 * len(first)


# --- Kandy ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["weather", "run_time_in_seconds", "hour", "time_interval", "part_of_day"])
def test_kandy_columns_made_of_the_label_or_the_segments_start_are_never_read(
    column: str, tmp_path: Path
) -> None:
    assert altered("kandy", tmp_path, **{column: 0}).tables == golden("kandy").tables


def test_kandy_keeps_only_trips_with_all_segments() -> None:
    loaded = golden("kandy")
    assert frame(loaded, "routes")["route_id"].to_list() == ["R-501-1"]
    assert loaded.excluded["trip_lacks_segments"] == 14


def test_kandy_waits_at_a_stop_until_the_next_segment_starts() -> None:
    events = frame(golden("kandy"), "stop_events").filter(pl.col("stop_id") == "S-501-1-1")
    arrived, completed = (events.filter(kind=kind)["occurred_at"][0] for kind in ("arrived", "completed"))
    assert arrived == datetime(2021, 10, 4, 1, 31, 10, tzinfo=UTC)
    assert completed - arrived == timedelta(seconds=15)
    assert events["received_at"].to_list() == events["occurred_at"].to_list()


def test_kandy_stops_are_other_places_in_the_other_direction(tmp_path: Path) -> None:
    there = frame(golden("kandy"), "stops")["zone_id"]
    back = frame(altered("kandy", tmp_path, direction=2), "stops")["zone_id"]
    assert not set(there) & set(back)


def test_kandy_is_asked_about_at_each_arrival() -> None:
    assert Kandy().instants is Instants.AT_EACH_ARRIVAL


# --- Delhivery --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "column", ["M0_osrm", "M1_lookup", "M2_tabular", "M3_graph", "q50", "q80", "q90", "seen_corridor"]
)
def test_delhivery_predictions_of_others_are_never_read(column: str, tmp_path: Path) -> None:
    assert altered("delhivery", tmp_path, **{column: -1}).tables == golden("delhivery").tables


def test_delhivery_outcomes_are_never_live() -> None:
    events = frame(golden("delhivery"), "stop_events")
    outcomes = events.filter(pl.col("kind") != "departed_depot")
    latest_as_of = events.filter(kind="departed_depot")["received_at"].max()
    assert Delhivery().history is History.SEALED
    assert (outcomes["received_at"] > latest_as_of).all()


def test_delhivery_osrm_minutes_are_the_plan_and_the_trip_is_the_unit() -> None:
    loaded = golden("delhivery")
    assert frame(loaded, "stops")["planned_travel_s"].to_list() == [1800, 3600, 1200]
    assert frame(loaded, "routes")["vehicle_id"].n_unique() == 2
    assert Delhivery().cluster == "vehicle_id"


def test_delhivery_corridors_precede_every_leg_and_cannot_be_asked_about() -> None:
    context = {name: pl.DataFrame(table) for name, table in golden("delhivery").context.items()}
    assert context["routes"].height == 2
    assert all((rows["received_at"] == CORRIDORS_KNOWN_AT).all() for rows in context.values())
    events = context["stop_events"]
    left, arrived = (events.filter(kind=kind)["occurred_at"] for kind in ("departed_depot", "arrived"))
    assert (arrived - left).to_list() == [timedelta(minutes=70)] * 2


def test_delhivery_does_without_corridors(tmp_path: Path) -> None:
    assert altered("delhivery", tmp_path).context == {}


# --- LaDe -------------------------------------------------------------------------------------------------


def test_lade_takes_its_year_as_an_argument_and_passes_new_year() -> None:
    events = pl.DataFrame(Lade(2021).load([GOLDEN / "lade" / "input.csv"]).tables["stop_events"])
    late = events.filter((pl.col("stop_id") == "S-Jilin-13") & (pl.col("kind") == "arrived"))
    assert late["occurred_at"][0] == datetime(2021, 12, 31, 16, 20, tzinfo=UTC)
    assert events["occurred_at"].min() == datetime(2021, 5, 29, 0, 15, tzinfo=UTC)


def test_lade_nan_positions_become_no_ping_and_no_origin() -> None:
    loaded = golden("lade")
    assert frame(loaded, "pings").filter(pl.col("event_id").str.ends_with("accept")).height == 2
    night = frame(loaded, "routes").filter(pl.col("route_id") == "R-Jilin-8-1231")
    assert night["origin_lat"][0] is None
    assert night["origin_zone_id"][0] == "region:3"


def test_lade_sequence_does_not_depend_on_the_order_of_delivery(tmp_path: Path) -> None:
    plain = frame(golden("lade"), "stops")
    other = frame(altered("lade", tmp_path, delivery_time="12-31 23:30:00"), "stops")
    assert plain.equals(other)
    assert plain.filter(pl.col("route_id") == "R-Jilin-9-0529")["stop_id"].to_list() == [
        "S-Jilin-11",
        "S-Jilin-12",
        "S-Jilin-10",
    ]


def test_lade_orders_are_known_when_they_are_accepted() -> None:
    stop = frame(golden("lade"), "stops").filter(pl.col("stop_id") == "S-Jilin-10")
    assert stop["received_at"][0] == datetime(2022, 5, 29, 6, tzinfo=UTC)


# --- frozen sets ------------------------------------------------------------------------------------------


def test_an_opened_past_is_known_as_it_happens_and_moves_by_whole_weeks() -> None:
    tables = opened(golden("sendy").tables)
    events = pl.DataFrame(tables["stop_events"])
    assert (events["received_at"] == events["occurred_at"]).all()
    moved = {
        name: pl.DataFrame(t) for name, t in moved_before(tables, datetime(2001, 1, 1, tzinfo=UTC)).items()
    }
    assert max(rows["received_at"].max() for rows in moved.values()) < datetime(2001, 1, 1, tzinfo=UTC)  # type: ignore[type-var]
    assert moved["routes"]["service_date"].to_list() == ["2000-12-25", "2000-12-25", "2000-12-31"]
    assert (events["occurred_at"] - moved["stop_events"]["occurred_at"]).unique().to_list() == [
        timedelta(weeks=1)
    ]


def test_a_past_that_is_over_stays_where_it_is() -> None:
    tables = opened(golden("delhivery").tables)
    moved = moved_before(tables, datetime(2018, 10, 1, tzinfo=UTC))
    assert moved["stop_events"]["received_at"] == tables["stop_events"]["received_at"]
    assert sealed(moved)["stop_events"] == golden("delhivery").tables["stop_events"]


# --- Open-Meteo without an issue time ---------------------------------------------------------------------


def test_an_archive_of_weather_is_known_hour_by_hour() -> None:
    rows = frame(OpenMeteo().load([GOLDEN / "open_meteo" / "input.json"]), "weather")
    assert rows["kind"].unique().to_list() == ["observed"]
    assert (rows["received_at"] - rows["valid_at"]).unique().to_list() == [timedelta(hours=1)]


def test_a_forecast_says_when_it_was_issued() -> None:
    fetched_at = datetime(2024, 5, 1, 5, tzinfo=UTC)
    rows = frame(OpenMeteo().load([GOLDEN / "open_meteo" / "input.json"], fetched_at), "weather")
    assert rows["kind"].unique().to_list() == ["forecast"]
    assert rows["issued_at"].unique().to_list() == [fetched_at]
    assert json.loads((GOLDEN / "open_meteo" / "input.json").read_text())["utc_offset_seconds"] == 7200
    assert rows["valid_at"][0] == datetime(2024, 5, 1, 6, tzinfo=UTC)
