"""Nobody gets in without a key, but this machine while there are none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.routing import Route

from data_contracts.errors import WorkspaceError
from data_contracts.workspace import Workspace
from serving.api.api import ENDPOINTS, METHODS, create_app
from serving.http.access import Guard, caller_of, is_loopback
from serving.http.key_file import KeyFile
from serving.http.keys import LOCAL, Scope
from serving.http.limits import Limits
from serving.http.responses import JSON
from serving.settings import ServiceSettings
from serving.storage.log import Clock
from serving.supervisor import refuse_unlocked
from serving.times import wall_now_us
from tests.api_client import SETTINGS, Client, calling, refused, wire_ping
from tests.engine_bench import FakeForecaster

#: Calls that need no key: they begin or end a session, or carry a signed link.
OPEN_CALLS = {"signIn", "signOut", "track", "changeDelivery", "setTrackPreferences"}
GUARDED_CALLS = [endpoint for endpoint in ENDPOINTS if endpoint.name not in OPEN_CALLS]


@pytest.fixture
def client(workspace: Workspace) -> Iterator[Client]:
    with _client(workspace, ServiceSettings(clock=Clock.WALL, limits=SETTINGS.limits)) as client:
        yield client


def _client(workspace: Workspace, settings: ServiceSettings) -> Any:
    app = create_app(workspace, settings, load=lambda folder: FakeForecaster(folder.name))
    app.router.routes.insert(0, Route("/v1/whoami", _whoami, middleware=[_guard(Scope.READ)]))
    return calling(app)


def _guard(scope: Scope) -> Any:
    from starlette.middleware import Middleware

    return Middleware(Guard, call="whoami", needed=scope)


def _whoami(request: Request) -> JSON:
    caller = caller_of(request)
    return JSON({"key_id": caller.key_id, "name": caller.name, "scopes": sorted(caller.scopes)})


def key(workspace: Workspace, *scopes: Scope, name: str = "k") -> dict[str, str]:
    """Headers with a new key."""
    _, text = KeyFile(workspace.keys).create(name, frozenset(scopes), wall_now_us())
    return {"authorization": f"Bearer {text}"}


def ask(
    client: Client, headers: Mapping[str, str], path: str = "/v1/whoami", method: str = "GET"
) -> httpx.Response:
    return client.request(method, path, headers=headers)


def test_without_keys_this_machine_may_do_everything(client: Client) -> None:
    assert ask(client, {}).json() == {"key_id": "local", "name": "local", "scopes": sorted(LOCAL.scopes)}


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "punctual.example.com"},
        {"host": "evil.test:3000"},
        {"x-forwarded-for": "203.0.113.9"},
        {"forwarded": "for=203.0.113.9"},
        {"origin": "https://evil.test"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
    ],
    ids=str,
)
def test_without_keys_another_sites_page_or_a_proxy_is_refused(
    client: Client, headers: Mapping[str, str]
) -> None:
    assert "punctual keys create" in refused(ask(client, headers), 403, "loopback-only")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:3000", "[::1]:3000"])
def test_this_machine_goes_by_its_own_names(client: Client, host: str) -> None:
    assert ask(client, {"host": host, "origin": f"http://{host}"}).status_code == 200


@pytest.mark.parametrize("peer", ["192.0.2.7", "2001:db8::1", "testclient"])
def test_without_keys_another_machine_is_refused(workspace: Workspace, peer: str) -> None:
    with _client(workspace, ServiceSettings()) as client:
        client.connect_from(peer)
        assert refused(ask(client, {}), 403, "loopback-only")


def test_with_a_key_the_caller_is_known(client: Client, workspace: Workspace) -> None:
    headers = key(workspace, Scope.READ, name="dashboard")
    assert ask(client, headers).json()["name"] == "dashboard"


def test_from_the_first_key_on_every_call_needs_one(client: Client, workspace: Workspace) -> None:
    key(workspace, Scope.READ)
    for endpoint in GUARDED_CALLS:
        answer = ask(client, {}, endpoint.path, endpoint.method)
        assert refused(answer, 401, "key-missing")
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("scope", list(Scope))
def test_a_key_makes_the_calls_of_its_scope_alone(client: Client, workspace: Workspace, scope: Scope) -> None:
    headers = key(workspace, scope)
    for endpoint in GUARDED_CALLS:
        if endpoint.path == "/v1/stream" and scope is not Scope.INGEST:
            continue  # it would never end
        answer = ask(client, headers, endpoint.path, endpoint.method)
        assert endpoint.scope is not None
        is_refused = answer.status_code in (401, 403)
        granted = {Scope.OPERATE: (Scope.OPERATE, Scope.READ), Scope.ADMIN: tuple(Scope)}.get(scope, (scope,))
        assert is_refused == (endpoint.scope not in granted), f"{endpoint.name}: {answer.text}"


def test_a_key_of_another_workspace_is_refused(client: Client, workspace: Workspace, tmp_path: Path) -> None:
    key(workspace, Scope.ADMIN)
    theirs = key(Workspace(tmp_path / "other"), Scope.ADMIN)
    assert "not one of this workspace" in refused(ask(client, theirs), 401, "key-refused")


def test_a_revoked_key_is_refused_with_the_next_request(client: Client, workspace: Workspace) -> None:
    headers = key(workspace, Scope.READ)
    assert ask(client, headers).status_code == 200
    KeyFile(workspace.keys).revoke("k", wall_now_us())
    assert "revoked" in refused(ask(client, headers), 401, "key-refused")


@pytest.mark.parametrize("value", ["", "Bearer", "Basic abc", "bearer \xff\xfe", "Bearer " + "x" * 5000])
def test_nonsense_for_a_key_is_refused(client: Client, workspace: Workspace, value: str) -> None:
    key(workspace, Scope.READ)
    answer = client.request("GET", "/v1/whoami", headers={b"authorization": value.encode("latin-1")})
    assert answer.status_code == 401 and "x" * 50 not in answer.text


def test_two_keys_in_one_request_are_refused(client: Client, workspace: Workspace) -> None:
    one, two = key(workspace, Scope.READ), key(workspace, Scope.ADMIN, name="other")
    both = [*one.items(), *two.items()]
    assert refused(client.request("GET", "/v1/whoami", headers=both), 401, "key-missing")


def test_unreadable_keys_let_nobody_in_and_say_so(client: Client, workspace: Workspace) -> None:
    headers = key(workspace, Scope.READ)
    workspace.keys.write_text("{")
    assert refused(ask(client, headers), 503, "keys-unreadable")
    assert refused(ask(client, {}), 503, "keys-unreadable")


def test_events_that_tell_their_own_reception_need_the_scope_admin(workspace: Workspace) -> None:
    with _client(workspace, SETTINGS) as client:
        ingest, admin = key(workspace, Scope.INGEST), key(workspace, Scope.ADMIN, name="replay")
        assert refused(client.post("/v1/events", json=wire_ping(), headers=ingest), 403, "scope-missing")
        assert client.post("/v1/events", json=wire_ping(), headers=admin).status_code == 202


def test_the_document_says_which_scope_a_call_needs(client: Client, workspace: Workspace) -> None:
    key(workspace, Scope.READ)
    document = ask(client, {}, "/openapi.json").json()
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    for endpoint in GUARDED_CALLS:
        operation = document["paths"][endpoint.described_path][endpoint.method.lower()]
        assert endpoint.scope is not None
        assert operation["security"] == [{"key": [endpoint.scope.value]}]
        assert {"401", "403"} <= set(operation["responses"])


def test_a_call_of_every_path_by_every_method_is_an_answer_of_ours(
    client: Client, workspace: Workspace
) -> None:
    headers = key(workspace, Scope.ADMIN)
    for path in {endpoint.path for endpoint in ENDPOINTS} - {"/metrics", "/v1/stream"}:
        for method in METHODS:
            answer = ask(client, headers, path, method)
            assert answer.status_code < 500
            is_empty = answer.status_code == 204 and not answer.content
            assert is_empty or answer.headers["content-type"].startswith("application/")
            if answer.status_code == 405:
                assert method not in answer.headers["allow"]


def test_without_keys_a_service_listens_on_its_own_machine_alone(workspace: Workspace) -> None:
    refuse_unlocked(workspace, "127.0.0.1")
    for host in ("0.0.0.0", "::", "192.0.2.7", "punctual.example.com"):
        with pytest.raises(WorkspaceError, match="no keys"):
            refuse_unlocked(workspace, host)
    key(workspace, Scope.READ)
    refuse_unlocked(workspace, "0.0.0.0")


def test_what_is_loopback() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.8.8.8", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "", "localhost.evil.test")))


def limited(workspace: Workspace, **limits: float) -> Any:
    return _client(workspace, ServiceSettings(limits=Limits(**limits)))  # type: ignore[arg-type]


def test_who_calls_too_often_is_told_when_to_go_on(workspace: Workspace) -> None:
    with limited(workspace, requests_per_s=0.5) as client:
        eager, other = key(workspace, Scope.READ), key(workspace, Scope.READ, name="other")
        assert ask(client, eager).status_code == 200
        answer = ask(client, eager)
        assert refused(answer, 429, "too-many-requests").startswith("k: more than 0.5 requests")
        assert 1 <= int(answer.headers["retry-after"]) <= 2
        assert ask(client, other).status_code == 200


def test_a_key_may_have_a_rate_of_its_own(workspace: Workspace) -> None:
    with limited(workspace, requests_per_s=0.1) as client:
        _, text = KeyFile(workspace.keys).create(
            "fast", frozenset({Scope.READ}), wall_now_us(), requests_per_s=1000.0
        )
        headers = {"authorization": f"Bearer {text}"}
        assert [ask(client, headers).status_code for _ in range(5)] == [200] * 5


def test_guessing_keys_is_slowed_down_and_disturbs_nobody(workspace: Workspace, tmp_path: Path) -> None:
    with limited(workspace, refused_keys_per_s=1.0) as client:
        good, wrong = key(workspace, Scope.READ), key(Workspace(tmp_path / "other"), Scope.READ)
        assert [ask(client, wrong).status_code for _ in range(4)] == [401, 401, 429, 429]
        assert ask(client, good).status_code == 200


def test_calls_of_this_machine_without_keys_are_not_counted(workspace: Workspace) -> None:
    with limited(workspace, requests_per_s=0.1) as client:
        assert [ask(client, {}).status_code for _ in range(5)] == [200] * 5


def test_a_packed_body_is_refused(client: Client) -> None:
    packed = {"content-encoding": "gzip"}
    assert refused(client.request("POST", "/v1/events", content=b"x", headers=packed), 415, "packed-body")


def test_a_body_that_says_it_is_too_large_is_refused_unread(client: Client) -> None:
    large = {"content-length": str(10**12)}
    answer = client.request("POST", "/v1/events", content=b"", headers=large)
    assert refused(answer, 413, "body-too-large")


def test_calls_that_need_no_key_are_counted_by_address(workspace: Workspace) -> None:
    with limited(workspace, open_requests_per_s=1.0) as client:
        answers = [ask(client, {}, "/v1/track/nonsense") for _ in range(3)]
        assert [answer.status_code == 429 for answer in answers] == [False, False, True]
        client.connect_from("192.0.2.7")
        assert ask(client, {}, "/v1/track/nonsense").status_code != 429
