"""A client of the Punctual API in one file: copy it into your project. It needs Python 3.10 and nothing else.

    from punctual_client import Punctual

    with Punctual("https://punctual.example.com", key="punctual_...") as punctual:
        forecast = punctual.stop_eta("S-17")
        print(forecast.eta, forecast.window.start, forecast.window.end, forecast.late)
        punctual.send([{"type": "stop_events", "event_id": "scan-1", "occurred_at": "2026-03-02T12:00:00Z",
                        "route_id": "R-3", "stop_id": "S-17", "kind": "arrived"}])
        for event in punctual.stream(types=["stop.delay.*"]):
            print(event.type, event.subject, event.data)

Every call is tried again, after the time that the service asks for, where it may be: an event has an ``event_id`` and a
step an idempotency key, so that nothing counts twice. What could count twice (a new webhook, another secret) is tried
again only where it did not begin. A client may be shared between threads.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import random
import ssl
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

__all__ = [
    "Alert",
    "Attempt",
    "Event",
    "Explanation",
    "Forecast",
    "Incident",
    "Late",
    "Message",
    "Preferences",
    "Problem",
    "Punctual",
    "Reason",
    "Sent",
    "Transition",
    "Unanswered",
    "Unreachable",
    "Verdict",
    "Webhook",
    "Window",
    "verify_webhook",
]

LARGEST_BATCH = 1_000
_MAY_PASS = (429, 503)
_WEBHOOK_TOLERANCE_S = 300
_PREFERRED = ("channel", "notice_minutes", "quiet_from_hour", "quiet_to_hour", "safe_place")


class Problem(Exception):
    """The service refused a call (RFC 9457). ``kind`` is a stable word, such as ``unknown-stop``."""

    def __init__(self, status: int, document: Mapping[str, Any], retry_after_s: float | None = None) -> None:
        self.status = status
        self.kind = str(document.get("type", "")).rpartition("/")[2]
        self.detail = str(document.get("detail", document.get("title", "")))
        self.document = dict(document)
        self.retry_after_s = retry_after_s
        super().__init__(f"{status} {self.kind}: {self.detail}")


class Unreachable(Exception):
    """The service could not be reached, or broke off, as often as it was tried."""


@dataclass(frozen=True)
class Window:
    """A span of time; ``coverage`` is the share of arrivals that such windows contain, if that is stated."""

    start: datetime
    end: datetime
    coverage: float | None = None


@dataclass(frozen=True)
class Late:
    """The probability of arriving after the end of the first promise, and the expected lateness."""

    probability: float
    expected_minutes: float


@dataclass(frozen=True)
class Reason:
    """A cause, and what it adds to the forecast."""

    code: str
    minutes: float


@dataclass(frozen=True)
class Forecast:
    """When a courier reaches a stop, as known at ``as_of``. ``raw`` is the answer with all of its fields."""

    stop_id: str
    route_id: str
    prediction_id: str
    as_of: datetime
    eta: datetime
    mean: datetime
    window: Window
    quantiles: dict[str, datetime]
    promise: Window | None
    late: Late | None
    confidence: str
    degraded: tuple[str, ...]
    reasons: tuple[Reason, ...]
    model_version: str
    raw: dict[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True)
class Unanswered:
    """A stop of a batch that has no forecast, and why."""

    stop_id: str
    status: int
    kind: str
    detail: str


@dataclass(frozen=True)
class Verdict:
    """What became of one event: ``accepted``, ``duplicate`` or ``rejected``, the last with its reason."""

    event_id: str | None
    verdict: str
    reason: str | None = None


@dataclass(frozen=True)
class Sent:
    """Verdicts of the events that were sent, in their order."""

    rows: tuple[Verdict, ...]

    def count(self, verdict: str) -> int:
        return sum(row.verdict == verdict for row in self.rows)

    @property
    def rejected(self) -> tuple[Verdict, ...]:
        return tuple(row for row in self.rows if row.verdict == "rejected")


@dataclass(frozen=True)
class Alert:
    """One rule that fired on one subject."""

    alert_id: str
    rule: str
    state: str
    severity: str
    stop_id: str | None
    route_id: str | None
    opened_at: datetime
    raw: dict[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True)
class Transition:
    """A step of an incident's life: who took it, when and why. ``before`` is None where it was opened."""

    at: datetime
    before: str | None
    now: str
    who: str
    why: str


