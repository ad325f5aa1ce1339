"""Landing: a batch is written as a whole or not at all, and no row of it is lost."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_contracts.errors import ContractError, PunctualError, SourceError, WorkspaceError
from data_contracts.quarantine import REASONS
from data_contracts.tables import PINGS, ROUTES, STOP_EVENTS, STOPS, TABLES, TRAFFIC, Dtype, Form, Table
from data_contracts.workspace import Workspace
from pipelines import land as landing
from pipelines import staging
from pipelines.history import build_features, landed_history
from pipelines.land import land, read_landed
from pipelines.sources.simulated import generate

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
GOOD_TEXT = {Form.DAY: "2024-05-01", Form.TIMEZONE: "Europe/Berlin"}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def make_rows(table: Table, n_rows: int, **more: object) -> pa.Table:
    """Good rows whose ids are the row number with the first letter of the column."""
    rows = []
    for number in range(n_rows):
        plain = {Dtype.INTEGER: 1, Dtype.NUMBER: 1.0, Dtype.BOOLEAN: True, Dtype.TIMESTAMP: NOON}
        cells = {c.name: plain.get(c.dtype, f"{c.name[0]}{number}") for c in table.columns}
        cells |= {c.name: GOOD_TEXT[c.form] for c in table.columns if c.form}
        kinds = {c.name: c.allowed[0] for c in table.columns if c.allowed}
        rows.append(cells | kinds | more)
    return pa.Table.from_pylist(rows, schema=table.arrow_schema())


def make_batch(**more: pa.Table) -> dict[str, pa.Table]:
    required = {table.name: make_rows(table, 40) for table in (ROUTES, STOPS, STOP_EVENTS)}
    return required | more


def with_cell(rows: pa.Table, name: str, row: int, value: Any) -> pa.Table:
    cells = rows[name].to_pylist()
    cells[row] = value
    column = pa.array(cells, rows.schema.field(name).type)
    return rows.set_column(rows.column_names.index(name), name, column)


def files_in(workspace: Workspace) -> set[str]:
    return {str(p.relative_to(workspace.root)) for p in workspace.root.rglob("*") if p.is_file()}


def test_a_batch_lands_table_by_table_and_is_read_back(workspace: Workspace) -> None:
    report = land(workspace, make_batch(pings=make_rows(PINGS, 3)), "day-1")
    assert [one.table for one in report.tables] == ["routes", "stops", "stop_events", "pings"]
    assert [(one.good, one.bad, one.duplicates) for one in report.tables] == [(40, 0, 0)] * 3 + [(3, 0, 0)]
    assert files_in(workspace) == {f"landed/{one.table}/day-1.parquet" for one in report.tables}
    assert (
        read_landed(workspace, STOPS)
        .collect()
        .to_arrow()
        .cast(STOPS.arrow_schema())
        .equals(make_rows(STOPS, 40))
    )
    json.dumps(report.as_json())


def test_nothing_landed_reads_as_an_empty_table(workspace: Workspace) -> None:
    assert read_landed(workspace, PINGS).collect().columns == list(PINGS.names)


def test_few_bad_rows_go_to_quarantine_with_their_reasons(workspace: Workspace) -> None:
    stops = with_cell(make_rows(STOPS, 40), "lat", 7, 122.0)
    events = make_rows(STOP_EVENTS, 40)
    report = land(workspace, make_batch(stops=stops, stop_events=events), "b")
    assert {one.table: one.reasons for one in report.tables if one.bad} == {
        "stops": {"RANGE_LAT": 1},
        "stop_events": {"UNKNOWN_STOP_ID": 1},
    }
    bad = pq.read_table(workspace.quarantine / "stops" / "b.parquet").to_pylist()
    assert [(row["stop_id"], row["lat"], row[REASONS]) for row in bad] == [("s7", 122.0, ["RANGE_LAT"])]


def test_too_many_bad_rows_land_nothing_but_show_their_quarantine(workspace: Workspace) -> None:
    stops = make_rows(STOPS, 40, lon=999.0)
    with pytest.raises(ContractError, match=r"stops: 40 of 40 rows break .* 5%: RANGE_LON 40") as refused:
        land(workspace, make_batch(stops=stops), "b")
    assert str(workspace.quarantine / "stops" / "b.parquet") in str(refused.value)
    assert files_in(workspace) == {"quarantine/stops/b.parquet"}


def test_ids_of_earlier_batches_are_known(workspace: Workspace) -> None:
    land(workspace, make_batch(), "day-1")
    later = make_rows(STOP_EVENTS, 2, event_id="later", kind="completed", stop_id="s3", route_id="r3")
    report = land(workspace, {"stop_events": later}, "day-2")
    assert [(one.good, one.bad, one.duplicates) for one in report.tables] == [(1, 0, 1)]


def test_rows_of_an_earlier_batch_are_duplicates_but_the_same_batch_is_replaced(workspace: Workspace) -> None:
    land(workspace, make_batch(), "day-1")
    assert [one.duplicates for one in land(workspace, make_batch(), "day-2").tables] == [40] * 3
    assert [one.duplicates for one in land(workspace, make_batch(), "day-1").tables[:1]] == [0]
    assert read_landed(workspace, STOPS).collect()["event_id"].n_unique() == 40


def test_landing_again_without_bad_rows_empties_the_quarantine(workspace: Workspace) -> None:
    land(
        workspace,
        make_batch(
            stops=with_cell(make_rows(STOPS, 40), "lat", 39, 99.0), stop_events=make_rows(STOP_EVENTS, 39)
        ),
        "b",
    )
    assert "quarantine/stops/b.parquet" in files_in(workspace)
    land(workspace, make_batch(), "b")
    assert not workspace.quarantine.exists() or not list(workspace.quarantine.rglob("*.parquet"))


@pytest.mark.parametrize("given_stops", [{}, {"stops": STOPS.arrow_schema().empty_table()}])
def test_required_tables_are_named_when_absent_or_empty(
    workspace: Workspace, given_stops: dict[str, pa.Table]
) -> None:
    with pytest.raises(SourceError, match="required tables missing or empty: stops, stop_events"):
        land(workspace, {"routes": make_rows(ROUTES, 1)} | given_stops, "b")
    assert files_in(workspace) == set()


def test_an_unknown_table_is_refused(workspace: Workspace) -> None:
    with pytest.raises(SourceError, match="unknown tables: drones"):
        land(workspace, make_batch(drones=make_rows(PINGS, 1)), "b")


@pytest.mark.parametrize("name", ["", "../b", "a/b", ".hidden", "x" * 200, "b\n"])
def test_a_batch_name_that_is_no_file_name_is_refused(workspace: Workspace, name: str) -> None:
    with pytest.raises(WorkspaceError, match="cannot be a file name"):
        land(workspace, make_batch(), name)


def test_a_failing_write_leaves_nothing_behind(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    write, written = pq.write_table, []

    def full_disk(rows: pa.Table, file: Any) -> None:
        written.append(rows.num_rows)
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        write(rows, file)

    monkeypatch.setattr(staging.pq, "write_table", full_disk)
    with pytest.raises(WorkspaceError, match="No space left"):
        land(workspace, make_batch(), "b")
    assert len(written) == 3
    assert files_in(workspace) == set()


def test_a_landed_file_that_is_broken_is_named(workspace: Workspace) -> None:
    land(workspace, make_batch(), "day-1")
    (workspace.landed / "routes" / "day-1.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(WorkspaceError, match="the landed routes cannot be read"):
        land(workspace, make_batch(), "day-2")


def test_rows_that_the_suite_refuses_are_not_landed(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landing, "validate_rows", lambda table, rows: ["expect_something"])
    with pytest.raises(
        ContractError, match="routes: rows that were judged good fail the suite: expect_something"
    ):
        land(workspace, make_batch(), "b")
    assert files_in(workspace) == set()


# --- lateness, order, budget ------------------------------------------------------------------------------


def test_late_rows_are_landed_and_counted(workspace: Workspace) -> None:
    allowed = PINGS.allowed_lateness
    pings = make_rows(PINGS, 4)
    pings = with_cell(pings, "received_at", 1, NOON + allowed)
    pings = with_cell(pings, "received_at", 2, NOON + allowed + timedelta(microseconds=1))
    report = {one.table: one for one in land(workspace, make_batch(pings=pings), "b").tables}
    assert (report["pings"].good, report["pings"].late, report["pings"].bad) == (4, 1, 0)
    assert report["stops"].late == 0


def test_a_feed_that_fell_silent_before_the_batch_ended_is_stale(workspace: Workspace) -> None:
    later = NOON + PINGS.freshness + timedelta(seconds=1) if PINGS.freshness else NOON
    events = make_rows(STOP_EVENTS, 40, received_at=later)
    batch = make_batch(
        stop_events=events, pings=make_rows(PINGS, 3), traffic=TRAFFIC.arrow_schema().empty_table()
    )
    report = {one.table: one for one in land(workspace, batch, "b").tables}
    assert (report["pings"].silent_s, report["pings"].stale) == (301.0, True)
    assert (report["stop_events"].silent_s, report["stop_events"].stale) == (0.0, False)
    assert (report["traffic"].silent_s, report["traffic"].stale) == (None, False)
    assert not report["routes"].stale


def test_an_arrival_that_landed_earlier_contradicts_a_completion(workspace: Workspace) -> None:
    arrived = make_rows(STOP_EVENTS, 40, kind="arrived", occurred_at=NOON)
    land(workspace, make_batch(stop_events=arrived), "day-1")
    rows = make_rows(STOP_EVENTS, 40, kind="completed", occurred_at=NOON + timedelta(minutes=3))
    ids = pa.array([f"completed-{n}" for n in range(40)])
    completed = rows.set_column(rows.column_names.index("event_id"), "event_id", ids)
    completed = with_cell(completed, "occurred_at", 17, NOON - timedelta(hours=1))
    (report,) = land(workspace, {"stop_events": completed}, "day-2").tables
    assert (report.good, report.reasons) == (39, {"COMPLETED_BEFORE_ARRIVED": 1})


def test_an_event_on_a_route_that_never_had_its_stop_is_quarantined(workspace: Workspace) -> None:
    events = with_cell(make_rows(STOP_EVENTS, 40), "route_id", 5, "r6")
    report = {one.table: one for one in land(workspace, make_batch(stop_events=events), "b").tables}
    assert report["stop_events"].reasons == {"STOP_ID_NOT_OF_ROUTE_ID": 1}


def test_the_refusal_names_the_first_bad_row(workspace: Workspace) -> None:
    stops = with_cell(
        with_cell(with_cell(make_rows(STOPS, 40), "lat", 7, 99.0), "lat", 9, 99.0), "lat", 30, 99.0
    )
    with pytest.raises(ContractError, match=r"3 of 40 rows .* RANGE_LAT 3 \(first: stop_id 's7'\)"):
        land(workspace, make_batch(stops=stops), "b")


@pytest.mark.slow
def test_a_batch_over_its_error_budget_changes_nothing_downstream(workspace: Workspace) -> None:
    (_, day), (_, next_day) = generate("small", 1, date(2026, 3, 2), 2)
    land(workspace, day, "day-1")
    build_features(workspace, landed_history(workspace))
    before = contents(workspace)
    assert {path.split("/")[0] for path in before} >= {"landed", "features", "feast"}
    lat = next_day["pings"].column_names.index("lat")
    broken = next_day["pings"].set_column(lat, "lat", pa.array([91.0] * next_day["pings"].num_rows))
    with pytest.raises(ContractError, match=r"pings: .* more than 5%"):
        land(workspace, next_day | {"pings": broken}, "day-2")
    after = contents(workspace)
    assert {path: body for path, body in after.items() if not path.startswith("quarantine/")} == before
    assert "quarantine/pings/day-2.parquet" in after


def contents(workspace: Workspace) -> dict[str, bytes]:
    return {path: (workspace.root / path).read_bytes() for path in files_in(workspace)}


# --- data docs --------------------------------------------------------------------------------------------


def test_data_docs_show_rows_as_they_came_in_and_fetch_nothing(workspace: Workspace) -> None:
    stops = with_cell(make_rows(STOPS, 40), "lat", 7, 99.0)
    report = land(workspace, make_batch(stops=stops), "b", data_docs=True)
    assert report.data_docs == workspace.data_docs / "b" / "index.html"
    pages = {page: page.read_text() for page in report.data_docs.parent.rglob("*.html")}
    assert {"routes", "stops", "stop_events"} <= {page.parents[2].name for page in pages}
    assert "99" in next(text for page, text in pages.items() if page.name == "stops-rows.html")
    for text in pages.values():
        assert not re.search(r"<script|<(link|img)[^>]*https?:|url\(.?https?:|@import", text)
    for page in re.findall(r'href="(validations/[^"]+)"', pages[report.data_docs]):
        assert (report.data_docs.parent / page).exists()
    assert "data_docs" in report.as_json()


def test_a_refused_batch_has_its_data_docs_too(workspace: Workspace) -> None:
    with pytest.raises(ContractError, match="routes"):
        land(workspace, make_batch(routes=make_rows(ROUTES, 40, origin_lat=91.0)), "b", data_docs=True)
    assert (workspace.data_docs / "b" / "index.html").exists()
    assert not workspace.landed.exists()


def test_without_being_asked_no_data_docs_are_written(workspace: Workspace) -> None:
    assert land(workspace, make_batch(), "b").data_docs is None
    assert not workspace.reports.exists()


# --- hostile batches --------------------------------------------------------------------------------------


_HOSTILE_CELLS = {
    Dtype.STRING: st.sampled_from([None, "", "x" * 10_000_000, "nobody", "r1"]),
    Dtype.INTEGER: st.sampled_from([None, -1, 2**62, 5]),
    Dtype.NUMBER: st.sampled_from([None, float("nan"), float("inf"), -float("inf"), -600.0, 95.0, 0.5]),
    Dtype.TIMESTAMP: st.sampled_from(
        [None, datetime(1899, 1, 1, tzinfo=UTC), NOON + timedelta(days=900), NOON]
    ),
}


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_hostile_batches_land_whole_or_raise_clearly(data: st.DataObject, tmp_path_factory: Any) -> None:
    workspace = Workspace(tmp_path_factory.mktemp("workspace"))
    batch = make_batch(pings=make_rows(PINGS, 30))
    touched = {1}  # whose ids a hostile cell may borrow
    for _ in range(data.draw(st.integers(1, 5))):
        table = TABLES[data.draw(st.sampled_from(list(batch)))]
        column = data.draw(st.sampled_from(table.columns))
        row = data.draw(st.integers(0, batch[table.name].num_rows - 1))
        touched.add(row)
        value = data.draw(_HOSTILE_CELLS[column.dtype])
        batch[table.name] = with_cell(batch[table.name], column.name, row, value)
    try:
        report = land(workspace, batch, "b")
    except PunctualError:
        assert not workspace.landed.exists()
        return
    for one in report.tables:
        assert one.good + one.bad + one.duplicates == batch[one.table].num_rows
        landed = pq.read_table(one.landed)
        assert landed.num_rows == one.good
        untouched = {f"e{n}" for n in range(batch[one.table].num_rows) if n not in touched}
        assert untouched <= set(landed["event_id"].to_pylist())
