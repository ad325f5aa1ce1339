"""A customer sees one delivery in the customer's terms, and what is chosen there reaches whoever acts on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from test_picture import placed
from typer.testing import CliRunner

from data_contracts.errors import UnknownIdError
from data_contracts.workspace import Workspace
from pipelines.cli import app
from serving.api.api import create_app
from serving.engine.readings import OpsReader
from serving.http import wire_rooms
from serving.http.signing import Purpose, Signer
from serving.times import US, from_rfc3339, wall_now_us
from tests.api_client import SETTINGS, Client, calling, crown, play, refused
from tests.engine_bench import FakeForecaster, late_day, tick


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path / "w")
    crown(workspace)
    events = [
        each
        if each.type != "stops"
        else type(each)(
            type=each.type,
            event_id=each.event_id,
            body={**each.body, "customer_id": "CU-1"},
            received_us=each.received_us,
        )
        for each in placed(late_day())
    ]
    play(workspace, *events)
    return workspace


@pytest.fixture
def client(workspace: Workspace) -> Iterator[Client]:
    app = create_app(workspace, SETTINGS, load=lambda folder: FakeForecaster(folder.name))
    with calling(app) as client:
        yield client


def token_of(client: Client, stop_id: str) -> str:
    answer = client.post(f"/v1/stops/{stop_id}/link")
    assert answer.status_code == 201, answer.text
    page, token = answer.json()["path"].split("#")
    assert page == "/track"
    return str(token)


def test_a_customer_sees_window_delay_and_why(client: Client) -> None:
    answer = client.get(f"/v1/track/{token_of(client, 'R-1-S4')}")
    assert answer.headers["cache-control"] == "no-store"
    told = wire_rooms.Track.model_validate(answer.json())
    assert (told.state, told.stops_before) == ("ahead", 2)
    assert told.window is not None and told.promised is not None and told.window.end > told.promised.end
    assert told.window.start.minute % 5 == told.window.end.minute % 5 == 0
    assert told.delay_minutes and told.reasons == ["OTHER"], (
        "a code that customers are not told has a plain name"
    )
    assert told.confidence is not None and told.confidence.of_ten == 8


def test_nothing_of_anybody_else_is_in_it(client: Client) -> None:
    told = client.get(f"/v1/track/{token_of(client, 'R-1-S4')}").text
    assert not any(word in told for word in ("R-1", "R-2", "V-", "Z-", "CU-", '"lat"', "prediction"))


def test_a_delivery_that_is_over_says_when_and_offers_nothing(client: Client) -> None:
    told = client.get(f"/v1/track/{token_of(client, 'R-1-S1')}").json()
    assert (told["state"], told["window"], told["choices"]) == ("completed", None, [])
    assert told["reached_at"] is not None
    answer = client.post(f"/v1/track/{token_of(client, 'R-1-S1')}/changes", json={"choice": "neighbour"})
    refused(answer, 409, "delivery-over")


def test_a_choice_reaches_the_timeline_and_the_outbox(client: Client, workspace: Workspace) -> None:
    answer = client.post(f"/v1/track/{token_of(client, 'R-1-S4')}/changes", json={"choice": "safe_place"})
    assert answer.status_code == 202, answer.text
    play(workspace, tick(3700))
    told = [event for event in _outbox(workspace) if event["type"] == "delivery.change.requested"]
    assert [event["data"]["choice"] for event in told] == ["safe_place"]
    lines = client.get("/v1/stops/R-1-S4/timeline").json()["timeline"]
    assert lines[0]["kind"] == "delivery.change.requested"


def test_preferences_become_a_row_of_customers(client: Client, workspace: Workspace) -> None:
    wanted = {"channel": "sms", "notice_minutes": 30}
    answer = client.request("PUT", f"/v1/track/{token_of(client, 'R-1-S4')}/preferences", json=wanted)
    assert (answer.status_code, answer.json()) == (202, wanted)
    play(workspace, tick(3700))
    assert client.get("/v1/today").json()["feeds"]["customers"]["age_s"] >= 0


@pytest.mark.parametrize("body", [{}, {"choice": "burn it"}, {"choice": "neighbour", "more": 1}, []])
def test_a_choice_that_is_none_is_refused(client: Client, body: Any) -> None:
    answer = client.post(f"/v1/track/{token_of(client, 'R-1-S4')}/changes", json=body)
    refused(answer, 422, "invalid-request")


def test_a_link_opens_one_delivery_until_it_expires(client: Client, workspace: Workspace) -> None:
    signer = Signer(workspace.signing)
    past = signer.seal(Purpose.TRACK, {"stop_id": "R-1-S4"}, wall_now_us() - US)
    refused(client.get(f"/v1/track/{past}"), 410, "link-expired")
    gone = signer.seal(Purpose.TRACK, {"stop_id": "nobody"}, wall_now_us() + 60 * US)
    refused(client.get(f"/v1/track/{gone}"), 410, "link-expired")
    refused(client.get("/v1/track/R-1-S4"), 404, "link-invalid")
    refused(client.get(f"/v1/track/{token_of(client, 'R-1-S4')[:-2]}"), 404, "link-invalid")


def test_a_link_lasts_as_long_as_it_was_asked_to(client: Client) -> None:
    answer = client.post("/v1/stops/R-1-S4/link?hours=2").json()
    assert from_rfc3339(answer["expires_at"]) - wall_now_us() == pytest.approx(7200 * US, abs=60 * US)
    refused(client.post("/v1/stops/R-1-S4/link?hours=0"), 422, "invalid-request")
    refused(client.post("/v1/stops/nobody/link"), 404, "unknown-stop")


def _outbox(workspace: Workspace) -> list[dict[str, Any]]:
    return [orjson.loads(event.body) for _, event in OpsReader(workspace.ops).outbox(0, 10_000)]


def test_the_command_makes_a_link_that_opens(client: Client, workspace: Workspace) -> None:
    command = ["link", "R-1-S4", "--json", "--url", "https://eta.example.com/", "-w", str(workspace.root)]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    page, token = orjson.loads(done.stdout)["url"].split("#")
    assert page == "https://eta.example.com/track"
    assert client.get(f"/v1/track/{token}").json()["state"] == "ahead"
    with pytest.raises(UnknownIdError, match="nobody"):
        CliRunner().invoke(app, ["link", "nobody", "-w", str(workspace.root)], catch_exceptions=False)
