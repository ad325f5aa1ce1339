"""``customers.db``: everything personal that the platform keeps, one row a fact, all in one table.

What is erased is overwritten on disk. Only a digest of the customer's id is kept of an erasure, so that what was
known before is not learned again from what still stands elsewhere under the pseudonym.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC
from hashlib import blake2b
from pathlib import Path
from typing import Any

import orjson

from serving.customers.home import USUAL_SHARE, Usual, Visit, best_strength, own_visits
from serving.customers.preferences import Channel, Preferences
from serving.storage.database import connect, immediate, statements
from serving.times import to_rfc3339

PREFERENCES, VISIT = "preferences", "visit"
HOME, AWAY = b"\x01", b"\x00"


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitMade:
    """A visit of a customer, as it is kept."""

    customer_id: str
    stop_id: str
    visit: Visit


class CustomerStore:
    """One connection; any number of threads may ask."""

    def __init__(self, path: Path) -> None:
        self._sql = statements("customers")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        self._connection = connect(path, synchronous="FULL", schema=self._sql["schema"])
        self._connection.execute("PRAGMA secure_delete = ON")
        self._lock = threading.RLock()

    def close(self) -> None:
        self._connection.close()

    def preferences(self, customer_id: str) -> Preferences:
        """What a customer prefers; nothing in particular where nothing was said."""
        rows = self._rows("get", customer_id, PREFERENCES)
        return preferences_from(orjson.loads(rows[0][0])) if rows else Preferences()

    def has_preferences(self, customer_id: str) -> bool:
        return bool(self._rows("get", customer_id, PREFERENCES))

    def prefer(self, customer_id: str, preferences: Preferences, at_us: int) -> None:
        """Keep what a customer prefers, unless something later is known."""
        row = (customer_id, PREFERENCES, "", at_us, orjson.dumps(asdict(preferences)))
        with self._lock, immediate(self._connection) as tx:
            tx.execute(self._sql["put"], row)

    def drop_preferences(self, customer_id: str) -> bool:
        with self._lock, immediate(self._connection) as tx:
            return tx.execute(self._sql["drop"], (customer_id, PREFERENCES)).rowcount > 0

    def visits(self, customer_id: str) -> list[Visit]:
        """A customer's visits, the oldest first."""
        return _visits(self._rows("visits", customer_id))

    def learn(self, made: Iterable[VisitMade]) -> int:
        """Keep visits; one that is known already, or that an erasure is to have forgotten, changes nothing."""
        count = 0
        with self._lock, immediate(self._connection) as tx:
            visits, found = tx.execute(self._sql["tally"]).fetchone()
            for each in sorted(made, key=lambda made: made.visit.at_us):
                erased = tx.execute(self._sql["erased"], (_digest(each.customer_id),)).fetchone()
                if erased is not None and each.visit.at_us <= erased[0]:
                    continue
                before = tx.execute(self._sql["visits"], (each.customer_id,)).fetchall()
                body = HOME if each.visit.home else AWAY
                row = (each.customer_id, VISIT, each.stop_id, each.visit.at_us, body)
                is_new = not tx.execute(self._sql["known"], row[:3]).fetchone()
                count += tx.execute(self._sql["put"], row).rowcount
                if is_new and visits:
                    self._foretold(tx, each.visit, _visits(before), found / visits)
                if is_new:
                    visits, found = visits + 1, found + each.visit.home
        return count

    def usual(self) -> Usual:
        """What is usual of all customers, as far as visits tell."""
        visits, found = self._rows("tally")[0]
        rows = self._rows("strengths")
        told = min((visits for *_, visits in rows), default=0)
        strength = best_strength({counts_for: loss for counts_for, loss, _ in rows}, told)
        return Usual(share=found / visits if visits else USUAL_SHARE, counts_for=strength)

    def _foretold(
        self, tx: sqlite3.Connection, visit: Visit, before: Iterable[Visit], usual_share: float
    ) -> None:
        """Note how well each strength of what is usual foretold a visit, by the customer's visits before it."""
        own = own_visits(before, visit.at_us, visit.at_us - 1, UTC)
        if own.weight > 0:
            tx.executemany(self._sql["add_loss"], own.losses(usual_share, visit.home).items())

    def export(self, customer_id: str) -> dict[str, Any]:
        """Everything that is kept of a customer."""
        visits, preferences = [], None
        for kind, key, at_us, body in self._rows("of_customer", customer_id):
            if kind == VISIT:
                visits.append({"stop_id": key, "at": to_rfc3339(at_us), "home": bytes(body) == HOME})
            else:
                preferences = orjson.loads(body) | {"since": to_rfc3339(at_us)}
        return {"customer_id": customer_id, "preferences": preferences, "visits": visits}

    def erase(self, customer_id: str, at_us: int) -> int:
        """Forget a customer; give how many facts were kept. Nothing of before ``at_us`` is learned again."""
        with self._lock:
            with immediate(self._connection) as tx:
                count = tx.execute(self._sql["erase"], (customer_id,)).rowcount
                tx.execute(self._sql["note_erased"], (_digest(customer_id), at_us))
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return count

    def forget(self, visits_before_us: int) -> None:
        """Drop visits that are too old to teach, and erasures that nothing is left to undo of."""
        with self._lock, immediate(self._connection) as tx:
            tx.execute(self._sql["forget_visits"], (visits_before_us,))
            tx.execute(self._sql["forget_erased"], (visits_before_us,))

    def _rows(self, name: str, *arguments: Any) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._connection.execute(self._sql[name], arguments).fetchall()


def preferences_from(document: dict[str, Any]) -> Preferences:
    """Preferences from a document that has some of their names."""
    known = {name: document.get(name) for name in Preferences.__dataclass_fields__}
    channel = known.pop("channel")
    return Preferences(**known, channel=None if channel is None else Channel(channel))


def _visits(rows: Iterable[tuple[int, bytes]]) -> list[Visit]:
    return [Visit(at_us=at_us, home=bytes(body) == HOME) for at_us, body in rows]


def _digest(customer_id: str) -> str:
    return blake2b(f"erased|{customer_id}".encode(), digest_size=16).hexdigest()