@dataclass(frozen=True)
class Incident:
    """Alerts of one cause about one subject, and the steps of its life, the oldest first."""

    incident_id: str
    cause: str
    state: str
    severity: str
    opened_at: datetime
    transitions: tuple[Transition, ...]
    raw: dict[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True)
class Explanation:
    """A served forecast made again: whether it comes out the same, and the features that it was made of."""

    forecast: Forecast
    same: bool
    features: dict[str, float | None]
    code_then: str
    code_now: str


@dataclass(frozen=True)
class Preferences:
    """What a customer prefers; None is left to the operator. Hours are local, ``since`` is set by the service."""

    channel: str | None = None
    notice_minutes: int | None = None
    quiet_from_hour: int | None = None
    quiet_to_hour: int | None = None
    safe_place: str | None = None
    since: datetime | None = None


@dataclass(frozen=True)
class Webhook:
    """Where events are sent. ``secret`` is shown once, when it is made; ``state`` is ``active`` or ``disabled``."""

    webhook_id: str
    url: str | None
    channel: str | None
    types: tuple[str, ...]
    description: str
    state: str
    reason: str | None
    secret: str | None = field(repr=False)
    raw: dict[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True)
class Message:
    """One event on its way to a webhook: ``pending``, ``sent`` or ``dead``, and why."""

    event_id: str
    type: str
    subject: str
    state: str
    why: str | None
    tries: int


@dataclass(frozen=True)
class Attempt:
    """One delivery that was tried."""

    event_id: str
    at: datetime
    outcome: str
    status: int | None
    took_ms: int
    detail: str


@dataclass(frozen=True)
class Event:
    """An event of the stream. ``position`` is where to go on from: ``stream(after=event.position)``."""

    position: int
    type: str
    subject: str | None
    data: dict[str, Any]
    raw: dict[str, Any] = field(repr=False, compare=False)


