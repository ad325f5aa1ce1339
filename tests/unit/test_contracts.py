"""Contracts: the form of a table, the content of its rows, and the suite that checks what was let through."""

from __future__ import annotations

import math
import string
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_contracts.checks import suite, validate, validate_rows
from data_contracts.errors import ContractError, PunctualError
from data_contracts.quarantine import REASONS, Split, coerce, split
from data_contracts.rules import reasons
from data_contracts.tables import (
    PINGS,
    ROUTES,
    STOP_EVENTS,
    STOPS,
    TABLES,
    WEATHER,
    Column,
    Dtype,
    Form,
    Table,
)

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
GOOD_TEXT = {Form.DAY: "2024-05-01", Form.TIMEZONE: "Europe/Berlin"}
ACROSS_ROWS = (
    "EVENT_ID_REUSED",
    "KEY_REUSED",
    "FAR_FROM_ROUTE",
    "FAR_FROM_VEHICLE",
    "COMPLETED_BEFORE_ARRIVED",
)
quick = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def make_row(table: Table, number: int = 0, **more: object) -> dict[str, Any]:
    """A good row; whatever is named replaces what it would hold."""
    plain = {
        Dtype.STRING: f"x{number}",
        Dtype.INTEGER: 1,
        Dtype.NUMBER: 1.0,
        Dtype.BOOLEAN: True,
        Dtype.TIMESTAMP: NOON,
    }
    row = {c.name: c.allowed[0] if c.allowed else plain[c.dtype] for c in table.columns}
    return row | {c.name: GOOD_TEXT[c.form] for c in table.columns if c.form} | more


def make_rows(table: Table, *rows: dict[str, Any]) -> pa.Table:
    numbered = [make_row(table, number, **row) for number, row in enumerate(rows)]
    return pa.Table.from_pylist(numbered, schema=table.arrow_schema())


def replace(rows: pa.Table, name: str, values: Any) -> pa.Table:
    return rows.set_column(rows.column_names.index(name), name, values)


def reasons_of(table: Table, known: dict[str, Any] | None = None, **more: object) -> list[str]:
    """The codes of one row that is good but for what is named."""
    return split(table, make_rows(table, more), known).bad[REASONS].to_pylist()[0]


def codes_after_coerce(table: Table, rows: pa.Table) -> list[list[str]]:
    return split(table, coerce(table, rows)).bad[REASONS].to_pylist()


# --- split ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", TABLES.values(), ids=list(TABLES))
def test_good_rows_pass_untouched(table: Table) -> None:
    rows = make_rows(table, {}, {}, {})
    parts = split(table, rows)
    assert parts.good.equals(rows)
    assert (parts.bad.num_rows, parts.duplicates, parts.reasons) == (0, 0, {})


@pytest.mark.parametrize(
    ("table", "broken", "code"),
    [
        (STOPS, {"zone_id": None}, "NULL_ZONE_ID"),
        (STOPS, {"zone_id": " "}, "NULL_ZONE_ID"),
        (STOPS, {"lat": 122.0}, "RANGE_LAT"),
        (STOPS, {"planned_travel_s": -30.0}, "RANGE_PLANNED_TRAVEL_S"),
        (STOPS, {"sequence": 0}, "RANGE_SEQUENCE"),
        (STOPS, {"value": math.inf}, "NOT_A_NUMBER"),
        (STOPS, {"site_id": "x" * 1_000_000}, "TOO_LONG_SITE_ID"),
        (STOPS, {"promised_end_at": NOON - timedelta(seconds=1)}, "PROMISED_START_AT_AFTER_PROMISED_END_AT"),
        (PINGS, {"lat": math.nan}, "NOT_A_NUMBER"),
        (PINGS, {"occurred_at": NOON + timedelta(minutes=6)}, "OCCURRED_AT_AFTER_RECEIVED_AT"),
        (PINGS, {"occurred_at": datetime(1899, 12, 31, tzinfo=UTC)}, "TIMESTAMP_OUT_OF_RANGE"),
        (WEATHER, {"kind": "forecast", "valid_at": datetime(2100, 1, 2, tzinfo=UTC)}, "TIMESTAMP_OUT_OF_RANGE"),
        (WEATHER, {"valid_at": NOON + timedelta(hours=1)}, "VALID_AT_AFTER_RECEIVED_AT"),
        (WEATHER, {"issued_at": NOON + timedelta(hours=1)}, "ISSUED_AT_AFTER_RECEIVED_AT"),
        (ROUTES, {"timezone": "Mars/Olympus"}, "FORM_TIMEZONE"),
        (ROUTES, {"service_date": "2024-02-30"}, "FORM_SERVICE_DATE"),
        (ROUTES, {"service_date": "20240501"}, "FORM_SERVICE_DATE"),
        (PINGS, {"lat": 0.0, "lon": -0.0}, "NULL_ISLAND"),
        (STOP_EVENTS, {"kind": "teleported"}, "VALUE_KIND"),
    ],
)  # fmt: skip
def test_a_broken_promise_has_its_code(table: Table, broken: dict[str, Any], code: str) -> None:
    assert reasons_of(table, **broken) == [code]


