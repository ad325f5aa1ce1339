"""Two systems that subscribe to the demo's disruptions, and believe nothing that is not signed."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
from standardwebhooks import Webhook as Verifier

NAMES = ("customer notices", "dispatch desk")
TYPES = ("disruption.*",)
PATIENCE_S = 20.0


@dataclass(slots=True)
class Subscriber:
    """What one receiver was sent: events whose signature is right, and how many requests had none that is."""

    name: str
    secret: str | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    refused: int = 0

    def take(self, body: bytes, headers: dict[str, str]) -> bool:
        """Keep an event if it is signed; one that comes twice counts once."""
        try:
            event = Verifier(self.secret or "").verify(body, headers)
        except Exception:
            self.refused += 1
            return False
        if all(known["id"] != event["id"] for known in self.events):
            self.events.append(event)
        return True

    def opened(self, incident_id: str) -> int:
        """How many events told it that this incident has begun."""
        return sum(
            each["type"] == "disruption.opened" and each["data"]["incident_id"] == incident_id
            for each in self.events
        )


@contextmanager
def subscribed(
    client: httpx.Client, names: Sequence[str] = NAMES, types: Sequence[str] = TYPES
) -> Iterator[list[Subscriber]]:
    """Receivers on this machine that a service sends events to for as long as the block runs."""
    with ExitStack() as stack:
        found = []
        for name in names:
            subscriber = Subscriber(name)
            url = stack.enter_context(listening(subscriber))
            asked = {"url": url, "types": list(types), "description": name}
            answer = client.post("/v1/webhooks", json=asked)
            answer.raise_for_status()
            subscriber.secret = answer.json()["secret"]
            found.append(subscriber)
        yield found


@contextmanager
def listening(subscriber: Subscriber) -> Iterator[str]:
    """The subscriber's HTTP server on loopback; gives its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            self.send_response(204 if subscriber.take(body, dict(self.headers.items())) else 401)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, name="subscriber")
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/events"
        finally:
            server.shutdown()
            thread.join()


def settled(client: httpx.Client, patience_s: float = PATIENCE_S) -> Counter[str]:
    """Wait until nothing is on its way any more; give how many messages ended how."""
    deadline_s = time.monotonic() + patience_s
    while True:
        counts: Counter[str] = Counter()
        for webhook in client.get("/v1/webhooks").json()["webhooks"]:
            counts.update(webhook["messages"])
        if not counts["pending"] or time.monotonic() >= deadline_s:
            return counts
        time.sleep(0.1)


def told(subscribers: Sequence[Subscriber], incident_id: str | None, what: str, counts: Counter[str]) -> str:
    """One line on what the subscribers were sent, of one incident and in all."""
    events = sum(len(each.events) for each in subscribers)
    whole = f"{events:,} signed events in all, {sum(each.refused for each in subscribers)} refused, "
    whole += f"{counts['dead']} dead letters"
    if incident_id is None:
        return whole
    each_got = ", ".join(f"{subscriber.name} {subscriber.opened(incident_id)}" for subscriber in subscribers)
    return f"{what} begun, signed and verified: {each_got}; {whole}"
