"""``punctual audit``: what it recognises, prints and writes, and with which exit code it leaves."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from data_contracts.errors import PunctualError, SourceError, WorkspaceError
from data_contracts.quarantine import coerce
from data_contracts.tables import ROUTES, TABLES
from data_contracts.workspace import Workspace
from pipelines.audit.found import find
from pipelines.audit.recognise import recognise
from pipelines.audit.report import report
from pipelines.audit.run import audit
from pipelines.cli import app
from pipelines.land import land

GOLDEN = Path(__file__).parents[1] / "golden"
START = datetime(2026, 3, 2, 8, tzinfo=UTC)


def make_fleet(folder: Path, routes: int = 40, **extra: Any) -> Path:
    """Routes of twenty stops as CSV files, one a day; ``extra`` columns of the stops nobody has declared."""
    rows: dict[str, list[dict[str, Any]]] = {"routes": [], "stops": [], "stop_events": []}
    for number in range(routes):
        left = START + timedelta(days=number)
        route = {"route_id": f"R{number}", "occurred_at": left, "received_at": left}
        day = {"service_date": f"{left:%Y-%m-%d}", "timezone": "UTC"}
        rows["routes"].append(route | day | {"area_id": "A", "origin_zone_id": "Z0"})
        rows["stop_events"].append(route | {"kind": "departed_depot", "stop_id": None})
        for place in range(1, 21):
            stop, reached = (
                {"stop_id": f"R{number}-{place}"},
                left + timedelta(minutes=place * (8 + number % 7)),
            )
            plan = {"plan_version": 0, "sequence": place, "zone_id": f"Z{place % 5}"}
            made = {name: column(number, place) for name, column in extra.items()}
            rows["stops"].append(route | stop | plan | made)
            happened = {"route_id": f"R{number}", "occurred_at": reached, "received_at": reached}
            rows["stop_events"].append(happened | stop | {"kind": "arrived"})
    folder.mkdir(exist_ok=True)
    for name, made in rows.items():
        frame = pl.DataFrame(made, infer_schema_length=None)
        frame.with_columns(pl.col("occurred_at", "received_at").dt.to_string("iso:strict")).write_csv(
            folder / f"{name}.csv"
        )
    return folder


def punctual(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["audit", *map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout


# --- what a path is -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("kandy", "kandy"),
        ("lade", "lade"),
        ("canonical/input", "canonical"),
        ("sendy/input.csv", "sendy"),
        ("delhivery/input.csv", "delhivery"),
        ("nyc_taxi/weather.csv", "weather_csv"),
        ("open_meteo/input.json", "open_meteo"),
        ("tomtom/input.json", "tomtom"),
        ("traccar/input.json", "traccar"),
        ("onfleet/input.json", "onfleet"),
    ],
)
def test_files_are_recognised_by_their_columns(path: str, name: str) -> None:
    assert recognise(GOLDEN / path) == name


def test_tables_that_are_only_named_like_ours_are_described(tmp_path: Path) -> None:
    """As in an export with ``customers.csv`` and ``depots.csv`` that hold something else."""
    (tmp_path / "customers.csv").write_text("customer_id,dropoff_lat,service_duration\nc1,41.6,43.0\n")
    (tmp_path / "depots.csv").write_text("depot_id,long,lat\nD1,-87.6,41.8\n")
    with pytest.raises(SourceError, match=r"no adapter knows .*service_duration.*mapping\.toml") as refused:
        recognise(tmp_path)
    assert refused.value.exit_code == 2


@pytest.mark.parametrize("content", [b"", b"PAR1 this is not Parquet", b"\xff" * 4096])
def test_unreadable_files_are_unusable_input(tmp_path: Path, content: bytes) -> None:
    for name in ("trips.parquet", "Train.csv", "stops.csv", "positions.json"):
        (tmp_path / name).write_bytes(content)
    with pytest.raises(PunctualError) as refused:
        find(tmp_path)
    assert refused.value.exit_code == 2


def test_a_path_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="gone"):
        find(tmp_path / "gone")


def test_an_unknown_source_is_named_with_those_that_exist(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"'nonsense' is unknown; known are .*nyc_taxi.*traccar"):
        find(tmp_path, "nonsense")


def test_a_workspace_without_landed_rows_says_what_to_do(tmp_path: Path) -> None:
    Workspace(tmp_path).landed.mkdir()
    with pytest.raises(WorkspaceError, match="punctual ingest"):
        find(tmp_path)


# --- what it says -------------------------------------------------------------------------------------------


def test_a_small_fleet_carries_a_forecast(tmp_path: Path) -> None:
    out, page = tmp_path / "audit.json", tmp_path / "audit.html"
    code, shown = punctual(make_fleet(tmp_path / "fleet"), "--json", out, "--report", page)
    assert code == 0
    assert "windows: partly (only 800 stops with an outcome" in shown.replace("\n", " ")
    figures = json.loads(out.read_text())
    assert figures["source"] == "canonical"
    assert figures["carries_a_forecast"] is True
    assert set(figures["tables"]) == set(TABLES)
    assert figures["tables"]["stop_events"]["rows"] == 40 * 21
    assert set(figures["coverage"]) == {"telemetry", "traffic", "weather"}
    assert {"answer", "reason"} == set(figures["verdicts"]["windows"])
    assert figures["leaks"] is None
    assert page.exists()


def test_a_handful_of_stops_leaves_with_exit_code_1(tmp_path: Path) -> None:
    code, shown = punctual(GOLDEN / "kandy")
    assert code == 1
    assert "windows: no (only 15 stops" in shown


def test_a_feed_alone_leaves_with_exit_code_1() -> None:
    code, shown = punctual(GOLDEN / "traccar" / "input.json")
    assert code == 1
    assert "no routes, no stops, no stop_events" in shown


def test_an_undeclared_column_of_our_own_tables_that_leaks_is_named(tmp_path: Path) -> None:
    """The time to the door, and a note that has nothing to do with it."""
    fleet = make_fleet(
        tmp_path / "fleet",
        minutes_at_door=lambda number, place: place * (8 + number % 7) + place % 3,
        note=lambda number, place: "ring" if (number + place) % 3 else "knock",
    )
    done = audit(fleet)
    assert done.named == ("minutes_at_door",)
    assert {one.column for one in done.leaks or ()} == {"minutes_at_door", "note"}
    assert "minutes_at_door" in " ".join(done.as_json()["remarks"])


def test_a_workspace_is_audited_with_what_was_refused_at_its_door(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "workspace")
    tables = find(make_fleet(tmp_path / "fleet")).tables
    far = pl.DataFrame(tables["stops"]).with_columns(lat=pl.lit(52.0), lon=pl.lit(13.0))
    far = far.with_columns(lat=pl.when(pl.col("stop_id") == "R3-1").then(122.0).otherwise("lat"))
    land(workspace, tables | {"stops": far.to_arrow()}, "history")
    done = audit(workspace.root)
    stops = next(one for one in done.tables if one.table == "stops")
    assert done.source == "workspace"
    assert (stops.rows, stops.refused_before) == (799, {"RANGE_LAT": 1})
    assert done.leaks is None


def test_a_missing_table_of_a_workspace_costs_the_forecast(tmp_path: Path) -> None:
    routes = coerce(ROUTES, find(make_fleet(tmp_path / "fleet")).tables["routes"])
    folder = tmp_path / "landed" / "routes"
    folder.mkdir(parents=True)
    pq.write_table(routes, folder / "day.parquet")
    done = audit(tmp_path)
    assert not done.carries_a_forecast
    assert "no stops, no stop_events" in done.summary


def test_a_broken_landed_file_is_unusable_input(tmp_path: Path) -> None:
    folder = tmp_path / "landed" / "routes"
    folder.mkdir(parents=True)
    (folder / "day.parquet").write_bytes(b"PAR1 this is not Parquet")
    with pytest.raises(WorkspaceError, match="cannot be read"):
        audit(tmp_path)


def test_the_report_is_one_file_that_refers_to_nothing_outside(tmp_path: Path) -> None:
    fleet = make_fleet(tmp_path / "fleet", minutes_at_door=lambda number, place: place * (8 + number % 7))
    html = report(audit(fleet))
    assert html.count("<svg") == 5
    assert not re.search(r"(?:src|href)\s*=\s*[\"'](?!#|data:)", html)
    assert "<script" not in html
    assert "LEAK: cuts the error" in html


def test_help_names_every_option() -> None:
    code, shown = punctual("--help")
    assert code == 0
    assert all(option in shown for option in ("--source", "--weather", "--json", "--report", "--workspace"))
