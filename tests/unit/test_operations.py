"""Dashboard and runbook speak of what there is."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from data_contracts.workspace import Workspace
from pipelines.cli import app
from pipelines.grafana import grafana_page
from serving.api.api import create_app
from serving.settings import load_settings
from tests.api_client import SETTINGS, calling, crown, play
from tests.engine_bench import FakeForecaster, late_day

ROOT = Path(__file__).parents[2]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
_NAME = re.compile(r"\bpunctual_[a-z_]+")
_EVENT = re.compile(r"""\blog\.(?:info|warning|error|exception)\(\s*f?"([a-z_{}.]+)\"""")


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Every figure of the page of a service that has seen a day."""
    workspace = Workspace(tmp_path_factory.mktemp("operations") / "w")
    crown(workspace)
    play(workspace, *late_day())
    with calling(create_app(workspace, SETTINGS, load=lambda folder: FakeForecaster(folder.name))) as client:
        client.get("/v1/summary")
        families = list(text_string_to_metric_families(client.get("/metrics").text))
    kinds = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
    return {f"{each.name}{ending}" for each in families for ending in kinds.get(each.type, ("",))}


def test_the_dashboard_draws_only_figures_that_there_are(names: set[str]) -> None:
    drawn = set(_NAME.findall(" ".join(re.findall(r'"expr": "(.*)"', grafana_page()))))
    assert drawn <= names and len(drawn) > 20


def test_the_dashboard_is_laid_out_without_overlaps() -> None:
    cells = set()
    panels = json.loads(grafana_page())["panels"]
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not own & cells
        cells |= own
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_the_runbook_names_only_figures_that_there_are(names: set[str]) -> None:
    told = {name for name in _NAME.findall(RUNBOOK) if not name.endswith("_")}
    assert {name for name in told if f"{name}_bucket" not in names} <= names


def test_every_event_of_the_logs_is_in_the_runbook() -> None:
    said = {
        name
        for file in (ROOT / "serving").rglob("*.py")
        for name in _EVENT.findall(file.read_text(encoding="utf-8"))
    }
    fixed = {name for name in said if "{" not in name}
    assert len(fixed) > 25
    assert {name for name in fixed if f"`{name}`" not in RUNBOOK} == set()
    for name in said - fixed:
        assert re.search(f"`{re.sub('{.*}', '[a-z_]+', name)}`", RUNBOOK), name


def test_every_command_of_the_runbook_exists() -> None:
    groups = {
        group.name: {each.name for each in group.typer_instance.registered_commands}
        for group in app.registered_groups
    }
    commands = {each.callback.__name__ for each in app.registered_commands if each.callback}
    for words in re.findall(r"punctual ([a-z]+)(?: ([a-z]+))?", RUNBOOK):
        assert words[0] in commands | groups.keys(), words
        if words[0] in groups:
            assert words[1] in groups[words[0]], words


def test_the_settings_of_the_runbook_are_taken(tmp_path: Path) -> None:
    toml = RUNBOOK.split("```toml\n")[1].split("```")[0]
    (tmp_path / "punctual.toml").write_text(toml)
    assert load_settings(Workspace(tmp_path)).tls.is_on


def test_every_place_that_the_runbook_points_to_exists() -> None:
    headings = {
        re.sub(r"[^a-z0-9 -]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in RUNBOOK.splitlines()
        if line.startswith("#")
    }
    for target in re.findall(r"\]\(([^)]+)\)", RUNBOOK):
        file, _, anchor = target.partition("#")
        assert not file or (ROOT / "docs" / file).exists(), target
        assert not anchor or anchor in headings, target
