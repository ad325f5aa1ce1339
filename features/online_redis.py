"""The online store on Redis: the same packed versions, one key for each entity, view and schema.

A write and its version check are one step of the server (a Lua script), so that any number of writers are
safe. A batch is atomic as far as one call of the script reaches, which is ``KEYS_A_CALL`` keys.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from features.online import OnlineRows, Taken, Versions, pack, packed_dtype, rows_as_of, unpack
from features.views import VIEWS, View

if TYPE_CHECKING:
    from redis import Redis

KEYS_A_CALL = 2_000
SCAN_COUNT = 1_000
PREFIX = "punctual"
SCHEMES = ("redis://", "rediss://", "unix://")
#: A version is the first 16 bytes of what is stored: event timestamp, then created timestamp.
PUBLISH = """
local written = 0
for place = 1, #KEYS do
    local stored = redis.call('GETRANGE', KEYS[place], 0, 15)
    local newer = #stored < 16
    if not newer then
        local old_event, old_created = struct.unpack('<i8i8', stored)
        local event, created = struct.unpack('<i8i8', ARGV[place])
        newer = event > old_event or (event == old_event and created > old_created)
    end
    if newer then
        redis.call('SET', KEYS[place], ARGV[place])
        written = written + 1
    end
end
return written
"""
#: For each prefix: flags of what was found, a byte for each id asked for, then what is stored of those, end to end.
READ = """
local prefixes, ids, answers = cjson.decode(ARGV[1]), cjson.decode(ARGV[2]), {}
for which, prefix in ipairs(prefixes) do
    local flags, found = {}, {}
    for first = 1, #ids, 1000 do
        local keys = {}
        for place = first, math.min(first + 999, #ids) do
            keys[#keys + 1] = ids[place] == cjson.null and '' or prefix .. ids[place]
        end
        local stored = redis.call('MGET', unpack(keys))
        for place = 1, #keys do
            flags[#flags + 1] = stored[place] and '\\1' or '\\0'
            if stored[place] then found[#found + 1] = stored[place] end
        end
    end
    answers[which] = table.concat(flags) .. table.concat(found)
end
return answers
"""


def is_redis(location: str) -> bool:
    """Whether a store's location is a Redis URL and not a file."""
    return location.startswith(SCHEMES)


def key_prefix(view: View) -> str:
    return f"{PREFIX}:{view.name}:{view.schema_hash}:"


class RedisReader:
    """Reads versions as of an instant, one round trip a call, whatever the number of views."""

    def __init__(self, url: str) -> None:
        self._client = _client(url)
        self._read = self._client.register_script(READ)

    def read(self, view: View, ids: Sequence[str | None], as_of_us: int) -> OnlineRows:
        """Return what can be used at ``as_of_us``; an id that is None matches nothing."""
        return self.read_views([view], ids, as_of_us)[0]

    def read_views(self, views: Sequence[View], ids: Sequence[str | None], as_of_us: int) -> list[OnlineRows]:
        """What ``read`` gives of each view, as it stood at one moment of the store."""
        rows = []
        for view, answer in zip(views, self._answers(views, ids), strict=True):
            found = np.flatnonzero(np.frombuffer(answer, np.uint8, len(ids)))
            stored = unpack(view, [answer[len(ids) :]])
            rows.append(rows_as_of(view, len(ids), found, stored, as_of_us))
        return rows

    def take(self, ids: Iterable[str | None]) -> Taken:
        """Everything that is stored of some entities, in every view, as it stood at one moment of the store."""
        wanted = [key for key in dict.fromkeys(ids) if key is not None]
        stored: dict[tuple[str, str], dict[str, bytes]] = {}
        for view, answer in zip(VIEWS, self._answers(VIEWS, wanted), strict=True):
            size, body = packed_dtype(view).itemsize, answer[len(wanted) :]
            found = np.flatnonzero(np.frombuffer(answer, np.uint8, len(wanted))).tolist()
            stored[view.name, view.schema_hash] = {
                wanted[at]: body[place * size : (place + 1) * size] for place, at in enumerate(found)
            }
        return Taken(stored)

    def close(self) -> None:
        self._client.close()

    def _answers(self, views: Sequence[View], ids: Sequence[str | None]) -> Sequence[bytes]:
        if not len(ids):
            return [b""] * len(views)
        prefixes, asked = [key_prefix(view) for view in views], list(ids)
        answers: Any = self._read(args=[json.dumps(prefixes), json.dumps(asked, ensure_ascii=False)])
        return list(answers)


class RedisWriter:
    """Publishes versions; any number of writers and processes may do so at once."""

    def __init__(self, url: str) -> None:
        self._client = _client(url)
        self._publish = self._client.register_script(PUBLISH)

    def publish(self, versions: Versions) -> int:
        """Publish one view's versions; see ``publish_all``."""
        return self.publish_all([versions])

    def publish_all(self, batches: Iterable[Versions]) -> int:
        """Store each version that is newer than the stored one; return how many were.

        An interrupted call leaves some of its versions out; publishing them again is safe.
        """
        keys: list[str] = []
        packed: list[bytes] = []
        for versions in batches:
            prefix = key_prefix(versions.view)
            keys += [prefix + entity for entity in versions.ids]
            packed += pack(versions)
        return sum(
            int(self._publish(keys[start : start + KEYS_A_CALL], packed[start : start + KEYS_A_CALL]))
            for start in range(0, len(keys), KEYS_A_CALL)
        )

    def forget(self, view_names: Iterable[str]) -> None:
        """Delete every version of the named views, of any schema."""
        for name in view_names:
            keys = list(self._client.scan_iter(match=f"{PREFIX}:{name}:*", count=SCAN_COUNT))
            for start in range(0, len(keys), KEYS_A_CALL):
                self._client.unlink(*keys[start : start + KEYS_A_CALL])

    def close(self) -> None:
        self._client.close()


def _client(url: str) -> Redis:
    """A client that gives bytes; it connects when it is first used."""
    from redis import Redis

    return Redis.from_url(url)
