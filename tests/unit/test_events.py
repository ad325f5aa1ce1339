"""Wire events: what is let in, and how it is told when it is not."""

from __future__ import annotations

import json
import math
import time
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from data_contracts.errors import ContractError
from data_contracts.events import WIRE_EVENTS, deterministic_event_id, parse, rows_to_events
from data_contracts.tables import PINGS, STOPS, TABLES, Dtype, Form, Table

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
GOOD_TEXT = {Form.DAY: "2024-05-01", Form.TIMEZONE: "Europe/Berlin"}


def make_event(event_type: str = "stops", **more: object) -> dict[str, Any]:
    """An event with all its columns; whatever is named replaces what it would hold."""
    plain = {
        Dtype.STRING: "x",
        Dtype.INTEGER: 1,
        Dtype.NUMBER: 1.0,
        Dtype.BOOLEAN: True,
        Dtype.TIMESTAMP: "2024-05-01T12:00:00Z",
    }
    columns = TABLES[event_type].columns
    row = {c.name: c.allowed[0] if c.allowed else plain[c.dtype] for c in columns}
    return {"type": event_type} | row | {c.name: GOOD_TEXT[c.form] for c in columns if c.form} | more


def make_rows(table: Table, **more: object) -> pa.Table:
    event = make_event(table.name) | more
    del event["type"]
    row = {name: NOON if cell == "2024-05-01T12:00:00Z" else cell for name, cell in event.items()}
    return pa.Table.from_pylist([row], schema=table.arrow_schema())


def test_every_table_and_the_tick_have_an_event() -> None:
    assert set(WIRE_EVENTS) == {*TABLES, "tick"}


@pytest.mark.parametrize("name", TABLES)
def test_an_event_holds_what_its_table_defines(name: str) -> None:
    event = parse(make_event(name))
    assert tuple(type(event).model_fields) == ("type", *TABLES[name].names)
    required = {field for field, info in type(event).model_fields.items() if info.is_required()}
    assert required == {"type"} | {c.name for c in TABLES[name].columns if c.required} - {"received_at"}


def test_a_tick_is_only_an_instant() -> None:
    tick = parse({"type": "tick", "event_id": "t-1", "occurred_at": "2024-05-01T14:00:00+02:00"})
    assert (tick.occurred_at, tick.received_at) == (NOON, None)


def test_an_event_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        parse(make_event()).event_id = "other"


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ({"lat": 91}, "stops: lat: Input should be less than or equal to 90"),
        ({"lat": math.nan}, "stops: lat: Input should be a finite number"),
        ({"lat": "52.5"}, "stops: lat: Input should be a valid number"),
        ({"lat": True}, "stops: lat: Input should be a valid number"),
        ({"lat": 10**400}, "stops: lat: Input should be a valid number"),
        ({"lat": {"deg": [52]}}, "stops: lat: Input should be a valid number"),
        ({"plan_version": 2**63}, "stops: plan_version: Input should be less than"),
        ({"parcels": 2.0}, "stops: parcels: Input should be a valid integer"),
        ({"planned_travel_s": -1}, "stops: planned_travel_s: Input should be greater than or equal to 0"),
        ({"zone_id": " "}, "stops: zone_id: String should match pattern"),
        ({"zone_id": "x" * 1_000_000}, "stops: zone_id: String should have at most 1024 characters"),
        ({"zone_id": "\ud800"}, "stops: zone_id: Input should be a valid string"),
        ({"zone_id": None}, "stops: zone_id: Input should be a valid string"),
        ({"occurred_at": "2024-05-01T12:00:00"}, "stops: occurred_at: Input should have a time zone"),
        ({"occurred_at": 1_714_564_800}, "stops: occurred_at: Input should be RFC 3339 text"),
        ({"occurred_at": "1714564800.000000"}, "stops: occurred_at: Input should be RFC 3339 text"),
        ({"occurred_at": "1899-01-01T00:00:00Z"}, "stops: occurred_at: Input should lie in the years"),
        ({"occurred_at": "9999-12-31T23:59:59-12:00"}, "stops: occurred_at: Input should lie in the years"),
        ({"promised_end_at": "2024-05-01T11:59:59Z"}, "stops: promised_start_at is after promised_end_at"),
        ({"lat": 0, "lon": 0.0}, "stops: lat and lon are both 0"),
        ({"colour": "red"}, "stops: colour: Extra inputs are not permitted"),
        ({1: 2}, "stops: 1: Keys should be strings"),
        ({"type": "parcels"}, "event: type 'parcels' is unknown; give one of routes"),
        ({"type": ["stops"]}, "event: type of list is unknown"),
    ],
    ids=lambda value: str(value)[:40].encode("ascii", "replace").decode(),
)
def test_a_wrong_event_is_refused_with_field_and_reason(broken: dict[Any, Any], told: str) -> None:
    with pytest.raises(ContractError) as refused:
        parse(make_event() | broken)
    assert str(refused.value).startswith(told)
    assert len(str(refused.value)) < 500


def test_a_value_outside_the_allowed_ones_is_refused() -> None:
    with pytest.raises(ContractError, match="stop_events: kind: Input should be 'departed_depot', 'arrived'"):
        parse(make_event("stop_events", kind="teleported"))