class Punctual:
    """The API of one workspace.

    timeout_s : how long one try may take
    tries : how often a call is tried where the service is busy or cannot be reached
    ca_file : certificates to trust instead of the system's
    """

    def __init__(
        self,
        base_url: str,
        key: str | None = None,
        *,
        timeout_s: float = 10.0,
        tries: int = 4,
        ca_file: str | None = None,
    ) -> None:
        url = urlsplit(base_url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError(f"{base_url!r} is not a URL such as https://punctual.example.com")
        self._url, self._key, self._timeout_s, self._tries = url, key, timeout_s, tries
        self._tls = ssl.create_default_context(cafile=ca_file) if url.scheme == "https" else None
        self._of_thread = threading.local()

    def __enter__(self) -> Punctual:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close this thread's connection; it is opened again where it is needed."""
        connection: http.client.HTTPConnection | None = getattr(self._of_thread, "connection", None)
        if connection is not None:
            connection.close()
            self._of_thread.connection = None

    # --- forecasts ---

    def stop_eta(self, stop_id: str) -> Forecast:
        """The latest forecast of a stop."""
        return _forecast(self._call("GET", f"/v1/stops/{_part(stop_id)}/eta"))

    def stop_history(self, stop_id: str, limit: int = 100) -> list[Forecast]:
        """How the forecast of a stop moved, the newest first."""
        answer = self._call("GET", f"/v1/stops/{_part(stop_id)}/history", {"limit": limit})
        return [_forecast(row) for row in answer["forecasts"]]

    def prediction(self, prediction_id: str) -> Explanation:
        """A served forecast by its id, made again; a ``Problem`` of status 410 once it is no longer kept."""
        row = self._call("GET", f"/v1/predictions/{_part(prediction_id)}")
        code = row["code_version"]
        return Explanation(
            _forecast(row["forecast"]), row["same"], row["features"], code["then"], code["now"]
        )

    def route_eta(self, route_id: str) -> list[Forecast]:
        """The latest forecasts of the stops that a route still has to reach."""
        answer = self._call("GET", f"/v1/routes/{_part(route_id)}/eta")
        return [_forecast(row) for row in answer["forecasts"]]

    def score(self, stop_ids: Sequence[str], *, reasons: bool = False) -> list[Forecast | Unanswered]:
        """Score stops now; each has its own answer, in the order asked for."""
        return self._score({"stop_ids": list(stop_ids), "reasons": reasons})

    def score_route(self, route_id: str, *, reasons: bool = False) -> list[Forecast | Unanswered]:
        """Score the remaining stops of a route now."""
        return self._score({"route_id": route_id, "reasons": reasons})

    def score_inline(
        self,
        route: Mapping[str, Any],
        stops: Sequence[Mapping[str, Any]],
        events: Sequence[Mapping[str, Any]] = (),
        *,
        reasons: bool = False,
    ) -> list[Forecast | Unanswered]:
        """Score a route that the service has never seen, by its plan and what happened so far."""
        inline = {"route": route, "stops": list(stops), "events": list(events)}
        return self._score({**inline, "reasons": reasons})

    def _score(self, asked: Mapping[str, Any]) -> list[Forecast | Unanswered]:
        answer = self._call("POST", "/v1/eta", body=_json(asked))
        return [_unanswered(row) if "error" in row else _forecast(row) for row in answer["forecasts"]]

    # --- events ---

    def send(self, events: Iterable[Mapping[str, Any]]) -> Sent:
        """Send events in batches; each is on the service's disk before its verdict is given."""
        rows: list[Verdict] = []
        batch: list[bytes] = []
        for event in events:
            batch.append(_json(event))
            if len(batch) == LARGEST_BATCH:
                rows += self._send(batch)
                batch = []
        return Sent(tuple(rows + (self._send(batch) if batch else [])))

    def _send(self, lines: Sequence[bytes]) -> list[Verdict]:
        try:
            answer = self._call(
                "POST", "/v1/events", body=b"\n".join(lines), media_type="application/x-ndjson"
            )
        except Problem as problem:
            if problem.kind != "no-event-accepted":
                raise
            answer = problem.document
        return [Verdict(row["event_id"], row["verdict"], row.get("reason")) for row in answer["rows"]]

    # --- operations ---

    def summary(self) -> dict[str, Any]:
        """Where the service stands."""
        return self._call("GET", "/v1/summary")

    def alerts(self, **filters: str) -> Iterator[Alert]:
        """Alerts, the newest first, page by page; ``state``, ``stop_id``, ``route_id`` and others narrow them."""
        for row in self._pages("/v1/alerts", "alerts", filters):
            names = ("alert_id", "rule", "state", "severity", "stop_id", "route_id")
            yield Alert(**{name: row[name] for name in names}, opened_at=_instant(row["opened_at"]), raw=row)

    def incidents(self, **filters: str) -> Iterator[Incident]:
        """Incidents, the newest first, page by page; ``state``, ``cause`` and others narrow them."""
        for row in self._pages("/v1/incidents", "incidents", filters):
            yield _incident(row)

    def incident(self, incident_id: str) -> Incident:
        """One incident, with the steps of its life."""
        return _incident(self._call("GET", f"/v1/incidents/{_part(incident_id)}"))

    def acknowledge(self, incident_id: str, why: str = "") -> Incident:
        """Say that somebody looks after an incident."""
        return self._step(incident_id, "acknowledge", {"why": why})

    def snooze(self, incident_id: str, minutes: float, why: str = "") -> Incident:
        """Put an incident off for some minutes."""
        return self._step(incident_id, "snooze", {"why": why, "minutes": minutes})

    def resolve(self, incident_id: str, why: str = "") -> Incident:
        """Say that an incident is over."""
        return self._step(incident_id, "resolve", {"why": why})

    def silence(self, minutes: float, why: str = "", **about: str) -> str:
        """Let nobody hear of something for some minutes, e.g. ``zone_id="Z-1"``; give the id of the silence."""
        asked = {"why": why, "minutes": minutes, "matchers": about}
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        answer = self._call("POST", "/v1/silences", body=_json(asked), headers=headers)
        return str(answer["silence"]["silence_id"])

    def end_silence(self, silence_id: str) -> None:
        """Tell of it again."""
        self._call("DELETE", f"/v1/silences/{_part(silence_id)}")

    def _step(self, incident_id: str, step: str, asked: Mapping[str, Any]) -> Incident:
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        path = f"/v1/incidents/{_part(incident_id)}/{step}"
        return _incident(self._call("POST", path, body=_json(asked), headers=headers)["incident"])

    def _pages(self, path: str, name: str, filters: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        asked = dict(filters)
        while True:
            answer = self._call("GET", path, asked)
            yield from answer[name]
            if not answer.get("next_cursor"):
                return
            asked["cursor"] = answer["next_cursor"]

    # --- customers ---

    def preferences(self, customer_id: str) -> Preferences:
        """What a customer prefers; a ``Problem`` of status 404 where nothing was said."""
        return _preferences(self._call("GET", _preferences_path(customer_id)))

    def prefer(self, customer_id: str, preferences: Preferences) -> Preferences:
        """Set what a customer prefers, all of it; what is None is left to the operator."""
        asked = {name: getattr(preferences, name) for name in _PREFERRED}
        return _preferences(self._call("PUT", _preferences_path(customer_id), body=_json(asked)))

    def drop_preferences(self, customer_id: str) -> None:
        """Forget what a customer prefers."""
        self._call("DELETE", _preferences_path(customer_id))

    # --- webhooks ---

    def create_webhook(
        self,
        url: str | None = None,
        *,
        channel: str | None = None,
        types: Sequence[str] = (),
        description: str = "",
        secret: str | None = None,
    ) -> Webhook:
        """Have events sent to a URL, or to a channel that the settings name; a new secret is shown this once."""
        asked = {"url": url, "channel": channel, "types": list(types), "description": description}
        if secret is not None:
            asked["secret"] = secret
        return _webhook(self._call("POST", "/v1/webhooks", body=_json(asked), is_repeatable=False))

    def webhooks(self) -> list[Webhook]:
        """All of them, the oldest first."""
        return [_webhook(row) for row in self._call("GET", "/v1/webhooks")["webhooks"]]

    def webhook(self, webhook_id: str) -> Webhook:
        return _webhook(self._call("GET", _webhook_path(webhook_id)))

    def remove_webhook(self, webhook_id: str) -> None:
        """Forget a webhook and what was still to be sent to it."""
        self._call("DELETE", _webhook_path(webhook_id))

    def rotate_secret(self, webhook_id: str) -> str:
        """Another secret, shown this once; earlier ones sign beside it for a while."""
        answer = self._call("POST", _webhook_path(webhook_id, "rotate"), is_repeatable=False)
        return str(answer["secret"])

    def enable_webhook(self, webhook_id: str) -> Webhook:
        """Send to a disabled webhook again."""
        return _webhook(self._call("POST", _webhook_path(webhook_id, "enable")))

    def test_webhook(self, webhook_id: str) -> str:
        """Send a test event; gives its id."""
        return str(self._call("POST", _webhook_path(webhook_id, "test"), is_repeatable=False)["event_id"])

    def redeliver(self, webhook_id: str, event_ids: Sequence[str] | None = None) -> int:
        """Send events once more, or all dead letters; gives how many."""
        asked = {} if event_ids is None else {"event_ids": list(event_ids)}
        return int(
            self._call("POST", _webhook_path(webhook_id, "redeliver"), body=_json(asked))["redelivered"]
        )

    def messages(self, webhook_id: str, **filters: str) -> list[Message]:
        """What is and was sent to a webhook, the newest first; ``state`` and ``limit`` narrow it."""
        rows = self._call("GET", _webhook_path(webhook_id, "messages"), filters)["messages"]
        names = ("event_id", "type", "subject", "state", "why", "tries")
        return [Message(**{name: row[name] for name in names}) for row in rows]

    def attempts(self, webhook_id: str, **filters: str) -> list[Attempt]:
        """The delivery log of a webhook, the newest first; ``event_id`` and ``limit`` narrow it."""
        rows = self._call("GET", _webhook_path(webhook_id, "attempts"), filters)["attempts"]
        names = ("event_id", "outcome", "status", "took_ms", "detail")
        return [Attempt(**{name: row[name] for name in names}, at=_instant(row["at"])) for row in rows]

    # --- the stream ---

    def stream(
        self,
        types: Sequence[str] = (),
        route_ids: Sequence[str] = (),
        subjects: Sequence[str] = (),
        after: int | None = None,
    ) -> Iterator[Event]:
        """Events as they happen, without end: a connection that ends is opened again where it ended.

        An event of type ``stream.gap`` says that some before it are not kept any more.
        """
        wanted = {"type": list(types), "route_id": list(route_ids), "subject": list(subjects)}
        path = f"/v1/stream?{urlencode(wanted, doseq=True)}"
        position, failures = after, 0
        while True:
            try:
                for message in self._listen(path, position):
                    failures = 0
                    position = int(message.get("id", position or 0))
                    if "data" in message:
                        yield _event(position, message)
            except (OSError, http.client.HTTPException) as error:
                failures += 1
                if failures >= self._tries:
                    raise Unreachable(f"the stream of {self._url.netloc} broke off: {error}") from error
            except Problem as problem:
                failures += 1
                if problem.status not in _MAY_PASS or failures >= self._tries:
                    raise
                time.sleep(problem.retry_after_s or 0.0)
            time.sleep(_pause_s(failures))

    def _listen(self, path: str, after: int | None) -> Iterator[dict[str, str]]:
        headers = {"Accept": "text/event-stream"} | ({} if after is None else {"Last-Event-ID": str(after)})
        connection = self._connect()
        try:
            connection.request("GET", path, headers=self._headers() | headers)
            response = connection.getresponse()
            if response.status != 200:
                raise _problem(response.status, response.read(), response.getheader("Retry-After"))
            if connection.sock is not None:
                connection.sock.settimeout(60.0)
            yield from _messages(response)
        finally:
            connection.close()

    # --- HTTP ---

    def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        body: bytes | None = None,
        media_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
        is_repeatable: bool = True,
    ) -> dict[str, Any]:
        target = f"{path}?{urlencode(query)}" if query else path
        sent = (
            self._headers() | ({"Content-Type": media_type} if body is not None else {}) | dict(headers or {})
        )
        if not is_repeatable:
            self.close()  # an idle connection that the service has closed would look like one that broke off
        for turn in range(1, self._tries + 1):
            try:
                return self._once(method, target, body, sent)
            except Problem as problem:
                if problem.status not in _MAY_PASS or turn == self._tries:
                    raise
                time.sleep(problem.retry_after_s or _pause_s(turn))
            except (OSError, http.client.HTTPException) as error:
                self.close()
                if turn == self._tries or not (is_repeatable or isinstance(error, ConnectionRefusedError)):
                    raise Unreachable(f"{method} {path} of {self._url.netloc}: {error!r}") from error
                time.sleep(_pause_s(turn))
        raise AssertionError("tries is at least 1")

    def _once(
        self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]
    ) -> dict[str, Any]:
        connection: http.client.HTTPConnection | None = getattr(self._of_thread, "connection", None)
        if connection is None:
            connection = self._of_thread.connection = self._connect()
        connection.request(method, target, body=body, headers=dict(headers))
        response = connection.getresponse()
        content = response.read()
        if response.status >= 400:
            raise _problem(response.status, content, response.getheader("Retry-After"))
        answer: dict[str, Any] = json.loads(content) if content else {}
        return answer

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self._url.hostname or "", self._url.port
        if self._tls is not None:
            return http.client.HTTPSConnection(host, port, timeout=self._timeout_s, context=self._tls)
        return http.client.HTTPConnection(host, port, timeout=self._timeout_s)

    def _headers(self) -> dict[str, str]:
        return {"Accept": "application/json"} | (
            {"Authorization": f"Bearer {self._key}"} if self._key else {}
        )


