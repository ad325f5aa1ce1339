"""JSON answers by orjson; stored documents are joined as they lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from starlette.responses import Response


class JSON(Response):
    """A document as JSON."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return content if isinstance(content, bytes) else orjson.dumps(content)


def joined(name: str, documents: Sequence[bytes], **members: Any) -> JSON:
    """``{..., name: [documents]}`` without parsing what is already JSON."""
    head = orjson.dumps(members)[:-1] + (b"," if members else b"")
    return JSON(head + orjson.dumps(name) + b":[" + b",".join(documents) + b"]}")
