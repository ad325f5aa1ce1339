"""What a worker has served: kept before the answer leaves, in files of its own, until it is old.

A forecast scored on request exists nowhere else; one of the engine may be replaced a second later. Each worker writes
to a file that nobody else writes, so that it waits for nobody; what is in a file outlives the worker, though not a
machine that loses its power within seconds. A forecast that cannot be kept is served all the same, and counted.
"""

from __future__ import annotations

import re
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import structlog

from features.vectors import FEATURE_NAMES, FEEDS
from serving.decisions.promises import DeliveryWindow
from serving.engine.kept import KeptForecast, MadeWith, digest_of, made_with_of
from serving.engine.packing import EngineRow, pack, unpack
from serving.engine.scoring import Scores
from serving.storage.database import connect, connect_to_read, statements

log = structlog.get_logger(__name__)

#: Numbers of a row: vector (float32), prior and ages of feeds (float64), digest of the document.
ROW = np.dtype(
    [
        ("vector", "<f4", (len(FEATURE_NAMES),)),
        ("base_s", "<f8"),
        ("ages_s", "<f8", (len(FEEDS),)),
        ("digest", "V8"),
    ]
)
REMEMBERED = 10_000
#: What finding a forecast by its id costs beside the forecast.
ID_BYTES = 48
_CALL_ID = re.compile("q-([0-9a-f]{8})([0-9a-f]{8})-([0-9a-f]{1,15})-([0-9a-f]{1,15})")
FILE = "*.db"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedSettings:
    """How long, and how much, of what was served is kept for `punctual explain`."""

    keep_s: float = 86_400.0
    most_bytes: int = 2 * 1024**3
    file_s: float = 3_600.0
    file_bytes: int = 64 * 1024**2