def verify_webhook(
    headers: Mapping[str, str], body: bytes, secret: str, *, now_s: float | None = None
) -> dict[str, Any]:
    """The event that a webhook brought, if the service sent it (Standard Webhooks, symmetric).

    ``secret`` begins with ``whsec_``. Raises ``ValueError`` for a wrong signature, or one that is five minutes off.
    """
    given = {name.lower(): value for name, value in headers.items()}
    try:
        message_id, sent_s = given["webhook-id"], int(given["webhook-timestamp"])
        signatures = given["webhook-signature"].split()
    except (KeyError, ValueError):
        raise ValueError("the webhook's headers are missing or wrong") from None
    if abs((time.time() if now_s is None else now_s) - sent_s) > _WEBHOOK_TOLERANCE_S:
        raise ValueError("the webhook was signed too long ago, or in the future")
    signed = f"{message_id}.{sent_s}.".encode() + body
    digest = hmac.new(base64.b64decode(secret.removeprefix("whsec_")), signed, hashlib.sha256).digest()
    expected = base64.b64encode(digest)
    if not any(hmac.compare_digest(b"v1," + expected, each.encode()) for each in signatures):
        raise ValueError("the webhook was not signed with this secret")
    event: dict[str, Any] = json.loads(body)
    return event


def _forecast(row: dict[str, Any]) -> Forecast:
    promise, late = row["promise"], row["late"]
    return Forecast(
        stop_id=row["stop_id"],
        route_id=row["route_id"],
        prediction_id=row["prediction_id"],
        as_of=_instant(row["as_of"]),
        eta=_instant(row["eta"]),
        mean=_instant(row["mean"]),
        window=_window(row["window"]),
        quantiles={name: _instant(value) for name, value in row["quantiles"].items()},
        promise=None if promise is None else _window(promise),
        late=None if late is None else Late(late["probability"], late["expected_minutes"]),
        confidence=row["confidence"]["level"],
        degraded=tuple(row["degraded"]),
        reasons=tuple(Reason(each["code"], each["minutes"]) for each in row["reasons"]),
        model_version=row["model"]["version"],
        raw=row,
    )