def test_an_event_from_the_future_of_its_reception_is_refused_beyond_the_clock_skew() -> None:
    parse(make_event("pings", occurred_at="2024-05-01T12:05:00Z"))
    with pytest.raises(ContractError, match="pings: occurred_at is after received_at"):
        parse(make_event("pings", occurred_at="2024-05-01T12:05:01Z"))


@pytest.mark.parametrize(
    ("event_type", "broken", "told"),
    [
        ("routes", {"timezone": "Mars/Olympus"}, "routes: timezone: Input should be an IANA time zone"),
        ("routes", {"timezone": "../etc/passwd"}, "routes: timezone: Input should be an IANA time zone"),
        ("routes", {"service_date": "2024-02-30"}, "routes: service_date: day is out of range"),
        ("routes", {"service_date": "20240501"}, "routes: service_date: String should match pattern"),
        ("weather", {"valid_at": "2024-05-01T13:00:00Z"}, "weather: valid_at is after received_at"),
        ("weather", {"issued_at": "2024-05-01T13:00:00Z"}, "weather: issued_at is after received_at"),
    ],
)  # fmt: skip
def test_forms_and_orders_of_a_table_hold_on_the_wire(
    event_type: str, broken: dict[str, Any], told: str
) -> None:
    with pytest.raises(ContractError) as refused:
        parse(make_event(event_type) | broken)
    assert str(refused.value).startswith(told)


def test_a_forecast_may_speak_of_the_future() -> None:
    parse(make_event("weather", kind="forecast", valid_at="2024-05-02T12:00:00Z"))


@pytest.mark.parametrize("raw", [None, [], "stops", 5, b"{}"])
def test_what_is_no_object_is_refused(raw: Any) -> None:
    with pytest.raises(ContractError, match="an event is a JSON object"):
        parse(raw)


def test_deep_nesting_is_refused_and_not_walked() -> None:
    deep: list[Any] = []
    for _ in range(50_000):
        deep = [deep]
    for name in ("lat", "zone_id", "occurred_at", "extra"):
        with pytest.raises(ContractError, match=name):
            parse(make_event() | {name: deep})


_GARBAGE = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.datetimes(),
        st.datetimes(timezones=st.timezones()), st.datetimes().map(datetime.isoformat),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=6,
)  # fmt: skip


@settings(max_examples=120, deadline=None)
@given(data=st.data(), name=st.sampled_from(list(TABLES)))
def test_garbage_is_an_event_or_a_contract_error(data: st.DataObject, name: str) -> None:
    keys = st.one_of(st.sampled_from(TABLES[name].names), st.text(max_size=5))
    raw = make_event(name) | data.draw(st.dictionaries(keys, _GARBAGE, max_size=3))
    try:
        event = parse(raw)
    except ContractError as error:
        assert name in str(error) or "type" in str(error)
    else:
        assert event.occurred_at.tzinfo is UTC


# --- ids and replay ----------------------------------------------------------------------------------------


def test_an_id_made_from_a_key_is_the_same_for_the_same_instant() -> None:
    berlin = NOON.astimezone(timezone(timedelta(hours=2)))
    made = deterministic_event_id(PINGS, ["V-1", NOON, 3])
    assert made == deterministic_event_id(PINGS, ("V-1", berlin, np.int64(3)))
    assert made.startswith("pings-")


@pytest.mark.parametrize("other", [["V-1", 12], ["V", "-112"], ["V-1", "12", None], ["V-1,12"]])
def test_ids_of_other_keys_differ(other: list[object]) -> None:
    assert deterministic_event_id(PINGS, other) != deterministic_event_id(PINGS, ["V-1", "12"])
    assert deterministic_event_id(STOPS, other) != deterministic_event_id(PINGS, other)


@pytest.mark.parametrize("value", [object(), NOON.replace(tzinfo=None)])
def test_an_id_is_not_made_from_what_has_no_lasting_form(value: object) -> None:
    with pytest.raises(ContractError, match="event_id"):
        deterministic_event_id(PINGS, [value])


@pytest.mark.parametrize("table", TABLES.values(), ids=list(TABLES))
def test_rows_told_as_events_and_parsed_are_the_same_rows(table: Table) -> None:
    rows = make_rows(table, occurred_at=NOON - timedelta(microseconds=1))
    told = [json.loads(json.dumps(event)) for event in rows_to_events(table, rows)]
    assert [parse(event).model_dump(exclude={"type"}) for event in told] == rows.to_pylist()


def test_replayed_times_carry_microseconds_and_missing_values_are_left_out() -> None:
    (event,) = rows_to_events(PINGS, make_rows(PINGS, speed_mps=None, status=None))
    assert event["occurred_at"] == "2024-05-01T12:00:00.000000Z"
    assert set(event) == {"type", *PINGS.names} - {"speed_mps", "status"}


def test_thousands_of_events_a_second_are_parsed() -> None:
    event, n_events = make_event(), 5_000
    started_at_s = time.perf_counter()
    for _ in range(n_events):
        parse(event)
    assert n_events / (time.perf_counter() - started_at_s) > 5_000  # 90,000 on an idle core
