"""More requests than a worker can score: some are answered, the others are told at once when to come again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from data_contracts.workspace import Workspace
from serving.api.api import create_app
from serving.http.limits import Limits
from serving.settings import ServiceSettings
from serving.storage.log import Clock
from tests.api_client import crown, play
from tests.engine_bench import MODEL, FakeForecaster, route_events, tick

WAITING = 5


@pytest.mark.parametrize("stops", [1, 40])
def test_every_request_of_a_crowd_is_answered_or_told_when_to_come_again(tmp_path: Path, stops: int) -> None:
    workspace = Workspace(tmp_path / "w")
    crown(workspace)
    play(workspace, MODEL, *route_events(stops=40), tick(0))
    settings = ServiceSettings(clock=Clock.LOG, limits=Limits(waiting=WAITING))
    app = create_app(workspace, settings, load=lambda folder: FakeForecaster(folder.name))
    asked = {"stop_ids": [f"R-1-S{n}" for n in range(1, stops + 1)]}

    async def crowd() -> tuple[list[httpx.Response], httpx.Response]:
        transport = httpx.ASGITransport(app, client=("127.0.0.1", 50_000))
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=30.0) as client,
        ):
            answers = await asyncio.gather(*(client.post("/v1/eta", json=asked) for _ in range(60)))
            return answers, await client.post("/v1/eta", json=asked)

    answers, after = asyncio.run(crowd())
    answered = [answer for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code == 503]
    assert len(answered) + len(refused) == 60
    assert len(answered) >= WAITING and refused
    assert all(len(answer.json()["forecasts"]) == stops for answer in answered)
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert {answer.json()["type"] for answer in refused} == {"/problems/overloaded"}
    assert after.status_code == 200, "the crowd has gone"
