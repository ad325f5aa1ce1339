"""API keys: who may call, and what for. Only hashes are kept; a key is shown once, when it is made.

A key is 256 random bits behind a readable prefix, so that one SHA-256 is all that its hash needs: nothing about
it can be guessed, and it is checked in microseconds. Keys belong to one workspace, since they lie in it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

PREFIX = "punctual"
_KEY = re.compile(rf"{PREFIX}_([0-9a-f]{{8}})_([0-9a-f]{{64}})", re.ASCII)


class Scope(StrEnum):
    """What a key may do."""

    READ = "read"
    """Forecasts, alerts, routes, the stream and figures."""
    INGEST = "ingest"
    """Append events."""
    OPERATE = "operate"
    """Act on incidents and webhooks; reads as well."""
    ADMIN = "admin"
    """Everything, and events that say themselves when they were received."""


EVERYTHING = frozenset(Scope)
#: Scopes that come with a scope.
IMPLIED = {
    Scope.READ: frozenset({Scope.READ}),
    Scope.INGEST: frozenset({Scope.INGEST}),
    Scope.OPERATE: frozenset({Scope.OPERATE, Scope.READ}),
    Scope.ADMIN: EVERYTHING,
}


class Refusal(StrEnum):
    """Why a key opens nothing."""

    UNKNOWN = "the key is not one of this workspace"
    REVOKED = "the key was revoked"
    EXPIRED = "the key has expired"
    ROTATED = "the key was rotated, and the time to change over has passed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who is calling. ``key_id`` and ``name`` tell keys apart in logs and records; neither opens anything."""

    key_id: str
    name: str
    scopes: frozenset[Scope]
    slot: int = 0
    requests_per_s: float | None = None

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes


#: Whoever calls from this machine while the workspace has no keys.
LOCAL = Caller(key_id="local", name="local", scopes=EVERYTHING)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyHash:
    """The hash of a secret, and until when it opens; None for as long as its key."""

    sha256: str
    until_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key as it is kept. ``slot`` is its place among all keys ever made, where its rate is counted."""

    key_id: str
    name: str
    scopes: frozenset[Scope]
    hashes: tuple[KeyHash, ...]
    slot: int
    created_us: int
    expires_us: int | None = None
    revoked_us: int | None = None
    requests_per_s: float | None = None

    def __post_init__(self) -> None:
        if not self.name.strip() or len(self.name) > 100 or not self.name.isprintable():
            raise ValueError("the name of a key has 1 to 100 printable characters")
        if not self.scopes:
            raise ValueError(f"a key has one scope at least; give some of {', '.join(Scope)}")
        if self.requests_per_s is not None and not self.requests_per_s > 0:
            raise ValueError("requests_per_s of a key is over 0, or left out for the workspace's own")

    def is_active(self, now_us: int) -> bool:
        is_open = self.expires_us is None or now_us < self.expires_us
        return self.revoked_us is None and is_open

    @property
    def caller(self) -> Caller:
        granted = frozenset[Scope]().union(*(IMPLIED[scope] for scope in self.scopes))
        return Caller(
            key_id=self.key_id,
            name=self.name,
            scopes=granted,
            slot=self.slot,
            requests_per_s=self.requests_per_s,
        )


def new_key(
    name: str,
    scopes: Iterable[Scope],
    slot: int,
    now_us: int,
    *,
    expires_us: int | None = None,
    requests_per_s: float | None = None,
) -> tuple[ApiKey, str]:
    """A key to keep, and its text, which is shown once."""
    key_id = secrets.token_hex(4)
    text = _text_of(key_id)
    key = ApiKey(
        key_id=key_id,
        name=name,
        scopes=frozenset(scopes),
        hashes=(KeyHash(sha256=_hash(text)),),
        slot=slot,
        created_us=now_us,
        expires_us=expires_us,
        requests_per_s=requests_per_s,
    )
    return key, text


def rotated(key: ApiKey, now_us: int, grace_us: int) -> tuple[ApiKey, str]:
    """The same key with another secret; the last one opens for ``grace_us`` longer, older ones no more."""
    text = _text_of(key.key_id)
    last = replace(key.hashes[0], until_us=now_us + grace_us)
    return replace(key, hashes=(KeyHash(sha256=_hash(text)), last)), text


def key_id_of(text: str) -> str | None:
    """The id in a key's text; None where it is no key at all."""
    found = _KEY.fullmatch(text)
    return found[1] if found else None


def check(key: ApiKey | None, text: str, now_us: int) -> Caller | Refusal:
    """Whether a key opens; somebody without its secret learns nothing of it."""
    digest = _hash(text)
    if key is None:
        return Refusal.UNKNOWN
    for known in key.hashes:
        if hmac.compare_digest(known.sha256, digest):
            return _opened(key, known, now_us)
    return Refusal.UNKNOWN


def _opened(key: ApiKey, known: KeyHash, now_us: int) -> Caller | Refusal:
    if key.revoked_us is not None:
        return Refusal.REVOKED
    if key.expires_us is not None and now_us >= key.expires_us:
        return Refusal.EXPIRED
    if known.until_us is not None and now_us >= known.until_us:
        return Refusal.ROTATED
    return key.caller


def _text_of(key_id: str) -> str:
    return f"{PREFIX}_{key_id}_{secrets.token_hex(32)}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