def test_every_broken_promise_of_a_row_is_told() -> None:
    assert reasons_of(STOPS, lat=91.0, lon=-181.0, zone_id=None) == ["NULL_ZONE_ID", "RANGE_LAT", "RANGE_LON"]


def test_an_unknown_reference_is_quarantined_and_an_absent_one_is_not() -> None:
    known = {"route_id": ["x0"], "stop_id": {"x0"}}
    assert reasons_of(STOP_EVENTS, known, stop_id="S-9") == ["UNKNOWN_STOP_ID"]
    assert reasons_of(STOP_EVENTS, {"route_id": [], "stop_id": []}, stop_id=None) == ["UNKNOWN_ROUTE_ID"]
    assert split(STOP_EVENTS, make_rows(STOP_EVENTS, {"stop_id": None}), known).good.num_rows == 1


def test_nan_in_a_nullable_number_means_missing() -> None:
    good = split(STOPS, make_rows(STOPS, {"value": math.nan})).good
    assert good["value"].to_pylist() == [None]


def test_clock_skew_within_the_slack_is_good() -> None:
    rows = make_rows(PINGS, {"occurred_at": NOON + timedelta(minutes=5)})
    assert split(PINGS, rows).good.num_rows == 1


def test_a_redelivered_row_is_a_duplicate_and_the_first_received_stays() -> None:
    first = {"event_id": "e", "vehicle_id": "V", "route_id": "R", "status": "ok"}
    rows = make_rows(PINGS, first | {"received_at": NOON + timedelta(seconds=9)}, first, first)
    parts = split(PINGS, rows)
    assert parts.duplicates == 2
    assert parts.good["received_at"].to_pylist() == [NOON]


def test_the_same_event_id_with_other_content_is_quarantined() -> None:
    parts = split(PINGS, make_rows(PINGS, {"event_id": "e"}, {"event_id": "e", "lat": 2.0}))
    assert parts.reasons == {"EVENT_ID_REUSED": 1}
    assert parts.good["lat"].to_pylist() == [1.0]


def test_the_same_key_under_two_event_ids_is_a_duplicate_only_when_it_says_the_same() -> None:
    stop = make_row(STOPS)
    rows = make_rows(STOPS, stop, stop | {"event_id": "again"}, stop | {"event_id": "moved", "lat": 9.0})
    parts = split(STOPS, rows)
    assert (parts.good.num_rows, parts.duplicates, parts.reasons) == (1, 1, {"KEY_REUSED": 1})


def test_a_row_that_an_earlier_batch_landed_is_a_duplicate() -> None:
    parts = split(PINGS, make_rows(PINGS, {}, {}), landed_ids={"x1"})
    assert (parts.good["event_id"].to_pylist(), parts.duplicates) == (["x0"], 1)


def test_bad_rows_do_not_displace_a_good_row_of_the_same_id() -> None:
    rows = make_rows(PINGS, {"event_id": "e", "lat": 99.0}, {"event_id": "e"})
    assert split(PINGS, rows).good["lat"].to_pylist() == [1.0]


def test_split_refuses_a_table_that_was_not_coerced() -> None:
    rows = make_rows(PINGS, {}).drop_columns(["status"])
    with pytest.raises(ContractError, match=r"pings: columns status .* coerce the table first"):
        split(PINGS, rows)


# --- coerce -----------------------------------------------------------------------------------------------


def test_missing_optional_columns_become_null() -> None:
    rows = coerce(PINGS, make_rows(PINGS, {}).drop_columns(["status", "speed_mps"]))
    assert rows.schema.equals(PINGS.arrow_schema(), check_metadata=True)
    assert rows["status"].to_pylist() == [None]


