"""Landing: a batch is written as a whole or not at all, and no row of it is lost."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_contracts.errors import ContractError, PunctualError, SourceError, WorkspaceError
from data_contracts.quarantine import REASONS
from data_contracts.tables import PINGS, ROUTES, STOP_EVENTS, STOPS, TABLES, Dtype, Form, Table
from data_contracts.workspace import Workspace
from pipelines import land as landing
from pipelines import staging
from pipelines.land import land, read_landed

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
    later = make_rows(STOP_EVENTS, 2, event_id="later", kind="completed", stop_id="s3", route_id="r1")
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


_HOSTILE_CELLS = {
    Dtype.STRING: st.sampled_from([None, "", "x" * 1_000_000, "nobody", "r1"]),
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
    for _ in range(data.draw(st.integers(1, 5))):
        table = TABLES[data.draw(st.sampled_from(list(batch)))]
        column = data.draw(st.sampled_from(table.columns))
        row = data.draw(st.integers(0, batch[table.name].num_rows - 1))
        value = data.draw(_HOSTILE_CELLS[column.dtype])
        batch[table.name] = with_cell(batch[table.name], column.name, row, value)
    try:
        report = land(workspace, batch, "b")
    except PunctualError:
        assert not workspace.landed.exists()
        return
    for one in report.tables:
        assert one.good + one.bad + one.duplicates == batch[one.table].num_rows
        assert pq.read_table(one.landed).num_rows == one.good
