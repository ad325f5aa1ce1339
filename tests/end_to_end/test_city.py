"""The reference city beside its oracle, and a perturbed city judged by what another one taught."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipelines.cli import app
from pipelines.sources.simulated import write, write_truth

pytestmark = pytest.mark.end_to_end


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("city")
    write(folder / "train", "small", 3, date(2026, 1, 5), 5)
    return folder


def judged(city: Path, size: str, name: str, rollouts: int = 60) -> dict[str, Any]:
    """The figures of two days of a city, trained on the small one."""
    first = date(2026, 1, 10)
    write(city / name, size, 3, first, 2)
    write_truth(city / f"{name}-truth", size, 3, first, 2, rollouts)
    options = ["--train", city / "train", "--test", city / name, "--truth", city / f"{name}-truth"]
    told = ["--per-route", 8, "--json", city / f"{name}.json"]
    done = CliRunner().invoke(app, ["backtest", "simulated", *map(str, options + told)])
    assert done.exit_code == 0, done.output
    assert "ratio" in done.output
    figures: dict[str, Any] = json.loads((city / f"{name}.json").read_text())
    return figures


def test_city_is_judged_beside_its_oracle_and_does_not_beat_it(city: Path):
    oracle = judged(city, "small", "test")["oracle"]
    assert oracle["n"] > 600 and oracle["n_not_asked"] < 0.1 * oracle["n"]
    assert 1.0 < oracle["ratio"] < 2.0
    assert set(oracle["by_horizon"]) >= {"0-15", "15-30", "before departure"}
    assert oracle["late"]["brier"] > 0.0 and oracle["coverage_80"] == pytest.approx(0.8, abs=0.08)


def test_folder_without_an_oracle_is_refused(city: Path):
    options = ["--train", city / "train", "--test", city / "train", "--truth", city / "nowhere"]
    done = CliRunner().invoke(app, ["backtest", "simulated", *map(str, options)])
    assert done.exit_code != 0
