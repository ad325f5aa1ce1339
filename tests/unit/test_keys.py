"""A key opens its own workspace, for what it was made for, until it is rotated, revoked or expired."""

from __future__ import annotations

import multiprocessing
import stat
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_contracts.errors import WorkspaceError
from serving.http.key_file import KeyFile, KeyRing
from serving.http.keys import EVERYTHING, Caller, Refusal, Scope, check, key_id_of, new_key

NOW_US = 1_800_000_000_000_000
HOUR_US = 3_600_000_000
READ = frozenset({Scope.READ})


class Watch:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now_us = NOW_US

    def __call__(self) -> int:
        return self.now_us


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def who(found: Caller | Refusal) -> str:
    assert isinstance(found, Caller), found
    return found.name


def test_a_key_opens_what_it_was_made_for(path: Path) -> None:
    key, text = KeyFile(path).create("dashboard", READ, NOW_US)
    caller = KeyRing(path, lambda: NOW_US).caller(text)
    assert isinstance(caller, Caller)
    assert (caller.key_id, caller.name, caller.scopes) == (key.key_id, "dashboard", READ)


@pytest.mark.parametrize(
    ("scope", "also"),
    [
        (Scope.READ, {Scope.READ}),
        (Scope.INGEST, {Scope.INGEST}),
        (Scope.OPERATE, {Scope.OPERATE, Scope.READ}),
        (Scope.ADMIN, EVERYTHING),
    ],
)
def test_scopes_bring_others_along(path: Path, scope: Scope, also: set[Scope]) -> None:
    _, text = KeyFile(path).create("k", frozenset({scope}), NOW_US)
    caller = KeyRing(path, lambda: NOW_US).caller(text)
    assert isinstance(caller, Caller) and caller.scopes == also


def test_the_file_holds_no_secret_and_is_read_by_its_owner_alone(path: Path) -> None:
    _, text = KeyFile(path).create("k", READ, NOW_US)
    secret = text.rpartition("_")[2]
    assert secret not in path.read_text() and len(secret) == 64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_key_of_another_workspace_opens_nothing(tmp_path: Path) -> None:
    _, theirs = KeyFile(tmp_path / "a" / "keys.json").create("k", READ, NOW_US)
    KeyFile(tmp_path / "b" / "keys.json").create("k", READ, NOW_US)
    assert KeyRing(tmp_path / "b" / "keys.json", lambda: NOW_US).caller(theirs) is Refusal.UNKNOWN


def test_an_open_ring_sees_a_revocation_at_once(path: Path) -> None:
    file, ring = KeyFile(path), KeyRing(path, lambda: NOW_US)
    _, text = file.create("k", READ, NOW_US)
    caller = ring.caller(text)
    assert isinstance(caller, Caller) and ring.is_still_good(caller)
    file.revoke("k", NOW_US)
    assert ring.caller(text) is Refusal.REVOKED
    assert not ring.is_still_good(caller)


def test_after_the_last_key_was_revoked_a_key_is_still_needed(path: Path) -> None:
    file, ring = KeyFile(path), KeyRing(path, lambda: NOW_US)
    assert ring.is_empty
    file.create("k", READ, NOW_US)
    file.revoke("k", NOW_US)
    assert not ring.is_empty


def test_a_rotated_key_opens_with_both_secrets_until_the_grace_has_passed(path: Path) -> None:
    file, watch = KeyFile(path), Watch()
    ring = KeyRing(path, watch)
    _, first = file.create("k", READ, NOW_US)
    _, second = file.rotate("k", NOW_US, HOUR_US)
    assert who(ring.caller(first)) == who(ring.caller(second)) == "k"
    watch.now_us += HOUR_US
    assert ring.caller(first) is Refusal.ROTATED
    assert who(ring.caller(second)) == "k"
    _, third = file.rotate("k", watch.now_us, HOUR_US)
    assert ring.caller(first) is Refusal.UNKNOWN
    assert who(ring.caller(second)) == who(ring.caller(third)) == "k"


def test_an_expired_key_opens_nothing(path: Path) -> None:
    watch = Watch()
    _, text = KeyFile(path).create("k", READ, NOW_US, expires_us=NOW_US + HOUR_US)
    ring = KeyRing(path, watch)
    assert who(ring.caller(text)) == "k"
    watch.now_us += HOUR_US
    assert ring.caller(text) is Refusal.EXPIRED


def test_a_name_is_given_once_while_its_key_is_active(path: Path) -> None:
    file = KeyFile(path)
    file.create("k", READ, NOW_US)
    with pytest.raises(WorkspaceError, match="active key 'k'"):
        file.create("k", READ, NOW_US)
    file.revoke("k", NOW_US)
    file.create("k", READ, NOW_US)
    assert [key.slot for key in file.everything()] == [1, 2]


@pytest.mark.parametrize("which", ["nobody", ""])
def test_a_key_that_is_not_there_cannot_be_revoked(path: Path, which: str) -> None:
    KeyFile(path).create("k", READ, NOW_US)
    with pytest.raises(WorkspaceError, match="punctual keys list"):
        KeyFile(path).revoke(which, NOW_US)


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 101])
def test_a_name_that_a_log_line_cannot_show_is_refused(path: Path, name: str) -> None:
    with pytest.raises(WorkspaceError, match="printable"):
        KeyFile(path).create(name, READ, NOW_US)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"keys": [{}]}', '{"keys": [{"scopes": ["all"]}]}', "null"])
def test_a_broken_file_lets_nobody_in(path: Path, text: str) -> None:
    _, key = KeyFile(path).create("k", READ, NOW_US)
    ring = KeyRing(path, lambda: NOW_US)
    ring.caller(key)
    path.write_text(text)
    for _ in range(2):
        with pytest.raises(WorkspaceError, match="not a file of keys"):
            ring.caller(key)


@given(st.text() | st.from_regex(r"punctual_[0-9a-f]{8}_[0-9a-f]{64}", fullmatch=True))
def test_nothing_but_the_key_opens(text: str) -> None:
    key, right = new_key("k", READ, 1, NOW_US)
    assert check(key, text, NOW_US) is Refusal.UNKNOWN
    assert isinstance(check(key, right, NOW_US), Caller)


@given(st.integers(9, 82), st.sampled_from("0123456789abcdef"))
def test_a_key_with_one_letter_changed_opens_nothing(place: int, letter: str) -> None:
    key, right = new_key("k", READ, 1, NOW_US)
    wrong = right[:place] + letter + right[place + 1 :]
    if wrong != right:
        found = key if key_id_of(wrong) == key.key_id else None
        assert check(found, wrong, NOW_US) is Refusal.UNKNOWN


def _make(path: Path, name: str) -> None:
    KeyFile(path).create(name, READ, NOW_US)


def test_commands_at_once_lose_no_key(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    makers = [context.Process(target=_make, args=(path, f"k{n}")) for n in range(3)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join(60)
    keys = orjson.loads(path.read_bytes())["keys"]
    assert sorted(key["name"] for key in keys) == ["k0", "k1", "k2"]
    assert sorted(key["slot"] for key in keys) == [1, 2, 3]
