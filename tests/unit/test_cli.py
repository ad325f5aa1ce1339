"""The command: what it says, and with which exit code it leaves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from data_contracts import __version__
from features.views import VIEWS

HEAVY = ("feast", "mlflow", "great_expectations", "lightgbm", "bentoml", "polars", "pandas", "sklearn")


def punctual(*arguments: str | Path, workspace: Path | None = None) -> subprocess.CompletedProcess[str]:
    where = ("--workspace", workspace) if workspace else ()
    command = [sys.executable, "-m", "pipelines.cli", *map(str, (*arguments, *where))]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_help_imports_nothing_heavy() -> None:
    code = f"import sys, pipelines.cli; print([name for name in {HEAVY!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_command_tells_its_version() -> None:
    assert punctual("--version").stdout.strip() == f"punctual {__version__}"


@pytest.mark.parametrize(
    "name",
    ["demo", "simulate", "ingest", "features", "train", "backtest", "promote", "rollback", "serve", "replay"],
)
def test_every_command_of_the_design_has_help(name: str) -> None:
    assert name in punctual("--help").stdout
    assert punctual(name, "--help").returncode == 0


def test_an_unknown_source_is_named_with_those_that_exist(tmp_path: Path) -> None:
    done = punctual("backtest", "nonsense", "--train", tmp_path, "--test", tmp_path)
    assert done.returncode == 2
    assert "nonsense" in done.stderr
    assert "nyc_taxi" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    done = punctual("backtest", "nyc_taxi", "--train", tmp_path / "gone.parquet", "--test", tmp_path)
    assert done.returncode == 2
    assert "gone.parquet" in done.stderr or str(tmp_path) in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("content", [b"", b"PAR1 this is not Parquet", b"\xff" * 4096])
def test_a_broken_file_ends_in_one_message_and_leaves_nothing(tmp_path: Path, content: bytes) -> None:
    source, workspace = tmp_path / "green_tripdata_2021-01.parquet", tmp_path / "workspace"
    source.write_bytes(content)
    done = punctual("ingest", "nyc_taxi", source, workspace=workspace)
    assert done.returncode == 2
    assert source.name in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(workspace.rglob("*.parquet"))


def test_training_without_history_says_what_to_do(tmp_path: Path) -> None:
    done = punctual("train", workspace=tmp_path)
    assert done.returncode == 2
    assert "punctual ingest" in done.stderr


def test_rolling_back_without_a_champion_says_what_to_do(tmp_path: Path) -> None:
    done = punctual("rollback", workspace=tmp_path)
    assert done.returncode == 2
    assert "punctual promote" in done.stderr


def test_features_are_listed_as_json() -> None:
    listed = json.loads(punctual("features", "list", "--json").stdout)
    assert {"feature", "unit", "low", "high", "meaning"} <= set(listed[0])
    assert all(feature["meaning"].endswith(".") for feature in listed)


def test_views_are_listed_as_json() -> None:
    listed = json.loads(punctual("features", "list", "--views", "--json").stdout)
    assert {row["view"] for row in listed} == {view.name for view in VIEWS}


@pytest.mark.slow
def test_features_are_built_and_materialized_with_figures_as_json(tmp_path: Path) -> None:
    out = tmp_path / "city"
    punctual("simulate", str(out), "--size", "small", "--days", "1")
    punctual("ingest", "canonical", str(out), workspace=tmp_path / "w")
    built = json.loads(punctual("features", "build", "--json", workspace=tmp_path / "w").stdout)
    again = punctual("features", "build", "--json", "--processes", "2", workspace=tmp_path / "w").stdout
    assert json.loads(again) == built
    versions = {row["view"]: row["versions"] for row in built["views"]}
    assert set(versions) == {view.name for view in VIEWS} and versions["vehicle_motion"] > 100
    done = json.loads(punctual("features", "materialize", "--json", workspace=tmp_path / "w").stdout)
    assert done["online_store"].endswith("online.db") and done["known_until"].startswith("2026-01-0")


@pytest.mark.parametrize("name", ["travel_by_pair", "prior_in_s"])
def test_a_feature_or_view_is_shown(name: str) -> None:
    assert json.loads(punctual("features", "show", name, "--json").stdout)["meaning"]


def test_an_unknown_feature_says_where_to_look() -> None:
    done = punctual("features", "show", "nonsense")
    assert done.returncode == 2
    assert "punctual features list" in done.stderr


def test_settings_are_shown_with_their_defaults(tmp_path: Path) -> None:
    settings = json.loads(punctual("config", "--json", workspace=tmp_path).stdout)
    assert settings["clock"] == "wall"


def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    (tmp_path / "punctual.toml").write_text("[serving]\nclok = 'log'\n")
    done = punctual("config", workspace=tmp_path)
    assert done.returncode == 2
    assert "clok" in done.stderr