def test_a_missing_required_column_is_named_with_what_to_do() -> None:
    with pytest.raises(ContractError, match=r"pings: required column 'vehicle_id' is missing .*; add it"):
        coerce(PINGS, make_rows(PINGS, {}).drop_columns(["vehicle_id"]))


def test_text_times_of_mixed_zones_become_utc() -> None:
    told = ["2024-05-01T14:00:00+02:00", "2024-05-01 12:00:00Z", "2024-05-01t06:30:00.000-0530", "soon"]
    rows = make_rows(PINGS, {}, {}, {}, {})
    coerced = coerce(PINGS, replace(rows, "occurred_at", pa.array(told)))
    assert coerced["occurred_at"].to_pylist() == [NOON, NOON, NOON, None]
    assert split(PINGS, coerced).bad[REASONS].to_pylist() == [["TYPE_OCCURRED_AT"]]


@pytest.mark.parametrize(
    "naive",
    [pa.array([NOON.replace(tzinfo=None)]), pa.array(["2024-05-01T12:00:00"]), pa.array(["2024-05-01"])],
    ids=str,
)
def test_times_without_a_zone_are_refused(naive: pa.Array) -> None:
    with pytest.raises(
        ContractError, match=r"pings: column 'occurred_at' is .* without a time zone.*adapter"
    ):
        coerce(PINGS, replace(make_rows(PINGS, {}), "occurred_at", naive))


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "+02:00"])
def test_typed_times_of_any_unit_and_zone_fit(unit: str, zone: str) -> None:
    times = pa.array([NOON]).cast(pa.timestamp(unit, zone))
    rows = coerce(PINGS, replace(make_rows(PINGS, {}), "occurred_at", times))
    assert rows["occurred_at"].to_pylist() == [NOON]


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
def test_unprintable_instants_make_only_their_row_bad(unit: str) -> None:
    ticks = [0, 2**63 - 1, -(2**63) + 1]
    times = pa.array(ticks).cast(pa.timestamp(unit, "UTC"))
    codes = codes_after_coerce(PINGS, replace(make_rows(PINGS, {}, {}, {}), "received_at", times))
    assert [set(row) for row in codes[1:]] == [{"TYPE_RECEIVED_AT"}] * 2


def test_whole_numbers_may_come_as_floats_or_text() -> None:
    rows = make_rows(STOPS, {}, {}, {})
    for given_as in (
        pa.array([3.0, 4.5, math.nan]),
        pa.array(["3", "4.5", ""]),
        pa.array(["3.0", "x", None]),
    ):
        coerced = coerce(STOPS, replace(rows, "parcels", given_as))
        assert coerced["parcels"].to_pylist() == [3, None, None]
        assert split(STOPS, coerced).reasons == {"TYPE_PARCELS": 1}


def test_ids_may_come_as_numbers() -> None:
    rows = make_rows(STOPS, {}, {})
    for given_as in (pa.array([17, 18]), pa.array([17.0, 18.0]), pa.array(["17", "18"]).dictionary_encode()):
        assert coerce(STOPS, replace(rows, "stop_id", given_as))["stop_id"].to_pylist() == ["17", "18"]


def test_polars_frames_are_taken_too() -> None:
    frame = pl.from_arrow(make_rows(STOPS, {}, {}))
    assert isinstance(frame, pl.DataFrame)
    assert coerce(STOPS, frame).equals(make_rows(STOPS, {}, {}))


def test_columns_that_can_never_fit_are_refused() -> None:
    rows = make_rows(STOPS, {})
    for name, values in {
        "lat": pa.array([[1.0]]),
        "stop_id": pa.array([{"a": 1}]),
        "occurred_at": pa.array([5]),
    }.items():
        with pytest.raises(ContractError, match=f"stops: column '{name}' is of type"):
            coerce(STOPS, replace(rows, name, values))


def test_a_column_given_twice_is_refused() -> None:
    rows = make_rows(PINGS, {})
    with pytest.raises(ContractError, match="'lat' occur more than once"):
        coerce(PINGS, rows.append_column("lat", rows["lat"]))


# --- hostile rows -----------------------------------------------------------------------------------------

