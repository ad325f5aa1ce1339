"""``keys.json`` of a workspace: written whole by the command, and followed by every API worker."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import orjson
import structlog

from data_contracts.errors import WorkspaceError
from serving.http.keys import ApiKey, Caller, KeyHash, Refusal, Scope, check, key_id_of, new_key, rotated

log = structlog.get_logger(__name__)

#: Readable and writable by their owner alone.
PRIVATE = 0o600


class KeyFile:
    """Makes, rotates and revokes keys; several commands at once take turns."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def everything(self) -> list[ApiKey]:
        """Every key ever made, in the order of their slots."""
        return read_keys(self._path)

    def create(
        self,
        name: str,
        scopes: frozenset[Scope],
        now_us: int,
        *,
        expires_us: int | None = None,
        requests_per_s: float | None = None,
    ) -> tuple[ApiKey, str]:
        """A new key and its text; the text is kept nowhere."""
        with self._changing() as keys:
            if any(key.name == name and key.is_active(now_us) for key in keys):
                raise self._fault(f"there is an active key {name!r}", "take another name, or rotate that key")
            try:
                key, text = new_key(
                    name, scopes, len(keys) + 1, now_us, expires_us=expires_us, requests_per_s=requests_per_s
                )
            except ValueError as error:
                raise self._fault(str(error), "nothing was made") from None
            keys.append(key)
        return key, text

    def rotate(self, which: str, now_us: int, grace_us: int) -> tuple[ApiKey, str]:
        """Another secret for a key, named by its id or name."""
        with self._changing() as keys:
            place = self._place(keys, which, now_us)
            keys[place], text = rotated(keys[place], now_us, grace_us)
            key = keys[place]
        return key, text

    def revoke(self, which: str, now_us: int) -> ApiKey:
        """End a key at once; workers see it with their next request."""
        with self._changing() as keys:
            place = self._place(keys, which, now_us)
            keys[place] = key = replace(keys[place], revoked_us=now_us)
        return key

    def _place(self, keys: list[ApiKey], which: str, now_us: int) -> int:
        for place, key in enumerate(keys):
            if key.is_active(now_us) and which in (key.key_id, key.name):
                return place
        raise self._fault(f"there is no active key {which!r}", "see `punctual keys list`")

    @contextmanager
    def _changing(self) -> Iterator[list[ApiKey]]:
        """The keys, to be changed in place; written when the block ends without an error."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            keys = self.everything()
            yield keys
            _write(self._path, keys)

    def _fault(self, what: str, next_step: str) -> WorkspaceError:
        return WorkspaceError(what, where=str(self._path), next_step=next_step)


class KeyRing:
    """The keys of a workspace as a worker knows them; a changed file counts from the next request on."""

    def __init__(self, path: Path, now_us: Callable[[], int]) -> None:
        self._path, self._now_us = path, now_us
        self._seen: tuple[int, int, int] | None = None
        self._keys: dict[str, ApiKey] = {}

    @property
    def is_empty(self) -> bool:
        """Whether no key was ever made."""
        return not self._current()

    def caller(self, text: str) -> Caller | Refusal:
        """Who holds this key."""
        key_id = key_id_of(text)
        return Refusal.UNKNOWN if key_id is None else check(self._current().get(key_id), text, self._now_us())

    def caller_of_id(self, key_id: str) -> Caller | Refusal:
        """Who holds the key of this id, as a session says that was begun with it."""
        key, now_us = self._current().get(key_id), self._now_us()
        if key is None:
            return Refusal.UNKNOWN
        if key.is_active(now_us):
            return key.caller
        return Refusal.EXPIRED if key.revoked_us is None else Refusal.REVOKED

    def is_still_good(self, caller: Caller) -> bool:
        """Whether a caller who was let in would be let in now; for answers that take long, such as a stream."""
        key = self._current().get(caller.key_id)
        return self.is_empty if key is None else key.is_active(self._now_us())

    def _current(self) -> dict[str, ApiKey]:
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            self._seen, self._keys = None, {}
            return self._keys
        if (seen := (stat.st_mtime_ns, stat.st_ino, stat.st_size)) != self._seen:
            self._keys = {key.key_id: key for key in read_keys(self._path)}
            self._seen = seen
            log.info("keys_read", keys=len(self._keys))
        return self._keys


def read_keys(path: Path) -> list[ApiKey]:
    """The keys of a file, none if there is no file.

    Raises
    ------
    WorkspaceError
        when the file is not what this code writes: nobody is let in then
    """
    try:
        return [_key_from(row) for row in orjson.loads(path.read_bytes())["keys"]]
    except FileNotFoundError:
        return []
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise WorkspaceError(
            f"not a file of keys ({type(error).__name__})",
            where=str(path),
            next_step="bring it back from a backup, or remove it and make new keys",
        ) from None


def _key_from(row: dict[str, Any]) -> ApiKey:
    hashes = tuple(KeyHash(**each) for each in row["hashes"])
    scopes = frozenset(Scope(scope) for scope in row["scopes"])
    return ApiKey(**{**row, "hashes": hashes, "scopes": scopes})


def _write(path: Path, keys: list[ApiKey]) -> None:
    rows = [asdict(key) | {"scopes": sorted(key.scopes)} for key in keys]
    staged = path.with_suffix(".tmp")
    with os.fdopen(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE), "wb") as file:
        file.write(orjson.dumps({"keys": rows}, option=orjson.OPT_INDENT_2))
        file.flush()
        os.fsync(file.fileno())
    staged.replace(path)
