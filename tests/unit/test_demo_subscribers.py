"""The demo's subscribers believe what is signed with their secret, count it once, and refuse the rest."""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import orjson

from pipelines.demo import incident_rows
from pipelines.demo_subscribers import Subscriber, listening, told
from serving.engine.outbox import EventType, outbox_event
from serving.times import wall_now_us
from serving.webhooks.signing import Generation, Secrets

SECRETS = Secrets(b"k" * 32)
INCIDENT = {"incident_id": "storm:A:1", "cause": "storm"}


def sent(url: str, secret_of: str = "w-1") -> int:
    """Send one event of a storm; give the answer's status."""
    body = outbox_event(EventType.DISRUPTION_OPENED, "A", 1, INCIDENT).body
    event_id = orjson.loads(body)["id"]
    headers = SECRETS.headers(secret_of, [Generation(1)], event_id, body, wall_now_us())
    return httpx.post(url, content=body, headers=headers).status_code


def test_a_storm_that_is_told_twice_counts_once_and_what_is_not_signed_not_at_all() -> None:
    subscriber = Subscriber("desk", secret=SECRETS.secret("w-1", Generation(1)))
    with listening(subscriber) as url:
        assert [sent(url), sent(url), sent(url, "w-2")] == [204, 204, 401]
        assert httpx.post(url, content=b"{}").status_code == 401
    assert (subscriber.opened("storm:A:1"), subscriber.opened("other"), subscriber.refused) == (1, 0, 2)
    line = told([subscriber], "storm:A:1", "storm A", Counter(sent=2))
    assert line == (
        "storm A begun, signed and verified: desk 1; 1 signed events in all, 2 refused, 0 dead letters"
    )


def test_a_subscriber_without_a_secret_believes_nobody() -> None:
    for secret in (None, "", "whsec_", "whsec_" + b64encode(b"other").decode()):
        assert not Subscriber("desk", secret=secret).take(b"{}", {})


def test_what_struck_a_whole_area_is_told_first_and_then_what_struck_the_most_stops() -> None:
    def incident(cause: str, kind: str, stops: int) -> dict[str, Any]:
        return {
            "incident_id": cause,
            "cause": cause,
            "subject": {"kind": kind, "id": "X"},
            "told_at": "2026-03-02T12:00:00Z",
            "opened_at": "2026-03-02T12:00:00Z",
            "resolved_at": None,
            "severity": "low",
            "evidence": [],
            "actions": [],
            "affected": {"stops": stops, "route_ids": []},
        }

    found = [
        incident("route_behind", "route", 3),
        incident("sort_delay", "depot", 9),
        incident("storm", "area", 1),
    ]
    answering = httpx.MockTransport(lambda request: httpx.Response(200, json={"incidents": found}))
    with httpx.Client(transport=answering, base_url="http://x") as client:
        rows = incident_rows(client, ZoneInfo("Europe/Brussels"))
    assert [row.incident_id for row in rows] == ["storm", "sort_delay", "route_behind"]
