"""Where versions are published and read: a SQLite file, or a Redis server by its URL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from features.online import OnlineReader, OnlineRows, OnlineWriter, Taken, Versions
from features.online_redis import RedisReader, RedisWriter, is_redis
from features.views import View


class Reader(Protocol):
    """Reads versions as of an instant."""

    def read(self, view: View, ids: Sequence[str | None], as_of_us: int) -> OnlineRows: ...
    def read_views(
        self, views: Sequence[View], ids: Sequence[str | None], as_of_us: int
    ) -> list[OnlineRows]: ...
    def take(self, ids: Iterable[str | None]) -> Taken: ...
    def close(self) -> None: ...


class Writer(Protocol):
    """Publishes versions that are newer than the stored ones, and forgets views."""

    def publish(self, versions: Versions) -> int: ...
    def publish_all(self, batches: Iterable[Versions]) -> int: ...
    def forget(self, view_names: Iterable[str]) -> None: ...
    def close(self) -> None: ...


def reader_at(location: str) -> Reader:
    """A reader of a file or of a Redis URL."""
    return RedisReader(location) if is_redis(location) else OnlineReader(Path(location))


def writer_at(location: str) -> Writer:
    """A writer to a file or to a Redis URL."""
    return RedisWriter(location) if is_redis(location) else OnlineWriter(Path(location))


def may_hold_something(location: str) -> bool:
    """Whether there is anything to forget."""
    return is_redis(location) or Path(location).exists()
