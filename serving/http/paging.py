"""Pages of a list, newest first: a cursor says after which row the next one begins."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence

from starlette.requests import Request

from serving.engine.readings import Page, Placed
from serving.http.asking import limit_of, runtime_of
from serving.http.problems import unprocessable

DEFAULT_LIMIT = 100


def page_of(request: Request) -> Page:
    """Which page is asked for; one row more is read, to know whether there is another page."""
    limit = limit_of(request, runtime_of(request).settings.limits.rows, DEFAULT_LIMIT)
    return Page(limit=limit + 1, after=_after(request.query_params.get("cursor")))


def cut(rows: Sequence[Placed], page: Page) -> tuple[list[Placed], str | None]:
    """The rows of a page, and the cursor of the next, None after the last."""
    kept = list(rows[: page.limit - 1])
    return kept, _cursor(kept[-1]) if len(rows) > len(kept) and kept else None


def _cursor(row: Placed) -> str:
    at_us, identity, _ = row
    return urlsafe_b64encode(f"{at_us}|{identity}".encode()).decode().rstrip("=")


def _after(cursor: str | None) -> tuple[int, str] | None:
    if cursor is None:
        return None
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        at_us, _, identity = urlsafe_b64decode(padded.encode("ascii")).decode().partition("|")
        return _instant(at_us), identity
    except (ValueError, binascii.Error):
        raise unprocessable(
            f"cursor: {cursor[:40]!r} is not one of ours; take next_cursor of the page before"
        ) from None


def _instant(text: str) -> int:
    at_us = int(text)
    if not 0 <= at_us < 2**63:
        raise ValueError(text)
    return at_us
