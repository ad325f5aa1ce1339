"""A window onto a page, in which anything that goes wrong unseen fails the test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SOON_MS = 20_000
WINDOW = {"viewport": {"width": 1440, "height": 900}, "locale": "en-GB", "timezone_id": "America/New_York"}
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
#: WCAG A and AA.
AXE_RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}}
AXE_BAD = ("serious", "critical")


@contextmanager
def looking(browser: Any, url: str, **more: Any) -> Iterator[Any]:
    """A page of its own. What its scripts throw, ask of another host, or break of its policy fails the test."""
    context = browser.new_context(**{**WINDOW, **more})
    page, wrong = context.new_page(), []
    origin = "/".join(url.split("/")[:3])
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda told: wrong.append(told.text) if "Security Policy" in told.text else None)
    page.on("request", lambda asked: wrong.append(asked.url) if not _is_ours(asked.url, origin) else None)
    page.set_default_timeout(SOON_MS)
    page.goto(url)
    try:
        yield page
    finally:
        context.close()
    assert not wrong, wrong


def serious_faults(page: Any) -> list[str]:
    """What axe-core finds that is serious or worse."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, options=AXE_RULES).response["violations"]
    bad = [fault for fault in found if fault["impact"] in AXE_BAD]
    return [f"{fault['id']}: {fault['nodes'][0]['html'][:200]}" for fault in bad]


def _is_ours(asked: str, origin: str) -> bool:
    return asked.startswith((origin, "data:", "blob:"))
