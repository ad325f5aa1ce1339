"""The client in one file, against the API over real connections."""

from __future__ import annotations

import ast
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path

import pytest
from standardwebhooks import Webhook
from test_stream import SETTINGS, Outbox, served

from data_contracts.workspace import Workspace
from serving.client import punctual_client
from serving.client.punctual_client import (
    Forecast,
    Preferences,
    Problem,
    Punctual,
    Unanswered,
    Unreachable,
    verify_webhook,
)
from serving.http.key_file import KeyFile
from serving.http.keys import Scope
from serving.times import wall_now_us
from tests.api_client import crown, inline, play, wire_ping
from tests.engine_bench import MODEL, late_day, route_events, tick

FILE = Path(punctual_client.__file__)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace(tmp_path_factory.mktemp("client") / "w")
    crown(workspace)
    play(workspace, *late_day())
    return workspace


@pytest.fixture(scope="module")
def url(workspace: Workspace) -> Iterator[str]:
    with served(workspace, SETTINGS) as url:
        yield url


@pytest.fixture
def punctual(url: str) -> Iterator[Punctual]:
    with Punctual(url) as client:
        yield client


def test_it_imports_the_standard_library_alone() -> None:
    tree = ast.parse(FILE.read_text(encoding="utf-8"))
    found = {
        (node.module if isinstance(node, ast.ImportFrom) else alias.name or "").split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert found <= set(sys.stdlib_module_names)


def test_the_file_works_where_nothing_is_installed(url: str, tmp_path: Path) -> None:
    (tmp_path / FILE.name).write_bytes(FILE.read_bytes())
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from punctual_client import Punctual;"
        f"print(Punctual({url!r}).stop_eta('R-1-S4').stop_id, 'serving' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["R-1-S4", "False"]


def test_everything_that_it_gives_is_named() -> None:
    public = {name for name in vars(punctual_client) if name[0].isupper() and name != "LARGEST_BATCH"}
    own = {name for name in public if getattr(vars(punctual_client)[name], "__module__", "") == FILE_MODULE}
    assert own | {"verify_webhook"} == set(punctual_client.__all__)


FILE_MODULE = punctual_client.__name__


def test_a_forecast_is_typed(punctual: Punctual) -> None:
    forecast = punctual.stop_eta("R-1-S4")
    assert forecast.window.start < forecast.eta < forecast.window.end and forecast.window.coverage == 0.8
    assert forecast.as_of.tzinfo is not None and forecast.model_version == "1"
    assert list(forecast.quantiles) == ["p05", "p10", "p25", "p50", "p75", "p90", "p95"]
    assert forecast.late is not None and 0 <= forecast.late.probability <= 1
    assert [row.stop_id for row in punctual.route_eta("R-1")] == ["R-1-S3", "R-1-S4", "R-1-S5"]
    assert len(punctual.stop_history("R-1-S4", limit=3)) == 3


def test_a_mixed_batch_has_an_answer_for_each_stop(punctual: Punctual) -> None:
    ended, unknown, forecast = punctual.score(["R-2-S1", "nobody", "R-1-S5"], reasons=True)
    assert isinstance(ended, Unanswered) and ended.status == 409
    assert isinstance(unknown, Unanswered) and unknown.kind == "unknown-stop"
    assert isinstance(forecast, Forecast) and forecast.reasons[0].code == "BEHIND_PLAN"
    assert len(punctual.score_route("R-1")) == 3


def test_a_route_that_nobody_has_seen_is_scored(punctual: Punctual) -> None:
    asked = inline()
    assert [type(row) for row in punctual.score_inline(asked["route"], asked["stops"])] == [
        Forecast,
        Forecast,
    ]


def test_a_refusal_is_an_error_with_its_kind(punctual: Punctual) -> None:
    with pytest.raises(Problem) as caught:
        punctual.stop_eta("no body?")
    assert (caught.value.status, caught.value.kind) == (404, "unknown-stop")
    assert "no body?" in caught.value.detail


def test_events_are_sent_in_batches_with_a_verdict_each(punctual: Punctual) -> None:
    events = [wire_ping(f"c{n}") for n in range(2500)] + [wire_ping("c0"), {"type": "nonsense"}]
    sent = punctual.send(iter(events))
    assert (len(sent.rows), sent.count("accepted"), sent.count("duplicate")) == (2502, 2500, 1)
    assert [row.reason is not None for row in sent.rejected] == [True]
    assert punctual.send([{"type": "nonsense"}]).rejected
    assert punctual.send([]).rows == ()


def test_alerts_come_page_by_page(punctual: Punctual) -> None:
    everything = list(punctual.alerts())
    assert [alert.alert_id for alert in punctual.alerts(limit="1")] == [each.alert_id for each in everything]
    assert {alert.state for alert in punctual.alerts(state="open")} == {"open"}
    assert len({alert.alert_id for alert in everything}) == len(everything) > 2


def test_an_incident_is_acknowledged(punctual: Punctual) -> None:
    incident = next(punctual.incidents(state="open"))
    assert punctual.acknowledge(incident.incident_id, "on it").incident_id == incident.incident_id
    found = punctual.incident(incident.incident_id)
    assert found.transitions[0].before is None and found.transitions[0].now == "open"
    assert found.transitions[0].at == found.opened_at
    with pytest.raises(Problem):
        punctual.resolve("I-nobody")


def test_a_silence_is_given_and_one_that_nobody_gave_is_not_ended(punctual: Punctual) -> None:
    assert punctual.silence(30, "road works", zone_id="Z-1").startswith("silence-")
    with pytest.raises(Problem, match="colour"):
        punctual.silence(30, colour="red")
    with pytest.raises(Problem):
        punctual.end_silence("nobody")


def test_a_prediction_that_never_was_is_a_problem(punctual: Punctual) -> None:
    with pytest.raises(Problem, match="404 unknown-prediction"):
        punctual.prediction("p/0")


def test_preferences_are_set_read_and_dropped(punctual: Punctual) -> None:
    wanted = Preferences(channel="sms", quiet_from_hour=22, quiet_to_hour=7)
    kept = punctual.prefer("K-1/a", wanted)
    assert kept == punctual.preferences("K-1/a") and kept.since is not None
    assert replace(kept, since=None) == wanted
    punctual.drop_preferences("K-1/a")
    with pytest.raises(Problem) as caught:
        punctual.preferences("K-1/a")
    assert caught.value.status == 404


def test_a_webhook_is_set_up_tried_and_removed(punctual: Punctual) -> None:
    made = punctual.create_webhook("https://hooks.example.com/p", types=["stop.delay.*"], description="ours")
    assert made.secret is not None and made.secret.startswith("whsec_") and made.secret not in repr(made)
    assert punctual.webhook(made.webhook_id).secret is None
    assert [each.webhook_id for each in punctual.webhooks()] == [made.webhook_id]
    assert punctual.rotate_secret(made.webhook_id) not in ("", made.secret)
    event_id = punctual.test_webhook(made.webhook_id)
    (message,) = punctual.messages(made.webhook_id, state="pending")
    assert (message.event_id, message.tries) == (event_id, 0)
    assert punctual.attempts(made.webhook_id) == [] and punctual.redeliver(made.webhook_id) == 0
    assert punctual.redeliver(made.webhook_id, [event_id]) == 1
    assert punctual.enable_webhook(made.webhook_id).state == "active"
    punctual.remove_webhook(made.webhook_id)
    assert punctual.webhooks() == []
    own = punctual.create_webhook("https://hooks.example.com/q", secret=SECRET)
    assert own.url == "https://hooks.example.com/q"
    punctual.remove_webhook(own.webhook_id)


def test_a_webhook_is_not_made_twice_by_a_broken_connection(flaky: tuple[str, type[Flaky]]) -> None:
    url, handler = flaky
    handler.answers = [(503, {}), (0, {}), (201, {})]
    with Punctual(url) as client, pytest.raises(Unreachable):
        client.create_webhook("https://hooks.example.com/p")
    assert len(handler.asked) == 2, "a busy service did not begin, one that broke off may have"


def test_the_key_is_sent(workspace: Workspace, tmp_path: Path) -> None:
    locked = Workspace(tmp_path / "locked")
    crown(locked)
    play(locked, MODEL, *route_events(), tick(0))
    _, key = KeyFile(locked.keys).create("k", frozenset({Scope.READ}), wall_now_us())
    with served(locked, SETTINGS) as url, Punctual(url, key) as mine, Punctual(url) as nobodys:
        assert mine.stop_eta("R-1-S1").stop_id == "R-1-S1"
        with pytest.raises(Problem, match="401 key-missing"):
            nobodys.summary()
        with pytest.raises(Problem, match="403 scope-missing"):
            mine.send([wire_ping("x")])


def test_the_stream_goes_on_where_a_server_ended_it(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "streamed")
    outbox, heard = Outbox(workspace), list[str]()
    with served(workspace, SETTINGS) as url:
        events = Punctual(url).stream(types=["stop.delay.*"], after=0)
        outbox.put(1)
        heard.append(next(events).raw["id"])
    for n in range(2, 5):
        outbox.put(n)
    with served(workspace, SETTINGS) as url:
        again = Punctual(url).stream(after=1)
        heard += [event.raw["id"] for event in islice(again, 3)]
    assert heard == outbox.ids


class Flaky(BaseHTTPRequestHandler):
    """Fails as told before it answers."""

    answers: list[tuple[int, dict[str, str]]]
    asked: list[tuple[str, str | None]]

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        self.rfile.read(length)
        type(self).asked.append((self.path, self.headers.get("Idempotency-Key")))
        status, headers = type(self).answers.pop(0)
        if not status:
            self.close_connection = True
            return
        body = b'{"incident": null, "rows": [], "type": "/problems/x", "detail": "later"}'
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def flaky() -> Iterator[tuple[str, type[Flaky]]]:
    handler = type("Told", (Flaky,), {"answers": [], "asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", handler
        finally:
            server.shutdown()
            thread.join()


def test_a_busy_service_is_asked_again_when_it_said(flaky: tuple[str, type[Flaky]]) -> None:
    url, handler = flaky
    handler.answers = [(503, {"Retry-After": "1"}), (429, {}), (202, {})]
    started_s = time.monotonic()
    with Punctual(url) as client:
        client.send([{"event_id": "e"}])
    assert time.monotonic() - started_s >= 1.1 and len(handler.asked) == 3


def test_a_service_that_stays_busy_is_given_up(flaky: tuple[str, type[Flaky]]) -> None:
    url, handler = flaky
    handler.answers = [(503, {})] * 3
    with Punctual(url, tries=2) as client, pytest.raises(Problem, match="503"):
        client.send([{"event_id": "e"}])
    assert len(handler.asked) == 2


def test_a_refusal_is_not_tried_again(flaky: tuple[str, type[Flaky]]) -> None:
    url, handler = flaky
    handler.answers = [(500, {})]
    with Punctual(url) as client, pytest.raises(Problem, match="500"):
        client.send([{"event_id": "e"}])
    assert len(handler.asked) == 1


def test_nobody_there_is_said() -> None:
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9"):
        Punctual("http://127.0.0.1:9", tries=2).summary()
    with pytest.raises(ValueError, match="not a URL"):
        Punctual("punctual.example.com")


SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_a_webhook_is_believed_only_with_its_signature() -> None:
    body, now = b'{"type": "stop.delay.predicted"}', datetime.now(UTC)
    signature = Webhook(SECRET).sign("m-1", now, body.decode())
    stamp = str(int(now.timestamp()))
    headers = {"Webhook-Id": "m-1", "Webhook-Timestamp": stamp, "Webhook-Signature": f"v1,AAAA {signature}"}
    assert verify_webhook(headers, body, SECRET)["type"] == "stop.delay.predicted"
    for wrong in (
        lambda: verify_webhook(headers, body + b" ", SECRET),
        lambda: verify_webhook(headers, body, "whsec_" + "AfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        lambda: verify_webhook(headers, body, SECRET, now_s=now.timestamp() + 301),
        lambda: verify_webhook({}, body, SECRET),
    ):
        with pytest.raises(ValueError, match="webhook"):
            wrong()