def _window(row: Mapping[str, Any]) -> Window:
    return Window(_instant(row["start"]), _instant(row["end"]), row.get("coverage"))


def _unanswered(row: Mapping[str, Any]) -> Unanswered:
    error = row["error"]
    return Unanswered(row["stop_id"], error["status"], error["type"].rpartition("/")[2], error["detail"])


def _incident(row: dict[str, Any]) -> Incident:
    names = ("incident_id", "cause", "state", "severity")
    steps = tuple(
        Transition(_instant(step["at"]), step["from"], step["to"], step["who"], step["why"])
        for step in row["transitions"]
    )
    opened_at = _instant(row["opened_at"])
    return Incident(**{name: row[name] for name in names}, opened_at=opened_at, transitions=steps, raw=row)


def _preferences(row: Mapping[str, Any]) -> Preferences:
    return Preferences(**{name: row[name] for name in _PREFERRED}, since=_instant(row["since"]))


def _preferences_path(customer_id: str) -> str:
    return f"/v1/customers/{_part(customer_id)}/preferences"


def _webhook(row: dict[str, Any]) -> Webhook:
    names = ("webhook_id", "url", "channel", "description", "state", "reason")
    shown = {name: value for name, value in row.items() if name != "secret"}
    return Webhook(
        **{name: row[name] for name in names}, types=tuple(row["types"]), secret=row.get("secret"), raw=shown
    )


