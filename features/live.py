"""The state of every view, and how records move it.

One fold, whatever the size of its batches: a backfill is one large batch, live work many small ones. Records
are folded in log order within each view; views read each other only as they stood before a record.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from data_contracts.record import Record
from features.feed_folds import FEEDS, Columns, Feeds, record_columns
from features.history import Bucketed, RollingSums
from features.keys import Keys
from features.means import Means
from features.messages import Message, message
from features.newest import Newest
from features.observations import Observation
from features.online import OnlineRows, Versions, placed
from features.progress import ProgressLog
from features.route_book import RouteBook
from features.routes import Route
from features.views import VIEWS, View

Int = NDArray[np.int64]


@dataclass(slots=True)
class Advance:
    """What a batch of records changed.

    touched : for each record the routes that it touched
    ended : sequence number of a record -> routes that were over when it came, and are dropped
    """

    publications: list[Versions] = field(default_factory=list)
    touched: list[tuple[str, ...]] = field(default_factory=list)
    ended: dict[int, list[Route]] = field(default_factory=dict)
    state: list[tuple[str, str, bytes]] = field(default_factory=list)


@dataclass(slots=True)
class Learned:
    """What messages taught, and what they made of their routes' progress."""

    observations: list[Observation] = field(default_factory=list)
    progress: ProgressLog = field(default_factory=ProgressLog)

    def hear(self, book: RouteBook, told: Message) -> tuple[str, ...]:
        """Fold one message into the book; give the routes that it touched."""
        touched, learned = book.hear(told)
        if learned:
            self.observations += learned
        if touched:
            self.progress.add(book.route(touched[0]), told)
        return touched


class LiveFeatures:
    """Every view's state, and the routes it follows.

    latest : the newest version of each entity of a view: the versions that it is one of, and its row there
    """

    def __init__(self, book: RouteBook | None = None) -> None:
        self.book = book or RouteBook()
        self.latest: dict[str, Newest[Versions]] = {view.name: Newest() for view in VIEWS}
        self._means, self._feeds = Means(), Feeds()

    def advance(self, records: Sequence[Record]) -> Advance:
        """Fold records in log order."""
        result, learned = Advance(), Learned()
        rows: dict[str, list[Record]] = defaultdict(list)
        for record in records:
            if record.type in FEEDS:
                rows[record.type].append(record)
                touched = self.book.apply(record)[0]
            else:
                told = message(record)
                touched = learned.hear(self.book, told) if told else ()
            result.touched.append(touched)
            if ended := self.book.take_ended():
                result.ended[record.seq] = ended
        feeds = {table: record_columns(table, rows[table]) for table in FEEDS if table in rows}
        result.publications = self.absorb(learned, feeds)
        changed = dict.fromkeys((v.view.name, key) for v in result.publications for key in v.ids)
        result.state = [(name, key, self._dump(name, key)) for name, key in changed]
        return result

    def absorb(self, learned: Learned, feeds: Mapping[str, Columns]) -> list[Versions]:
        """Fold what messages taught, and rows of feeds as columns."""
        publications = self._means.learn(learned.observations) + learned.progress.versions()
        for table in FEEDS:
            if table in feeds:
                publications += self._feeds.observe(table, feeds[table])
        for versions in publications:
            self._remember(versions)
        return publications

    def learn_columns(self, kind: type, columns: Mapping[str, Any]) -> list[Versions]:
        """Fold observations of one kind, as columns."""
        publications = self._means.learn_columns(kind, columns)
        for versions in publications:
            self._remember(versions)
        return publications

    def join(self, part: LiveFeatures) -> None:
        """Take up the state of other entities, which were folded apart; routes are no part of it."""
        for name, latest in part.latest.items():
            self.latest[name].join(latest)
            for ring, other in zip(self._rings(name), part._rings(name), strict=True):
                ring.state.join(other.state)
        for name, happened in part._feeds.happened.items():
            self._feeds.happened[name].update(happened)

    def _remember(self, versions: Versions) -> None:
        """Keep the newest version of each entity."""
        keys = Keys.of(versions.ids)
        used, last = keys.last_rows()
        kept = versions if len(last) == len(keys) else versions.take(last)
        places = last if kept is versions else np.arange(len(last))
        self.latest[versions.view.name].put(keys.names, used, kept, places)

    def newest(self) -> Iterator[Versions]:
        """The newest version of every entity, a batch for each view."""
        for view in VIEWS:
            ids, rows = list(self.latest[view.name]), [row for _, row in self.latest[view.name].items()]
            if ids:
                yield Versions(
                    view=view,
                    ids=ids,
                    values=np.array([kept.values[row] for kept, row in rows], np.float32),
                    known_us=np.array([kept.known_us[row] for kept, row in rows], np.int64),
                    created_us=np.array([kept.created_us[row] for kept, row in rows], np.int64),
                )

    def dump(self) -> Iterable[tuple[str, str, bytes]]:
        """The whole state, a row for each view and key."""
        for name, rows in self.latest.items():
            for key in rows:
                yield name, key, self._dump(name, key)

    def read(self, view: View, ids: Sequence[str | None], as_of_us: int) -> OnlineRows:
        """What is known of some entities at an instant; the same answer as the online store's."""
        latest = self.latest[view.name].newest()
        found = [(at, latest[key]) for at, key in enumerate(ids) if key in latest]
        known_us = np.array([kept.known_us[row] for _, (kept, row) in found], np.int64)
        values = np.array([kept.values[row] for _, (kept, row) in found], np.float32)
        return placed(view, len(ids), np.array([at for at, _ in found], np.intp), known_us, values, as_of_us)

    def _rings(self, name: str) -> tuple[RollingSums, ...]:
        if name in self._means.sums:
            return (self._means.sums[name],)
        return self._feeds.sums.get(name, ())

    def _dump(self, name: str, key: str) -> bytes:
        found = self.latest[name].get(key)
        assert found is not None
        kept, row = found
        values = [None if value != value else value for value in kept.values[row].tolist()]
        rings = [ring.known(key) for ring in self._rings(name)]
        happened = self._feeds.happened.get(name, {}).get(key)
        version = int(kept.known_us[row]), int(kept.created_us[row])
        return orjson.dumps([*version, values, [ring and tuple(ring) for ring in rings], happened])

    def restore(self, rows: Iterable[tuple[str, str, bytes]]) -> None:
        """Take up state that ``dump`` or ``advance`` gave."""
        views = {view.name: view for view in VIEWS}
        for name, key, body in rows:
            known, created, values, rings, happened = orjson.loads(body)
            exact = [[float("nan") if value is None else value for value in values]]
            version = Versions(
                view=views[name],
                ids=[key],
                values=np.array(exact, np.float32),
                known_us=np.array([known], np.int64),
                created_us=np.array([created], np.int64),
            )
            self.latest[name].put_one(key, version)
            for ring, kept in zip(self._rings(name), rings, strict=True):
                if kept is not None:
                    ring.restore(key, Bucketed(kept[0], tuple(kept[1]), tuple(kept[2])))
            if happened is not None:
                self._feeds.happened[name][key] = happened
