"""Tokens that this workspace signed: who holds one may do what it says, until it expires.

A token is its claims and an HMAC-SHA256 over them, with a key of its own for each purpose, so that a token made for
one thing opens no other. The secret lies in the workspace, readable by its owner alone; remove the file, and
everything that was signed with it is void.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

SECRET_BYTES = 32
#: Longer texts are no token of ours, and not worth a hash.
LONGEST = 2_000


class Purpose(StrEnum):
    SESSION = "session"
    CSRF = "csrf"
    TRACK = "track"


class Void(StrEnum):
    """Why a token says nothing."""

    INVALID = "INVALID"
    EXPIRED = "EXPIRED"


class Signer:
    """Signs and opens tokens with the secret of a workspace, which is made when it is first needed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def seal(self, purpose: Purpose, claims: Mapping[str, Any], until_us: int) -> str:
        """A token that holds ``claims`` until an instant."""
        body = _text(orjson.dumps({**claims, "until": until_us}))
        return f"{body}.{self.mark(purpose, body)}"

    def open(self, purpose: Purpose, token: str, now_us: int) -> dict[str, Any] | Void:
        """What a token holds, or why it holds nothing."""
        body, dot, mark = token.partition(".")
        if not dot or len(token) > LONGEST or not token.isascii():
            return Void.INVALID
        if not hmac.compare_digest(mark, self.mark(purpose, body)):
            return Void.INVALID
        with suppress(binascii.Error, orjson.JSONDecodeError):
            claims: dict[str, Any] = orjson.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
            return claims if now_us < claims["until"] else Void.EXPIRED
        return Void.INVALID

    def mark(self, purpose: Purpose, text: str) -> str:
        """The HMAC of a text for a purpose."""
        key = hmac.digest(self._secret, purpose.value.encode(), hashlib.sha256)
        return _text(hmac.digest(key, text.encode(), hashlib.sha256))

    @cached_property
    def _secret(self) -> bytes:
        """Read, or made by whoever comes first; another process that made it at the same time wins or loses whole."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if not self._path.exists():
            staged = self._path.with_name(f".{self._path.name}.{secrets.token_hex(8)}")
            with os.fdopen(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(secrets.token_bytes(SECRET_BYTES))
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):
                os.link(staged, self._path)
            staged.unlink()
        return self._path.read_bytes()


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
