"""Every word of the pages is in every language, with the same values in it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from data_contracts.tables import STOP_EVENT_KINDS, TABLES
from features.vectors import FEEDS
from serving.api.track import TOLD_CAUSES
from serving.decisions.alerts import STOP_RULES, Rule
from serving.decisions.incidents import Cause, State, Why
from serving.decisions.promises import Revise
from serving.engine.advice import Kind
from serving.engine.outbox import EventType
from serving.storage.changes import Choice
from training.reasons import CAUSES

ASSETS = Path(__file__).parents[2] / "serving" / "dashboard" / "assets"
LANGUAGES = sorted(path.stem for path in (ASSETS / "words").glob("*.json"))
SCRIPTS = {path.name: path.read_text(encoding="utf-8") for path in (ASSETS / "js").glob("*.js")}
PAGES = {path.name: path.read_text(encoding="utf-8") for path in (ASSETS.parent / "pages").glob("*.html")}


def words(language: str) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads((ASSETS / "words" / f"{language}.json").read_bytes())
    return found


def values_in(sentence: str | dict[str, str]) -> set[str]:
    forms = sentence.values() if isinstance(sentence, dict) else [sentence]
    return {name for form in forms for name in re.findall(r"{(\w+)}", form)}


@pytest.mark.parametrize("language", [each for each in LANGUAGES if each != "en"])
def test_a_language_has_the_keys_and_values_of_english(language: str) -> None:
    english, other = words("en"), words(language)
    assert set(other) == set(english)
    assert {key for key in english if values_in(english[key]) != values_in(other[key])} == set()


def test_there_is_a_second_language() -> None:
    assert len(LANGUAGES) >= 2


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_sentence_that_counts_has_a_form_for_one_and_for_many(language: str) -> None:
    counting = [sentence for sentence in words(language).values() if isinstance(sentence, dict)]
    assert counting and all({"one", "other"} <= set(sentence) for sentence in counting)


def test_every_word_that_a_page_asks_for_is_there() -> None:
    asked = {
        key
        for text in PAGES.values()
        for key in re.findall(r'data-t(?:-label|-placeholder)?="([^"]+)"', text)
    }
    asked |= {key for text in SCRIPTS.values() for key in re.findall(r'\bt\("([^"]+)"', text)}
    assert len(asked) > 80
    assert asked <= set(words("en"))


def test_every_code_that_the_api_gives_has_words() -> None:
    """A new cause, rule, event or choice in the service has to be told in the pages too."""
    codes = {
        "reason": set(CAUSES),
        "cause": set(Cause),
        "cause.story": set(Cause),
        "incident.state": set(State),
        "why": set(Why),
        "evidence": set(Rule) - set(STOP_RULES),
        "action": set(Kind),
        "action.how": set(Kind),
        "event": {*STOP_EVENT_KINDS, *EventType} - {EventType.WEBHOOK_TEST},
        "revise": set(Revise),
        "choice": set(Choice),
        "confidence": {f"STALE_{feed.upper()}" for feed in FEEDS},
        "track.reason": {*TOLD_CAUSES, "OTHER"},
        "feed": set(TABLES),
    }
    told = words("en")
    wanted = {f"{kind}.{code}" for kind, known in codes.items() for code in known}
    assert sorted(wanted - set(told)) == []


def test_no_script_makes_markup_of_text() -> None:
    """XSS has no door: nothing is parsed as markup or code, and no page carries script or style inline."""
    for name, text in SCRIPTS.items():
        found = re.findall(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text
        )
        assert not found, f"{name}: {found}"
    for name, text in PAGES.items():
        assert not re.findall(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|style=|https?:", text), name


def test_the_lock_of_the_pages_names_no_host() -> None:
    lock = (ASSETS.parent / "package-lock.json").read_text(encoding="utf-8")
    assert '"resolved"' not in lock
    packages = orjson.loads(lock)["packages"]
    assert all("integrity" in entry for name, entry in packages.items() if name)