_TIMES = st.one_of(
    st.none(),
    st.just(datetime(1899, 6, 1, tzinfo=UTC)),
    st.integers(-10_000, 50_000).map(lambda days: NOON + timedelta(days=days)),
    st.sampled_from([NOON, NOON + timedelta(minutes=4), NOON + timedelta(hours=1)]),
)
_HOSTILE = {
    Dtype.STRING: st.one_of(
        st.none(), st.sampled_from(["a", "b", "", " ", "x" * 1_100]), st.text(string.printable, max_size=5)
    ),
    Dtype.INTEGER: st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.integers(0, 5)),
    Dtype.NUMBER: st.one_of(st.none(), st.floats(), st.floats(0, 1), st.sampled_from([-1e-9, 52.0, 13.4])),
    Dtype.BOOLEAN: st.one_of(st.none(), st.booleans()),
    Dtype.TIMESTAMP: _TIMES,
}


def _cell(column: Column) -> st.SearchStrategy[Any]:
    hostile = _HOSTILE[column.dtype]
    return st.one_of(st.sampled_from(column.allowed), hostile) if column.allowed else hostile


@st.composite
def hostile_batches(draw: st.DrawFn, table: Table) -> pa.Table:
    """Good rows of which some cells are replaced, some rows repeated and some ids shared."""
    rows = []
    for number in range(draw(st.integers(0, 6))):
        chosen = draw(st.lists(st.sampled_from(table.columns), max_size=3, unique_by=lambda c: c.name))
        rows.append(make_row(table, number, **{c.name: draw(_cell(c)) for c in chosen}))
    if rows:
        rows += [dict(row) for row in draw(st.lists(st.sampled_from(rows), max_size=3))]
    return pa.Table.from_pylist(rows, schema=table.arrow_schema())


def cell_keeps_contract(column: Column, value: Any) -> bool:
    match value:
        case None:
            return not column.required
        case str() if not value.strip():
            return not column.required
        case str() if column.form is not None:
            return value == GOOD_TEXT[column.form]
        case str():
            return len(value) <= 1024 and (column.allowed is None or value in column.allowed)
        case datetime():
            return datetime(2000, 1, 1, tzinfo=UTC) <= value <= datetime(2100, 1, 1, tzinfo=UTC)
        case float() if math.isnan(value):
            return not column.required
        case float() if math.isinf(value):
            return False
    return not (column.low is not None and value < column.low) and not (
        column.high is not None and value > column.high
    )


def keeps_contract(table: Table, row: dict[str, Any]) -> bool:
    """The contract of a single row, told a second time and slowly."""
    return (
        all(cell_keeps_contract(column, row[column.name]) for column in table.columns)
        and all(
            row[order.earlier] <= row[order.later] + order.slack
            for order in table.orders
            if row[order.earlier] is not None and row[order.later] is not None
            if order.only is None or row[order.only[0]] == order.only[1]
        )
        and not any(row[place.lat] == row[place.lon] == 0 for place in table.positions)
    )


@quick
@given(data=st.data(), table=st.sampled_from(list(TABLES.values())))
def test_no_row_is_ever_lost_and_no_bad_one_let_through(data: st.DataObject, table: Table) -> None:
    rows = data.draw(hostile_batches(table))
    parts = split(table, coerce(table, rows))
    assert parts.good.num_rows + parts.bad.num_rows + parts.duplicates == rows.num_rows
    by_themselves = [row for row in rows.to_pylist() if keeps_contract(table, row)]
    conflicts = sum(parts.reasons[code] for code in ACROSS_ROWS)
    assert parts.good.num_rows + parts.duplicates + conflicts == len(by_themselves)
    assert {row["event_id"] for row in by_themselves} >= set(parts.good["event_id"].to_pylist())
    assert all(keeps_contract(table, row) for row in parts.good.to_pylist())
    assert all(parts.bad[REASONS].to_pylist())
    assert set(parts.reasons) <= set(reasons(table))
    parts.good.validate(full=True)
    assert parts.good.schema.equals(table.arrow_schema())


@quick
@given(data=st.data(), table=st.sampled_from(list(TABLES.values())))
def test_splitting_good_rows_again_changes_nothing(data: st.DataObject, table: Table) -> None:
    good = split(table, coerce(table, data.draw(hostile_batches(table)))).good
    again = split(table, good)
    assert again.good.equals(good)
    assert (again.bad.num_rows, again.duplicates) == (0, 0)