def _webhook_path(webhook_id: str, what: str = "") -> str:
    return f"/v1/webhooks/{_part(webhook_id)}" + (f"/{what}" if what else "")


def _event(position: int, message: Mapping[str, str]) -> Event:
    body = json.loads(message["data"])
    kind = str(body.get("type", message.get("event", "")))
    return Event(position, kind, body.get("subject"), body.get("data", body), body)


def _messages(lines: Iterable[bytes]) -> Iterator[dict[str, str]]:
    """Messages of a stream of server-sent events; comments alone are left out."""
    fields: dict[str, str] = {}
    for raw in lines:
        line = raw.decode("utf-8").rstrip("\r\n")
        if not line:
            if fields:
                yield fields
            fields = {}
            continue
        name, _, value = line.partition(":")
        if name:
            value = value.removeprefix(" ")
            fields[name] = f"{fields[name]}\n{value}" if name == "data" and "data" in fields else value


def _problem(status: int, content: bytes, retry: str | None) -> Problem:
    try:
        document = json.loads(content)
    except ValueError:
        document = {"detail": content[:200].decode("utf-8", "replace")}
    shown = document if isinstance(document, dict) else {"detail": str(document)}
    return Problem(status, shown, float(retry) if retry and retry.isdigit() else None)


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)


def _json(value: Any) -> bytes:
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()


def _part(identity: str) -> str:
    return quote(identity, safe="")


def _pause_s(turn: int) -> float:
    """A quarter of a second, then twice as long each time, by a random share."""
    return float(0.25 * 2 ** max(0, turn - 1) * (0.5 + random.random() / 2))
