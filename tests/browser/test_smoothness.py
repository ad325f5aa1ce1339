"""The map stays smooth: the page's main thread is never busy for long while somebody pans."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from serving.storage.database import statements
from tests.browser.conftest import Room, serving, workspace_with
from tests.browser.looking import looking

pytestmark = [pytest.mark.browser, pytest.mark.end_to_end]

#: Longer than this and somebody notices.
LONGEST_TASK_MS = 100
PANS = """async () => {
    const { map } = window.punctual.map;
    let frames = 0, counting = true;
    const count = () => { frames += 1; if (counting) requestAnimationFrame(count); };
    requestAnimationFrame(count);
    const started = performance.now();
    for (const [x, y] of [[300, 0], [0, 300], [-600, 0], [0, -600], [300, 300], [-250, 150]]) {
        map.panBy([x, y], { duration: 900 });
        await new Promise((resolve) => map.once('moveend', resolve));
        await new Promise((resolve) => setTimeout(resolve, 500));
    }
    counting = false;
    return frames / (performance.now() - started) * 1000;
}"""
HAS_VEHICLES = "() => window.punctual.map?.map.queryRenderedFeatures({layers: ['vehicles']}).length > 20"
DRAWN_STOPS = "() => window.punctual.map.map.queryRenderedFeatures({layers: ['stops']}).length"


@dataclass(frozen=True, kw_only=True)
class Panned:
    """Tasks of the page's main thread while the map was panned, the longest first, in milliseconds.

    worked_ms : time of the processor, which does not count waiting for a busy machine
    lasted_ms : time of the wall
    """

    worked_ms: list[float]
    lasted_ms: list[float]
    frames_a_second: float

    def __str__(self) -> str:
        longest = [", ".join(f"{ms:.0f}" for ms in each[:5]) for each in (self.worked_ms, self.lasted_ms)]
        return (
            f"longest tasks: {longest[0]} ms of the processor, {longest[1]} ms of the wall; "
            f"{self.frames_a_second:.0f} frames a second"
        )


def crowd(room: Room, stops: int, vehicles: int) -> None:
    """Put a large city into the picture as an engine would have left it; nothing else of it exists."""
    draw, sql = np.random.default_rng(11), statements("picture")
    lat, lon = 52.1 + draw.normal(0, 0.12, stops), 5.1 + draw.normal(0, 0.2, stops)
    risk = draw.beta(0.6, 4.0, stops)
    zone = [f"Z-{int(x)}-{int(y)}" for x, y in zip((lon - 4.3) * 12, (lat - 51.6) * 16, strict=True)]
    route = [f"R-{n % vehicles}" for n in range(stops)]
    with sqlite3.connect(room.workspace.ops) as connection:
        connection.executemany(
            sql["save_stop"],
            (
                (
                    *(f"S-{n}", route[n], 1, n // vehicles + 1, zone[n], None, None, None, None),
                    *(lat[n], lon[n], None, None, None, "ahead", None),
                )
                for n in range(stops)
            ),
        )
        connection.executemany(sql["save_risk"], ((None, risk[n], f"S-{n}") for n in range(stops)))
        connection.executemany(
            sql["save_vehicle"],
            ((f"V-{n}", f"R-{n}", lat[n], lon[n], 5.0, "driving", 10**15) for n in range(vehicles)),
        )
    connection.close()


def panned(browser: Any, room: Room, stops: int) -> Panned:
    """Pan the map with everything of the city on it."""
    with looking(browser, f"{room.url}/ops") as page:
        page.set_default_timeout(120_000)
        page.wait_for_function(HAS_VEHICLES)
        page.wait_for_function(f"(n) => ({DRAWN_STOPS})() > n", arg=min(stops, 20_000) / 2)
        page.wait_for_function("() => window.punctual.map.map.areTilesLoaded()")
        page.wait_for_timeout(2000)
        browser.start_tracing(page=page, categories=["toplevel", "devtools.timeline", "__metadata"])
        frames = page.evaluate(PANS)
        traced = orjson.loads(browser.stop_tracing())["traceEvents"]
    tasks = main_thread_tasks(traced)
    worked = sorted((task.get("tdur", 0) / 1000 for task in tasks), reverse=True)
    lasted = sorted((task["dur"] / 1000 for task in tasks), reverse=True)
    assert len(worked) > 100, "the trace holds the tasks of the page"
    return Panned(worked_ms=worked, lasted_ms=lasted, frames_a_second=frames)


def main_thread_tasks(traced: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Whole tasks of the busiest renderer's main thread."""
    mains = {
        (event["pid"], event["tid"])
        for event in traced
        if event["name"] == "thread_name" and event["args"]["name"] == "CrRendererMain"
    }
    tasks: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for event in traced:
        place = (event["pid"], event["tid"])
        if event["ph"] == "X" and event["name"].endswith("RunTask") and place in mains:
            tasks.setdefault(place, []).append(event)
    return max(tasks.values(), key=lambda each: sum(event["dur"] for event in each))


def test_panning_over_a_town_never_holds_the_page_up(browser: Any, crowned: Path, tmp_path: Path) -> None:
    with serving(workspace_with(crowned, tmp_path)) as room:
        crowd(room, 5_000, 100)
        found = panned(browser, room, 5_000)
    print(found)
    assert found.worked_ms[0] < LONGEST_TASK_MS, str(found)


@pytest.mark.on_demand
def test_panning_over_a_hundred_thousand_stops_never_holds_the_page_up(
    browser: Any, crowned: Path, tmp_path: Path
) -> None:
    with serving(workspace_with(crowned, tmp_path)) as room:
        crowd(room, 100_000, 2_000)
        found = panned(browser, room, 100_000)
    print(found)
    assert found.worked_ms[0] < LONGEST_TASK_MS, str(found)
