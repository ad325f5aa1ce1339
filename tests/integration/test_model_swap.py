"""Another model takes over while requests come in: none is dropped, and one that must not serve never does."""

from __future__ import annotations

import json
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from data_contracts.workspace import Workspace
from tests.builders import NOON_US
from tests.running import moment, plan, send, speaking_to, until

pytestmark = pytest.mark.end_to_end


class Callers:
    """Clients that never stop asking, and what they were told."""

    def __init__(self, url: str, count: int = 3) -> None:
        self._url, self._stop, self.statuses = url, threading.Event(), Counter[int]()
        self.versions: Counter[str] = Counter()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(count)]

    def _ask(self) -> None:
        with httpx.Client(base_url=self._url, timeout=20.0) as client:
            while not self._stop.is_set():
                answer = client.post("/v1/eta", json={"stop_ids": ["R-1-S1", "R-1-S4"]})
                self.statuses[answer.status_code] += 1
                if answer.status_code == 200:
                    self.versions[answer.json()["forecasts"][0]["model"]["version"]] += 1

    def until_only(self, version: str) -> None:
        """Wait until many answers in a row come from one version."""

        def only() -> bool:
            self.versions.clear()
            threading.Event().wait(0.4)
            return set(self.versions) == {version}

        until(only, within_s=40.0)

    @contextmanager
    def asking(self) -> Iterator[Callers]:
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()


def crown(workspace: Workspace, version: str) -> None:
    """Hand over as a promotion does: the file is replaced at once."""
    aside = workspace.models / "champion.new"
    aside.write_text(json.dumps({"version": version, "alias": "champion"}))
    aside.replace(workspace.champion)


def test_no_request_is_dropped_and_no_broken_model_serves(
    workspace: Workspace, crowned: Workspace, tmp_path: Path
) -> None:
    workspace.models.unlink()
    shutil.copytree(crowned.models, workspace.models)
    for version in ("2", "corrupt", "stranger"):
        shutil.copytree(workspace.models / "1", workspace.models / version)
    booster = workspace.models / "corrupt" / "median.txt"
    booster.write_text(booster.read_text().replace("leaf_value=", "leaf_value=9", 1))
    manifest = workspace.models / "stranger" / "forecaster.json"
    manifest.write_text(manifest.read_text().replace('"feature_set_hash": "', '"feature_set_hash": "x'))
    workspace.settings.write_text('[serving]\nclock = "log"\nworkers = 2\nmodel_poll_s = 0.1\n')
    output = tmp_path / "service.log"
    with speaking_to(workspace, output) as client:
        send(client, *plan("R-1"), moment("tick", NOON_US))
        with Callers(str(client.base_url)).asking() as callers:
            for version, serves in (("2", "2"), ("corrupt", "2"), ("stranger", "2"), ("1", "1"), ("2", "2")):
                crown(workspace, version)
                if version != serves:
                    until(lambda told=version: refusals(output, told) >= 2, within_s=30.0)  # type: ignore[misc]
                callers.until_only(serves)
        assert set(callers.statuses) == {200} and callers.statuses[200] > 30
        until(lambda: client.get("/v1/summary").json()["behind"] == 0)
        send(client, moment("tick", NOON_US + 60 * 10**6))
        assert client.get("/v1/stops/R-1-S4/eta").json()["model"]["version"] == "2"
    assert "is not what was saved" in output.read_text(errors="replace")


def refusals(output: Path, version: str) -> int:
    """How many processes have refused a version; two workers at least must."""
    lines = output.read_text(errors="replace").splitlines()
    return sum(1 for line in lines if "model_load_failed" in line and f'"version": "{version}"' in line)
