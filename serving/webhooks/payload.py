"""What a receiver is sent: the event as it lies in the outbox, thinned where it would be too large."""

from __future__ import annotations

from typing import Any

import orjson

#: Says which members of the data were left out; ask the API for them.
LEFT_OUT = "left_out"


def fitted(body: bytes, limit: int) -> bytes:
    """The event in fewer than ``limit`` bytes: the largest members of its data go first, and are named."""
    if len(body) < limit:
        return body
    event: dict[str, Any] = orjson.loads(body)
    data = dict(event.get("data") or {})
    by_size = sorted(data, key=lambda name: len(orjson.dumps(data[name])), reverse=True)
    gone: list[str] = []
    for name in by_size:
        del data[name]
        gone.append(name)
        smaller = orjson.dumps(event | {"data": data | {LEFT_OUT: gone[:50]}})
        if len(smaller) < limit:
            return smaller
    return orjson.dumps(event | {"data": {LEFT_OUT: ["*"]}})
