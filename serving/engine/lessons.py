"""What outcomes teach while the service runs: calibrators by model version, and the stakes that wait for outcomes.

A stake is what the first forecast of a stop in each horizon said. When its stop is reached, the calibrator of the
model that spoke learns from it, and what was learned is committed with everything else of the micro-batch. Outcomes
are taken up at ticks, so that a log replayed in other micro-batches teaches the same.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import orjson

from features.route_book import RouteBook
from serving.engine.scoring import Forecaster, Scores
from serving.engine.taught import UNTAUGHT, PartRow, Taught
from serving.storage.database import statements
from serving.times import US
from training.calibration import group_of
from training.online import Stake

#: Stop, horizon, instant, model version and stake, as they lie in ``ops.db``.
StakeRow = tuple[str, int, int, str, bytes]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A stake that waits for its outcome."""

    as_of_us: int
    model_version: str
    stake: Stake


@dataclass(slots=True)
class Learned:
    """What one micro-batch changed: parts of calibrations, new stakes, and stops whose stakes are settled.

    parts : model version, instant, and what was taught then
    """

    parts: list[tuple[str, int, PartRow]] = field(default_factory=list)
    stakes: dict[tuple[str, int], Waiting] = field(default_factory=dict)
    settled: dict[str, None] = field(default_factory=dict)

    def write(self, connection: sqlite3.Connection, forget_before_us: int | None) -> None:
        sql = statements("lessons")
        connection.executemany(sql["forget_stakes"], ((stop_id,) for stop_id in self.settled))
        connection.executemany(
            sql["save_stake"],
            (
                (*key, each.as_of_us, each.model_version, orjson.dumps(each.stake.to_json()))
                for key, each in self.stakes.items()
            ),
        )
        rows = ((version, at_us, *part) for version, at_us, part in self.parts)
        connection.executemany(sql["save_part"], rows)
        if forget_before_us is not None:
            connection.execute(sql["forget_parts"], (forget_before_us, forget_before_us))


class Lessons:
    """Calibrators and stakes between two ticks."""

    def __init__(self) -> None:
        self._taught: dict[str, Taught] = {}
        self._waiting: dict[str, dict[int, Waiting]] = {}

    def restore(self, parts: Iterable[tuple[str, str, int, bytes]], stakes: Iterable[StakeRow]) -> None:
        """Take up what was committed: the latest of each part of each model version, and what waits."""
        by_version = groupby(sorted(parts), key=lambda each: each[0])
        self._taught = {version: UNTAUGHT.after(row[1:] for row in rows) for version, rows in by_version}
        for stop_id, horizon, as_of_us, version, body in stakes:
            waiting = Waiting(as_of_us, version, Stake.from_json(orjson.loads(body)))
            self._waiting.setdefault(stop_id, {})[horizon] = waiting

    def taught(self, model_version: str) -> Taught:
        """What a model has been taught so far."""
        return self._taught.get(model_version, UNTAUGHT)

    def stake(self, scores: Scores, model_version: str, learned: Learned) -> None:
        """Keep the first forecast of each stop in each horizon."""
        horizons = group_of(scores.forecast.raw.median_s).tolist()
        for row, (stop_id, horizon) in enumerate(zip(scores.stop_ids, horizons, strict=True)):
            waiting = self._waiting.setdefault(stop_id, {})
            if horizon not in waiting:
                made = Waiting(scores.as_of_us, model_version, scores.forecast.stake(row))
                waiting[horizon] = learned.stakes[stop_id, horizon] = made

    def learn(
        self, route_ids: Iterable[str], book: RouteBook, model: Forecaster, at_us: int, learned: Learned
    ) -> int:
        """Learn from stops of some routes that were reached; give how many lessons there were.

        Stops of which the same instant told are one lesson; a stop that was given up teaches nothing.
        """
        outcomes = sorted(self._outcomes(route_ids, book, learned), key=lambda each: each[0])
        before, lessons = self.taught(model.version), 0
        live = before.fresh()
        for (known_us, _), together in groupby(outcomes, key=lambda each: each[0]):
            made = [
                (waiting.stake, (arrived_us - waiting.as_of_us) / US)
                for _, stop_id, arrived_us in together
                for waiting in self._settle(stop_id, learned)
                if waiting.model_version == model.version
            ]
            if made:
                stakes, after_s = zip(*made, strict=True)
                live.observe(model.calibrator, stakes, after_s, known_us)
                lessons += 1
        if lessons:
            self._taught[model.version] = taught = Taught.of(live)
            learned.parts += [(model.version, at_us, part) for part in taught.changed_since(before)]
        return lessons

    def forget(self, stop_ids: Iterable[str], learned: Learned) -> None:
        """Drop stakes of stops that nothing more will be heard of."""
        for stop_id in stop_ids:
            self._settle(stop_id, learned)

    def _outcomes(
        self, route_ids: Iterable[str], book: RouteBook, learned: Learned
    ) -> Iterator[tuple[tuple[int, str], str, int]]:
        """Stops with stakes that were reached: (when that was known, route), stop, arrival."""
        for route_id in sorted(route_ids):
            route = book.route(route_id)
            done = dict.fromkeys((*route.progress.visited, *route.progress.closed)) if route else {}
            for stop_id in done:
                if stop_id not in self._waiting:
                    continue
                arrived_us, closed = book.arrived(stop_id), book.closed(stop_id)
                if closed in ("failed", "skipped"):
                    self._settle(stop_id, learned)
                elif arrived_us is not None and route is not None:
                    yield (route.progress.known_us, route_id), stop_id, arrived_us

    def _settle(self, stop_id: str, learned: Learned) -> Sequence[Waiting]:
        """Take a stop's stakes away."""
        waiting = self._waiting.pop(stop_id, None)
        if waiting is None:
            return ()
        for horizon in waiting:
            learned.stakes.pop((stop_id, horizon), None)
        learned.settled[stop_id] = None
        return [waiting[horizon] for horizon in sorted(waiting)]
