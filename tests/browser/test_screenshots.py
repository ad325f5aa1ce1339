"""Makes the pictures of ``docs/`` (``make screenshots``): the demo's stormy day at noon."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from data_contracts.workspace import Workspace
from pipelines import demo
from pipelines.replay import timeline
from tests.browser.conftest import Room, serving
from tests.browser.looking import PHONE, looking

pytestmark = [pytest.mark.browser, pytest.mark.on_demand]

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
#: Enough for flat colours; keeps the pictures small.
COLOURS = 96
SIZE = {"viewport": {"width": 1280, "height": 800}}


@pytest.fixture(scope="module")
def noon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    """The demo's own workspace, with its day replayed up to where one may watch it."""
    workspace = Workspace(tmp_path_factory.mktemp("pictures") / "demo")
    _, _, tables = demo.prepare(workspace, demo.Scenario(), print)
    events = timeline(tables, timedelta(seconds=60))
    with serving(workspace) as room:
        room.play(*events[: demo.live_from(events, tables)])
        yield room


def test_pictures_of_the_ops_room(browser: Any, noon: Room) -> None:
    with looking(browser, f"{noon.url}/ops", **SIZE) as page:
        page.set_default_timeout(60_000)
        page.wait_for_selector(".card")
        page.wait_for_function("() => window.punctual.map?.map.areTilesLoaded()")
        save(page, "ops-room.png")
        page.locator("#detail .rows:not(.timeline) .row").nth(2).click()
        page.wait_for_selector("#detail .u-wrap")
        save(page.locator("#detail"), "delivery.png")


def test_picture_of_the_customers_page(browser: Any, noon: Room) -> None:
    path = noon.client.post(f"/v1/stops/{late_and_far(noon)}/link").json()["path"]
    with looking(browser, noon.url + path, **PHONE, timezone_id="Europe/Amsterdam") as page:
        page.wait_for_selector(".window")
        save(page, "customer.png")


def late_and_far(room: Room) -> str:
    """A stop that will be late, with others before it."""
    late = [stop["id"] for stop in room.client.get("/v1/stops?limit=60").json()["features"]]
    return str(max(late, key=lambda each: room.client.get(f"/v1/stops/{each}").json()["stops_before"]))


def save(shown: Any, name: str) -> None:
    PICTURES.mkdir(exist_ok=True)
    whole = Image.open(BytesIO(shown.screenshot())).convert("RGB")
    whole.quantize(COLOURS, dither=Image.Dither.NONE).save(PICTURES / name, optimize=True)
