"""A session opens what its key opens, as long as its key does, and no other site can use it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_contracts.workspace import Workspace
from serving.http.key_file import KeyFile
from serving.http.keys import Scope
from serving.http.sessions import COOKIE
from serving.http.signing import Purpose, Signer, Void
from serving.times import US, wall_now_us
from tests.api_client import Client, refused


def sign_in(client: Client, workspace: Workspace, scope: Scope = Scope.OPERATE) -> tuple[dict[str, str], str]:
    """The headers of a signed-in browser, and its CSRF token."""
    _, text = KeyFile(workspace.keys).create("k", frozenset({scope}), wall_now_us())
    answer = client.post("/v1/session", json={"key": text})
    assert answer.status_code == 200, answer.text
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and text not in cookie
    return {"cookie": cookie.split(";")[0]}, answer.json()["csrf_token"]


def test_a_session_reads_what_its_key_reads(client: Client, workspace: Workspace) -> None:
    headers, csrf = sign_in(client, workspace, Scope.READ)
    assert client.request("GET", "/v1/summary", headers=headers).status_code == 200
    told = client.request("GET", "/v1/session", headers=headers).json()
    assert (told["name"], told["scopes"], told["csrf_token"]) == ("k", ["read"], csrf)
    refused(
        client.request("POST", "/v1/events", headers=headers | {"x-csrf-token": csrf}), 403, "scope-missing"
    )


def test_a_change_needs_the_token_of_the_session_itself(client: Client, workspace: Workspace) -> None:
    headers, csrf = sign_in(client, workspace)
    path = "/v1/incidents/none/acknowledge"
    for token in ({}, {"x-csrf-token": csrf + "x"}, {"x-csrf-token": ""}):
        refused(client.request("POST", path, headers=headers | token, json={}), 403, "csrf-token-missing")
    refused(
        client.request("POST", path, headers=headers | {"x-csrf-token": csrf}, json={}),
        404,
        "unknown-incident",
    )


def test_a_session_ends_with_its_key(client: Client, workspace: Workspace) -> None:
    headers, _ = sign_in(client, workspace)
    KeyFile(workspace.keys).revoke("k", wall_now_us())
    refused(client.request("GET", "/v1/summary", headers=headers), 401, "key-refused")


def test_a_made_up_or_expired_session_is_no_session(client: Client, workspace: Workspace) -> None:
    sign_in(client, workspace)
    signer = Signer(workspace.signing)
    key_id = KeyFile(workspace.keys).everything()[0].key_id
    past = signer.seal(Purpose.SESSION, {"key_id": key_id}, wall_now_us() - US)
    other = signer.seal(Purpose.TRACK, {"key_id": key_id}, wall_now_us() + US * 60)
    for value in ("x", "a.b", past, other, "é", "a" * 3000):
        answer = client.request("GET", "/v1/summary", headers={"cookie": f"{COOKIE}={value}".encode()})
        refused(answer, 401, "key-missing")


def test_a_wrong_key_begins_no_session(client: Client, workspace: Workspace) -> None:
    sign_in(client, workspace)
    answer = client.post("/v1/session", json={"key": f"punctual_{'0' * 8}_{'0' * 64}"})
    refused(answer, 401, "key-refused")
    assert "set-cookie" not in answer.headers
    refused(client.post("/v1/session", json={"key": 1}), 422, "invalid-request")


def test_without_keys_this_machine_is_signed_in(client: Client) -> None:
    told = client.get("/v1/session").json()
    assert (told["name"], told["csrf_token"]) == ("local", None)


def test_signing_out_takes_the_cookie_away(client: Client, workspace: Workspace) -> None:
    headers, _ = sign_in(client, workspace)
    answer = client.request("DELETE", "/v1/session", headers=headers)
    assert answer.status_code == 204 and f'{COOKIE}=""' in answer.headers["set-cookie"]


@pytest.mark.parametrize("path", ["/ops", "/track", "/assets/js/ops.js", "/assets/css/base.css"])
def test_pages_let_nothing_in_from_elsewhere(client: Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy
    assert "unsafe" not in policy and "http" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/assets/../package.json", "/assets/%2e%2e/package.json", "/assets/js/"])
def test_only_files_of_the_pages_are_given_away(client: Client, path: str) -> None:
    assert client.get(path).status_code == 404


# --- tokens ---------------------------------------------------------------------------------------------------


@given(st.text(max_size=80), st.integers(0, 200))
def test_a_token_that_was_changed_anywhere_holds_nothing(subject: str, place: int) -> None:
    signer = _signer()
    token = signer.seal(Purpose.TRACK, {"stop_id": subject}, 10)
    assert signer.open(Purpose.TRACK, token, 9) == {"stop_id": subject, "until": 10}
    assert signer.open(Purpose.TRACK, token, 10) is Void.EXPIRED
    place %= len(token)
    changed = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
    assert signer.open(Purpose.TRACK, changed, 9) is Void.INVALID
    assert signer.open(Purpose.SESSION, token, 9) is Void.INVALID


@given(st.text(max_size=300))
def test_any_text_is_answered_and_none_is_a_token(text: str) -> None:
    assert _signer().open(Purpose.TRACK, text, 0) is Void.INVALID


def test_processes_that_make_the_secret_at_once_agree(tmp_path: Path) -> None:
    path = tmp_path / "w" / "signing.key"
    with ThreadPoolExecutor(8) as pool:
        marks = set(pool.map(lambda _: Signer(path).mark(Purpose.TRACK, "x"), range(16)))
    assert len(marks) == 1
    assert path.stat().st_mode & 0o077 == 0
    assert [each.name for each in path.parent.iterdir()] == ["signing.key"]


def _signer() -> Signer:
    signer = Signer(Path("nowhere"))
    signer.__dict__["_secret"] = bytes(32)
    return signer