class ServedLog:
    """The file that a worker writes now; any of its threads may."""

    def __init__(
        self, folder: Path, settings: ServedSettings, now_s: Callable[[], float] = time.time
    ) -> None:
        self._folder, self._settings, self._now_s = folder, settings, now_s
        self._sql = statements("served")
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._token, self._calls, self._bytes, self._begun_s = "", 0, 0, 0.0
        self._remembered: dict[str, None] = {}
        self.unkept = 0

    def next_ids(self, count: int) -> list[str]:
        """Ids of the forecasts of one call, which ``keep_call`` is then given."""
        with self._lock:
            self._turn_over()
            self._calls += 1
            return [f"q-{self._token}-{self._calls:x}-{row:x}" for row in range(count)]

    def keep_call(
        self, ids: Sequence[str], scores: Scores, texts: Sequence[dict[str, Any]], with_reasons: bool
    ) -> None:
        """Keep what one call scored."""
        self._try(lambda: self._keep_call(ids, scores, texts, with_reasons))

    def keep(self, rows: Sequence[EngineRow]) -> None:
        """Keep forecasts of the engine that are about to be served."""
        new = [row for row in rows if row[0] not in self._remembered]
        if new:
            self._try(lambda: self._keep(new))

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _keep_call(
        self, ids: Sequence[str], scores: Scores, texts: Sequence[dict[str, Any]], with_reasons: bool
    ) -> None:
        made_with = made_with_of(scores)
        head = orjson.dumps(
            {
                "as_of_us": scores.as_of_us,
                "coverage": scores.coverage,
                "model_version": texts[0]["model"]["version"],
                "calibration": scores.calibration,
                "code_version": made_with[0].code_version,
                "with_reasons": with_reasons,
                "stop_ids": scores.stop_ids,
                "route_ids": scores.vectors.route_ids,
                "zone_ids": [each.zone_id for each in made_with],
                "promises": [p and (p.first.start_us, p.first.end_us) for p in scores.promises],
            }
        )
        numbers = np.empty(len(scores), ROW)
        numbers["vector"], numbers["base_s"] = scores.vectors.matrix, scores.vectors.base_s
        numbers["ages_s"] = [each.ages_s for each in made_with]
        numbers["digest"] = [digest_of(text) for text in texts]
        _, token, number, _ = ids[0].split("-")
        with self._lock:
            if token != self._token:
                raise sqlite3.OperationalError("its file was turned over in between")
            with self._writing(len(head) + numbers.nbytes) as connection:
                connection.execute(self._sql["save_call"], (int(number, 16), head, numbers.tobytes()))

    def _keep(self, rows: Sequence[EngineRow]) -> None:
        with self._lock:
            self._turn_over()
            packed = pack([row[1:] for row in rows])
            with self._writing(len(packed) + ID_BYTES * len(rows)) as connection:
                block = connection.execute(self._sql["save_block"], (packed,)).lastrowid
                places = ((row[0], block, place) for place, row in enumerate(rows))
                connection.executemany(self._sql["save_forecast"], places)
            self._remembered |= dict.fromkeys(row[0] for row in rows)
            if len(self._remembered) > REMEMBERED:
                self._remembered = dict.fromkeys(list(self._remembered)[REMEMBERED // 2 :])

    @contextmanager
    def _writing(self, size: int) -> Iterator[sqlite3.Connection]:
        """One transaction into the file of now, ``size`` bytes larger."""
        if self._connection is None:
            self._connection = connect(
                self._folder / f"{self._token}.db", synchronous="OFF", schema=self._sql["schema"]
            )
        with self._connection:
            self._connection.execute("BEGIN")
            yield self._connection
        self._bytes += size

    def _turn_over(self) -> None:
        """Begin a new file where the one so far is full or old; drop files that are too old."""
        settings, now_s = self._settings, self._now_s()
        is_young = now_s - self._begun_s < settings.file_s and self._bytes < settings.file_bytes
        if self._token and is_young:
            return
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._token = f"{int(now_s):08x}{secrets.token_hex(4)}"
        self._calls, self._bytes, self._begun_s = 0, 0, now_s
        self._remembered = {}
        forget_old(self._folder, settings, now_s)

    def _try(self, work: Callable[[], None]) -> None:
        try:
            work()
        except (sqlite3.Error, OSError) as error:
            self.unkept += 1
            if self.unkept & (self.unkept - 1) == 0:
                log.error("forecast_not_kept", unkept=self.unkept, error=str(error))


def forget_old(folder: Path, settings: ServedSettings, now_s: float) -> None:
    """Remove files past their time, and the oldest of what is too much; never one that may still be written."""
    found = sorted(((path.stat().st_mtime, path) for path in folder.glob(FILE)), reverse=True)
    kept_bytes = 0
    for changed_s, path in found:
        kept_bytes += path.stat().st_size
        is_written = now_s - changed_s < 2 * settings.file_s
        is_over = now_s - changed_s > settings.keep_s or kept_bytes > settings.most_bytes
        if is_over and not is_written:
            for suffix in ("", "-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)


def find(folder: Path, prediction_id: str) -> KeptForecast | None:
    """A served forecast by its id."""
    if prediction_id.startswith("q-"):
        return _of_call(folder, prediction_id)
    for path in folder.glob(FILE):
        for packed, place in _rows(path, "forecast", (prediction_id,)):
            return KeptForecast.of_document(*unpack(packed)[place])
    return None


def begun_s(prediction_id: str) -> int | None:
    """When the file was begun that a forecast scored on request lies in, by its id; None for what is no such id."""
    found = _CALL_ID.fullmatch(prediction_id)
    return int(found[1], 16) if found else None


def oldest_s(folder: Path) -> int | None:
    """When the oldest file that is kept was begun."""
    return min((int(path.stem[:8], 16) for path in folder.glob(FILE)), default=None)


def _of_call(folder: Path, prediction_id: str) -> KeptForecast | None:
    parts = _CALL_ID.fullmatch(prediction_id)
    if parts is None:
        return None
    path, call, row = folder / f"{parts[1]}{parts[2]}.db", int(parts[3], 16), int(parts[4], 16)
    found = list(_rows(path, "call", (call,))) if path.exists() else []
    if not found:
        return None
    head, numbers = orjson.loads(found[0][0]), np.frombuffer(found[0][1], ROW)
    return None if row >= len(numbers) else _kept(prediction_id, head, numbers[row], row)


def _kept(prediction_id: str, head: dict[str, Any], numbers: Any, row: int) -> KeptForecast:
    promise, ages_s = head["promises"][row], numbers["ages_s"].tolist()
    return KeptForecast(
        prediction_id=prediction_id,
        stop_id=head["stop_ids"][row],
        route_id=head["route_ids"][row],
        as_of_us=head["as_of_us"],
        coverage=head["coverage"],
        promise=DeliveryWindow(start_us=promise[0], end_us=promise[1]) if promise else None,
        with_reasons=head["with_reasons"],
        model_version=head["model_version"],
        vector=numbers["vector"].tobytes(),
        base_s=float(numbers["base_s"]),
        made_with=MadeWith(
            zone_id=head["zone_ids"][row],
            ages_s=ages_s,
            calibration=head["calibration"],
            code_version=head["code_version"],
        ),
        digest=numbers["digest"].tobytes(),
    )


def _rows(path: Path, name: str, arguments: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    connection = connect_to_read(path)
    try:
        yield from connection.execute(statements("served")[name], arguments).fetchall()
    finally:
        connection.close()
