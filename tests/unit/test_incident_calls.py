"""Incidents over HTTP: lists with cursors, and steps that are on disk before the answer."""

from __future__ import annotations

from typing import Any

import pytest

from data_contracts.record import COMMAND
from data_contracts.workspace import Workspace
from serving.api import commanding
from serving.http import wire
from serving.storage.log import Clock, EventLog
from serving.times import US, to_rfc3339
from tests.api_client import Client, play, refused
from tests.builders import NOON_US
from tests.engine_bench import tick


@pytest.fixture
def workspace(stormy: Workspace) -> Workspace:
    return stormy


@pytest.fixture(autouse=True)
def _no_engine_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commanding, "APPLIED_WITHIN_S", 0.05)


def listed(client: Client, query: str = "") -> list[wire.Incident]:
    return wire.IncidentList.model_validate(client.get(f"/v1/incidents{query}").json()).incidents


def the_storm(client: Client) -> str:
    (storm,) = listed(client, "?cause=storm")
    return storm.incident_id


def commands(workspace: Workspace) -> list[dict[str, Any]]:
    log = EventLog(workspace.log, Clock.LOG)
    found = [dict(record.body) for record in log.read(0, 10_000) if record.type == COMMAND]
    log.close()
    return found


def test_incidents_are_listed_by_state_cause_and_subject(client: Client) -> None:
    everything = listed(client)
    assert [each.opened_at for each in everything] == sorted(
        (each.opened_at for each in everything), reverse=True
    )
    assert {each.cause for each in listed(client, "?cause=storm&subject_id=A")} == {"storm"}
    assert listed(client, "?area_id=nowhere") == []
    live, over = listed(client, "?state=live"), listed(client, "?state=resolved")
    assert len(live) + len(over) == len(everything)


@pytest.mark.parametrize("path", ["/v1/incidents", "/v1/alerts"])
def test_pages_follow_each_other_without_a_gap(client: Client, path: str) -> None:
    name = path.removeprefix("/v1/")
    key = f"{name[:-1]}_id"
    whole = [each[key] for each in client.get(path).json()[name]]
    found, cursor = [], ""
    while cursor is not None:
        page = client.get(f"{path}?limit=1{f'&cursor={cursor}' if cursor else ''}").json()
        found += [each[key] for each in page[name]]
        cursor = page["next_cursor"]
    assert found == whole and len(whole) > 1


@pytest.mark.parametrize(
    "query", ["state=closed", "cause=aliens", "cursor=%21", "cursor=eHh4", "cursor=LTF8eA", "limit=0"]
)
def test_a_wrong_filter_of_incidents_is_refused(client: Client, query: str) -> None:
    assert refused(client.get(f"/v1/incidents?{query}"), 422, "invalid-request")


def test_one_incident_tells_its_cause_stops_and_steps(client: Client) -> None:
    storm = wire.Incident.model_validate(client.get(f"/v1/incidents/{the_storm(client)}").json())
    assert (storm.cause, storm.subject.kind, storm.subject.id) == ("storm", "area", "A")
    assert "R-1-S4" in storm.affected.stop_ids and storm.evidence == ["severe_weather: SEVERE_NOW"]
    assert storm.transitions[0].who == "engine"


def test_a_step_is_on_disk_before_the_answer_and_done_by_the_engine(
    client: Client, workspace: Workspace
) -> None:
    storm = the_storm(client)
    answer = client.post(f"/v1/incidents/{storm}/acknowledge", json={"why": "on it"})
    told = wire.StepAnswer.model_validate(answer.json())
    assert (answer.status_code, told.applied, told.incident.state) == (202, False, "open")
    assert [(body["step"], body["who"], body["why"]) for body in commands(workspace)] == [
        ("acknowledge", "local", "on it")
    ]
    play(workspace, tick(3700))
    now = wire.Incident.model_validate(client.get(f"/v1/incidents/{storm}").json())
    assert (now.state, now.transitions[-1].why) == ("acknowledged", "on it")


def test_a_snooze_says_how_long(client: Client, workspace: Workspace) -> None:
    url = f"/v1/incidents/{the_storm(client)}/snooze"
    assert refused(client.post(url, json={"why": "lunch"}), 422, "invalid-request")
    assert refused(
        client.post(url, json={"minutes": 5, "until": "2026-03-02T14:00:00Z"}), 422, "invalid-request"
    )
    assert refused(client.post(url, json={"until": "2026-03-02T14:00:00"}), 422, "invalid-request")
    assert refused(client.post(url, json={"until": "2020-03-02T14:00:00Z"}), 409, "snooze-in-the-past")
    assert client.post(url, json={"minutes": 30}).status_code == 202
    play(workspace, tick(3700))
    until = client.get(url.removesuffix("/snooze")).json()["snoozed_until"]
    assert until == to_rfc3339(NOON_US + (3625 + 1800) * US)


def test_a_step_that_was_taken_is_refused(client: Client, workspace: Workspace) -> None:
    storm = the_storm(client)
    assert client.post(f"/v1/incidents/{storm}/resolve").status_code == 202
    play(workspace, tick(3700))
    for step in ("resolve", "acknowledge"):
        assert refused(client.post(f"/v1/incidents/{storm}/{step}"), 409, "already-resolved")
    assert refused(client.post("/v1/incidents/nobody/resolve"), 404, "unknown-incident")


def test_a_step_sent_twice_with_one_key_counts_once(client: Client, workspace: Workspace) -> None:
    url = f"/v1/incidents/{the_storm(client)}/acknowledge"
    for _ in range(2):
        assert client.post(url, headers={"Idempotency-Key": "k-1"}).status_code == 202
    assert len(commands(workspace)) == 1


@pytest.mark.parametrize(
    ("content", "status", "kind"),
    [
        (b"{", 400, "malformed-json"),
        (b"[]", 422, "invalid-request"),
        (b'{"because": "x"}', 422, "invalid-request"),
        (b'{"why": "' + b"x" * 20_000 + b'"}', 413, "body-too-large"),
    ],
)
def test_a_body_that_is_wrong_is_refused(client: Client, content: bytes, status: int, kind: str) -> None:
    url = f"/v1/incidents/{the_storm(client)}/acknowledge"
    assert refused(client.post(url, content=content), status, kind)