_ANY_TYPE = st.sampled_from(
    [
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.int8(),
        pa.uint64(),
        pa.float16(),
        pa.float32(),
        pa.bool_(),
        pa.binary(),
        pa.date32(),
        pa.time64("us"),
        pa.duration("s"),
        pa.timestamp("ns", "+05:30"),
        pa.timestamp("ms"),
        pa.decimal128(9, 2),
        pa.decimal256(50, 2),
        pa.list_(pa.list_(pa.string())),
        pa.struct([("lat", pa.float64())]),
        pa.map_(pa.string(), pa.int64()),
        pa.null(),
        pa.dictionary(pa.int8(), pa.string()),
        pa.dictionary(pa.int32(), pa.list_(pa.int64())),
        pa.month_day_nano_interval(),
        pa.uuid(),
    ]
)


@quick
@given(data=st.data(), table=st.sampled_from(list(TABLES.values())))
def test_a_column_of_any_type_is_refused_or_judged(data: st.DataObject, table: Table) -> None:
    rows = make_rows(table, {}, {})
    name = data.draw(st.sampled_from(table.names))
    garbage = pa.nulls(2, data.draw(_ANY_TYPE))
    try:
        parts = split(table, coerce(table, replace(rows, name, garbage)))
    except PunctualError as error:
        assert name in str(error)
    else:
        assert parts.good.num_rows + parts.bad.num_rows + parts.duplicates == 2


@quick
@given(
    name=st.sampled_from(STOPS.names),
    cells=st.lists(st.one_of(st.none(), st.text(max_size=12), st.floats().map(str)), min_size=2, max_size=2),
)
def test_text_in_any_column_makes_only_its_row_bad(name: str, cells: list[str | None]) -> None:
    rows = replace(make_rows(STOPS, {}, {}), name, pa.array(cells, pa.string()))
    try:
        parts = split(STOPS, coerce(STOPS, rows))
    except ContractError as error:
        assert "without a time zone" in str(error)
    else:
        assert parts.good.num_rows + parts.bad.num_rows + parts.duplicates == 2


_NESTED = st.sampled_from(
    [
        pa.array([[["x"]], None]),
        pa.array([{"lat": [[52.0], []], "deg": {"deg": 1}}, {}]),
        pa.array([[("k", 1)], []], pa.map_(pa.string(), pa.int64())),
        pa.array([b"\xff\xfe", b""]),
        pa.array(['{"lat": [[[]]]}', "[" * 5_000]),
        pa.array(["x" * 10_000_000, "y"]),
        pa.array([timedelta(days=-1), None]),
    ]
)


@settings(max_examples=30, deadline=None)
@given(garbage=_NESTED, table=st.sampled_from(list(TABLES.values())), data=st.data())
def test_nested_garbage_and_giant_text_are_refused_or_make_only_their_rows_bad(
    garbage: pa.Array, table: Table, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(table.names))
    rows = make_rows(table, {}, {}, {})
    hostile = pa.concat_arrays([garbage, pa.nulls(1, garbage.type)])
    try:
        parts = split(table, coerce(table, replace(rows, name, hostile)))
    except ContractError as error:
        assert name in str(error)
        assert len(str(error)) < 1_000
    else:
        assert parts.good.num_rows + parts.bad.num_rows + parts.duplicates == 3


@quick
@given(
    offsets=st.lists(st.integers(-14 * 60, 14 * 60), min_size=1, max_size=6),
    separator=st.sampled_from(["T", "t", " "]),
)
def test_the_same_instant_in_any_zone_is_the_same_instant(offsets: list[int], separator: str) -> None:
    zones = [timezone(timedelta(minutes=minutes)) for minutes in offsets]
    told = pa.array([NOON.astimezone(zone).isoformat(separator) for zone in zones])
    rows = coerce(PINGS, replace(make_rows(PINGS, *({} for _ in zones)), "occurred_at", told))
    assert rows["occurred_at"].to_pylist() == [NOON] * len(zones)


# --- the suite --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def good_stops() -> Split:
    return split(STOPS, make_rows(STOPS, *({} for _ in range(5))))


def test_the_suite_holds_a_promise_for_each_of_the_definition() -> None:
    kinds = [expectation.expectation_type for expectation in suite(STOP_EVENTS).expectations]
    assert kinds.count("expect_column_values_to_not_be_null") == sum(c.required for c in STOP_EVENTS.columns)
    assert kinds.count("expect_column_values_to_be_in_set") == 1
    assert kinds.count("expect_column_pair_values_a_to_be_greater_than_b") == 1
    assert kinds.count("expect_table_columns_to_match_set") == 1


