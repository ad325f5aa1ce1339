"""A headless Chromium, and services whose pages it opens; without a browser these tests skip and say so."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from data_contracts.workspace import Workspace
from pipelines.demo import free_port
from pipelines.front_end import VENDOR
from pipelines.replay import Event, Pace, Replay, timeline
from pipelines.sources import simulated
from serving.supervisor import Patience, running_service
from tests.running import crown_a_model

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (make env)")

NAMES = ("chromium", "chromium-browser", "google-chrome")
#: Nothing of the browser calls home, and WebGL is drawn by the processor where there is no graphics card.
ARGUMENTS = (
    "--no-sandbox",
    "--no-first-run",
    "--disable-quic",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
)
PATIENCE = Patience(ready_s=120.0, restart_s=0.1)
SETTINGS = '[serving]\nclock = "log"\nworkers = 1\n'
#: A small city on whose first day it storms.
STORM_SEED, STORM_DAY = 16, date(2026, 1, 5)
SEVERE_MM = 4.0


def browser_path() -> str | None:
    return os.environ.get("PUNCTUAL_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser for one file of tests: while it is open, its loop runs, and no other test may start one."""
    path = browser_path()
    if path is None:
        pytest.skip("there is no Chromium on this machine: make browser")
    if not (VENDOR / ".complete").exists():
        pytest.skip("the libraries of the pages are missing: make dashboard")
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield chromium
        chromium.close()


@dataclass(frozen=True, kw_only=True)
class Room:
    """A service whose pages are looked at, and what has not been played to it yet."""

    url: str
    client: httpx.Client
    workspace: Workspace
    rest: list[Event]

    def play(self, *events: Event) -> None:
        """Let something happen, and wait until the engine has taken it up."""
        Replay(self.client, Pace()).run(events)

    def go_on(self, events: int) -> list[Event]:
        """Play what comes next of the day; give it."""
        following = [self.rest.pop(0) for _ in self.rest[:events]]
        self.play(*following)
        return following

    def storm_out(self) -> None:
        """Play on until the storm is an incident, if it is none yet."""
        while self.rest and not self.incidents("storm"):
            self.go_on(200)

    def late_stop(self) -> str:
        """The stop ahead that is most likely late, once it storms."""
        self.storm_out()
        stops = self.client.get("/v1/stops?limit=50").json()["features"]
        return next(str(stop["id"]) for stop in stops if stop["properties"]["state"] == "ahead")

    def incidents(self, cause: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.client.get(f"/v1/incidents?cause={cause}").json()["incidents"]
        return found


@pytest.fixture(scope="session")
def crowned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of a workspace with the smallest real model there can be."""
    workspace = Workspace(tmp_path_factory.mktemp("crowned"))
    crown_a_model(workspace)
    return workspace.models


@pytest.fixture(scope="session")
def storm(crowned: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    """A stormy day of a small city, played until just before the storm is known."""
    ((_, tables),) = simulated.generate("small", STORM_SEED, STORM_DAY, 1)
    events = timeline(tables, timedelta(seconds=120))
    place = before_the_storm(events)
    workspace = workspace_with(crowned, tmp_path_factory.mktemp("storm"))
    with serving(workspace) as room:
        room.play(*events[:place])
        yield Room(url=room.url, client=room.client, workspace=workspace, rest=list(events[place:]))


def before_the_storm(events: list[Event]) -> int:
    """How many events are known before anybody says that severe weather is near."""
    severe = (
        place
        for place, event in enumerate(events)
        if event["type"] == "weather" and (event.get("precipitation_mm") or 0) >= SEVERE_MM
    )
    return next(severe) - 1


def workspace_with(models: Path, folder: Path) -> Workspace:
    workspace = Workspace(folder / "w")
    workspace.root.mkdir()
    (workspace.root / "models").symlink_to(models)
    workspace.settings.write_text(SETTINGS)
    return workspace


class serving:
    """A ready service of a workspace, for as long as the block runs."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._service = running_service(
            workspace, free_port(), patience=PATIENCE, output=workspace.root / "service.log"
        )

    def __enter__(self) -> Room:
        url = self._service.__enter__()
        self._client = httpx.Client(base_url=url, timeout=30.0)
        return Room(url=url, client=self._client, workspace=self._workspace, rest=[])

    def __exit__(self, *told: Any) -> None:
        self._client.close()
        self._service.__exit__(*told)
