"""Runs, versions and the hand-over, in a real MLflow."""

import json
from pathlib import Path

import pytest

from data_contracts.errors import ModelError, WorkspaceError
from data_contracts.workspace import Workspace
from features.vectors import FEATURE_NAMES
from tests.builders import make_dataset
from training.boosters import BoosterSettings
from training.forecaster import DeliveryForecaster, train
from training.registry import CHALLENGER, CHAMPION, MODEL, PASSED, Registry, Version

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return Registry(Workspace(tmp_path_factory.mktemp("registry")))


def register(registry: Registry, gate: str = PASSED) -> Version:
    rows = make_dataset(200)
    forecaster = train(rows, name="punctual-eta", version="challenger", settings=BoosterSettings(trees=5))
    return registry.register(
        forecaster,
        rows.vectors,
        parameters={"trees": 5},
        metrics={"mae_min": 4.2},
        documents={"figures": {"n": 1}},
        gate=gate,
        report="<h1>plots</h1>",
    )


def test_a_registered_version_is_the_challenger_until_it_is_promoted(registry: Registry) -> None:
    version = register(registry)
    assert version.aliases == (CHALLENGER,)
    folder = registry.promote(version.version)
    assert registry.champion() == version.version
    assert DeliveryForecaster.load(folder).version == version.version
    aliases = {known.version: known.aliases for known in registry.versions()}
    assert CHAMPION in aliases[version.version]


def test_rollback_goes_back_to_the_champion_before(registry: Registry) -> None:
    first, second = register(registry), register(registry)
    registry.promote(first.version)
    registry.promote(second.version)
    assert registry.rollback() == first.version
    assert registry.champion() == first.version


def test_an_unknown_version_is_refused_and_the_champion_stays(registry: Registry) -> None:
    version = register(registry)
    registry.promote(version.version)
    with pytest.raises(ModelError, match="no version 999"):
        registry.promote("999")
    assert registry.champion() == version.version


def test_a_corrupt_export_is_refused_and_the_champion_stays(registry: Registry) -> None:
    good, bad = register(registry), register(registry)
    registry.promote(good.version)
    folder = registry._export(bad)
    (folder / "median.txt").write_text("not a booster")
    with pytest.raises(ModelError):
        registry.promote(bad.version)
    assert registry.champion() == good.version


def test_without_an_earlier_champion_there_is_nothing_to_go_back_to(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="no earlier champion"):
        Registry(Workspace(tmp_path)).rollback()


def test_the_hand_over_file_names_the_version_and_those_before(tmp_path: Path) -> None:
    registry = Registry(Workspace(tmp_path))
    first, second = register(registry), register(registry)
    registry.promote(first.version)
    registry.promote(second.version)
    handed = json.loads(registry._workspace.champion.read_text())
    assert handed == {"version": second.version, "alias": "champion", "earlier": [first.version]}
    third = register(registry)
    registry.promote(third.version)
    assert (registry.rollback(), registry.rollback()) == (second.version, first.version)
    with pytest.raises(WorkspaceError, match="no earlier champion"):
        registry.rollback()


def test_a_version_that_did_not_pass_is_promoted_only_past_the_gate(registry: Registry) -> None:
    good, worse = register(registry), register(registry, "worse than what it stands against")
    registry.promote(good.version)
    with pytest.raises(ModelError, match="did not pass the gate: worse"):
        registry.promote(worse.version)
    assert registry.champion() == good.version
    registry.promote(worse.version, past_the_gate=True)
    assert registry.champion() == worse.version


def test_an_alias_that_was_moved_in_mlflow_is_served_after_reconciling(registry: Registry) -> None:
    first, second, bad = register(registry), register(registry), register(registry, "worse")
    registry.promote(first.version)
    assert registry.reconcile() is None
    registry._client.set_registered_model_alias(MODEL, CHAMPION, second.version)
    assert registry.reconcile() == second.version == registry.champion()
    registry._client.set_registered_model_alias(MODEL, CHAMPION, bad.version)
    with pytest.raises(ModelError, match="did not pass"):
        registry.reconcile()
    assert registry.champion() == second.version


def test_a_run_tells_what_the_model_takes_and_gives(registry: Registry) -> None:
    from mlflow.models import Model

    version = register(registry)
    folder = registry.promote(version.version)
    signature = Model.load(str(folder / "MLmodel")).signature
    assert signature.inputs.input_names()[: len(FEATURE_NAMES)] == list(FEATURE_NAMES)
    assert signature.outputs.input_names() == [
        *("p05_s", "p10_s", "p25_s", "p50_s", "p75_s", "p90_s", "p95_s"),
        "mean_s",
    ]
    names = {found.path for found in registry._client.list_artifacts(version.run_id)}
    assert {"report.html", "figures.json", "forecaster"} <= names
