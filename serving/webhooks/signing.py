"""Secrets and signatures by the Standard Webhooks specification.

A secret is not stored: it is derived from the workspace's key, the webhook's id and a generation, so that a
copy of the database signs nothing. One that a receiver brought is stored under a mask that is derived the same way.
"""

from __future__ import annotations

import hmac
import os
import secrets
from base64 import b64decode, b64encode
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256, sha512
from pathlib import Path

from standardwebhooks import Webhook as Signer

from data_contracts.errors import SubscriptionError, WorkspaceError
from serving.times import US

KEY_BYTES = 32
#: Of a secret that a receiver brings, as the specification has it.
FEWEST_BYTES, MOST_BYTES = 24, 64
PREFIX = "whsec_"
KEY_VARIABLE = "PUNCTUAL_WEBHOOK_KEY"


@dataclass(frozen=True, slots=True)
class Generation:
    """One secret of a webhook; ``masked`` is None where it is derived, else what a receiver brought, under its mask."""

    number: int
    masked: bytes | None = None


class Secrets:
    """Every webhook's secrets, from one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def secret(self, webhook_id: str, generation: Generation) -> str:
        """What the receiver verifies with: ``whsec_`` and 32 bytes in base64, or what it brought."""
        if generation.masked is not None:
            raw = self.masked(webhook_id, generation.number, generation.masked)
        else:
            raw = hmac.digest(self._key, f"webhook|{webhook_id}|{generation.number}".encode(), sha256)
        return PREFIX + b64encode(raw).decode()

    def masked(self, webhook_id: str, number: int, raw: bytes) -> bytes:
        """Bytes under the mask of one generation, or without it; each mask is used for one secret alone."""
        mask = hmac.digest(self._key, f"brought|{webhook_id}|{number}".encode(), sha512)
        return bytes(one ^ other for one, other in zip(raw, mask, strict=False))

    def headers(
        self, webhook_id: str, generations: Sequence[Generation], event_id: str, payload: bytes, at_us: int
    ) -> dict[str, str]:
        """Headers of one attempt, with a signature for each secret that is still good."""
        at, text = datetime.fromtimestamp(at_us // US, tz=UTC), payload.decode()
        signatures = [
            Signer(self.secret(webhook_id, generation)).sign(event_id, at, text) for generation in generations
        ]
        return {
            "webhook-id": event_id,
            "webhook-timestamp": str(at_us // US),
            "webhook-signature": " ".join(signatures),
        }


def brought_bytes(secret: str) -> bytes:
    """The bytes of a secret that a receiver brings.

    Raises
    ------
    SubscriptionError
        unless it is ``whsec_`` and 24 to 64 bytes in base64
    """
    try:
        raw = b64decode(secret.removeprefix(PREFIX), validate=True) if secret.startswith(PREFIX) else b""
    except ValueError:
        raw = b""
    if not FEWEST_BYTES <= len(raw) <= MOST_BYTES:
        raise SubscriptionError(
            "secret: this is none of Standard Webhooks",
            next_step=f"give {PREFIX} and {FEWEST_BYTES} to {MOST_BYTES} bytes in base64, or none",
        )
    return raw


def open_secrets(path: Path) -> Secrets:
    """The workspace's key: of the environment, or of a file that is made once and only its owner reads."""
    if given := os.environ.get(KEY_VARIABLE):
        return Secrets(_key(given, KEY_VARIABLE))
    with suppress(FileExistsError):
        _create(path)
    return Secrets(_key(path.read_text(encoding="ascii"), str(path)))


def _create(path: Path) -> None:
    """Write a new key whole or not at all; whoever comes second takes the first one's."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        os.link(staged, path)
    finally:
        staged.unlink()


def _key(text: str, where: str) -> bytes:
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) < KEY_BYTES:
        raise WorkspaceError(
            "this is no webhook key",
            where=where,
            next_step=f"bring back the one that was there; it is {KEY_BYTES} bytes in hex",
        )
    return key
