"""A workspace with a model that was trained once, for each file of tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_contracts.workspace import Workspace
from tests.running import crown_a_model


@pytest.fixture(scope="module")
def crowned(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace(tmp_path_factory.mktemp("crowned"))
    crown_a_model(workspace)
    return workspace


@pytest.fixture
def workspace(crowned: Workspace, tmp_path: Path) -> Workspace:
    """A workspace of its own, with the model that was trained once."""
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "models").symlink_to(crowned.models)
    (tmp_path / "w" / "punctual.toml").write_text('[serving]\nclock = "log"\nworkers = 1\n')
    return Workspace(tmp_path / "w")