@pytest.mark.parametrize("table", TABLES.values(), ids=list(TABLES))
def test_rows_judged_good_pass_their_suite(table: Table) -> None:
    assert validate_rows(table, split(table, make_rows(table, {}, {})).good) == []
    assert validate_rows(table, table.arrow_schema().empty_table()) == []


def test_a_broken_expectation_is_told_with_its_count(good_stops: Split) -> None:
    frame = good_stops.good.to_pandas()
    frame.loc[:2, "lat"] = 99.0
    frame.loc[0, "promised_end_at"] = NOON - timedelta(hours=1)
    frame.loc[4, "zone_id"] = None
    told = {(failure.expectation, failure.columns): failure.rows for failure in validate(STOPS, frame)}
    assert told == {
        ("expect_column_values_to_be_between", ("lat",)): 3,
        ("expect_column_pair_values_a_to_be_greater_than_b", ("promised_end_at", "promised_start_at")): 1,
        ("expect_column_values_to_not_be_null", ("zone_id",)): 1,
    }


def test_the_suite_knows_the_slack_of_an_order() -> None:
    frame = make_rows(PINGS, {"occurred_at": NOON + timedelta(minutes=5)}, {}).to_pandas()
    assert validate(PINGS, frame) == []
    frame.loc[0, "occurred_at"] += timedelta(seconds=1)
    assert [failure.rows for failure in validate(PINGS, frame)] == [1]


def test_the_suite_knows_forms_islands_and_orders_of_some_rows_only() -> None:
    routes = make_rows(ROUTES, {"timezone": "Mars/Olympus"}, {"service_date": "soon"}, {}).to_pandas()
    assert {(f.expectation, f.columns, f.rows) for f in validate(ROUTES, routes)} == {
        ("expect_column_values_to_be_in_set", ("timezone",), 1),
        ("expect_column_values_to_match_regex", ("service_date",), 1),
    }
    later = NOON + timedelta(hours=2)
    hours = make_rows(WEATHER, {"valid_at": later}, {"valid_at": later, "kind": "forecast"}).to_pandas()
    assert [failure.rows for failure in validate(WEATHER, hours)] == [1]
    pings = make_rows(PINGS, {"lat": 0.0, "lon": 0.0}, {"lat": 0.0}).to_pandas()
    assert [failure.columns for failure in validate(PINGS, pings)] == [("lat_and_lon_are_0",)]


def test_a_missing_column_fails_the_suite_instead_of_raising(good_stops: Split) -> None:
    failures = validate(STOPS, good_stops.good.to_pandas().drop(columns=["lat"]))
    assert "expect_table_columns_to_match_set" in {failure.expectation for failure in failures}
    assert all(str(failure) for failure in failures)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), table=st.sampled_from([STOPS, PINGS, WEATHER]))
def test_whatever_split_calls_good_passes_the_suite(data: st.DataObject, table: Table) -> None:
    good = split(table, coerce(table, data.draw(hostile_batches(table)))).good
    assert validate_rows(table, good) == []


@pytest.mark.slow
def test_a_fresh_process_checks_without_a_warning_or_a_word() -> None:
    code = """
from data_contracts.checks import validate_rows
from data_contracts.tables import PINGS
assert validate_rows(PINGS, PINGS.arrow_schema().empty_table()) == []
import os
assert os.environ["GX_ANALYTICS_ENABLED"] == "false"
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.slow
def test_a_million_pings_are_judged_in_seconds() -> None:
    n_rows = 1_000_000
    started_at_s = time.perf_counter()
    times = pa.array(np.datetime64("2024-05-01", "us") + np.arange(n_rows)).cast(pa.timestamp("us", "UTC"))
    rows = pa.table(
        {
            "event_id": [f"e{number}" for number in range(n_rows)],
            "occurred_at": times,
            "received_at": times,
            "vehicle_id": ["V"] * n_rows,
            "lat": np.linspace(-91, 89, n_rows),
            "lon": np.linspace(-91, 89, n_rows),
        }
    )
    parts = split(PINGS, coerce(PINGS, rows))
    assert parts.reasons == {"RANGE_LAT": parts.bad.num_rows}
    assert validate_rows(PINGS, parts.good) == []
    assert time.perf_counter() - started_at_s < 60
