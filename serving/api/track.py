"""What a customer may know of a delivery, in the customer's terms: no ids, no positions, nobody else's stops."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from serving.api.route_calls import promise_document
from serving.decisions.promises import DeliveryWindow
from serving.storage.changes import Choice
from serving.times import US, from_rfc3339, to_rfc3339, to_rfc3339_or_none

Row = Mapping[str, Any]
STEP_US = 300 * US
#: A promise that is missed by less is not worth an explanation.
WORTH_SAYING_MIN = 5.0
#: Causes that a customer is told; anything else is the route's own business.
TOLD_CAUSES = frozenset({"ROAD_CONDITIONS", "WEATHER", "SLOW_SERVICE", "DEPOT_DELAY"})
OPEN_STATES = frozenset({"ahead", "failed"})


def track_document(stop: Row, forecast: Row | None, as_of_us: int, until_us: int) -> dict[str, Any]:
    """The whole answer; ``forecast`` is the latest of a stop that is still ahead."""
    ahead = forecast if stop["state"] == "ahead" else None
    promise = promise_document(stop)
    return {
        "as_of": to_rfc3339_or_none(as_of_us or None),
        "timezone": stop["timezone"] or "UTC",
        "state": stop["state"],
        "reached_at": to_rfc3339_or_none(stop["reached_us"]),
        "stops_before": stop["stops_before"] if stop["state"] == "ahead" else None,
        "window": None if ahead is None else _widened(ahead["window"]),
        "promised": promise and promise["first"],
        "delay_minutes": _delay_min(ahead, promise),
        "reasons": _reasons(ahead),
        "confidence": None if ahead is None else _confidence(ahead),
        "choices": [choice.value for choice in Choice] if stop["state"] in OPEN_STATES else [],
        "expires_at": to_rfc3339(until_us),
    }


def _widened(window: Row) -> dict[str, str]:
    """The window outwards to whole five minutes, which is how people speak of time."""
    exact = DeliveryWindow(start_us=from_rfc3339(window["start"]), end_us=from_rfc3339(window["end"]))
    told = exact.widened(STEP_US)
    return {"start": to_rfc3339(told.start_us), "end": to_rfc3339(told.end_us)}


def _delay_min(forecast: Row | None, promise: Row | None) -> float | None:
    """By how much the expected arrival is past the end of the first window; None where it is not."""
    if forecast is None or promise is None:
        return None
    minutes = (from_rfc3339(forecast["eta"]) - from_rfc3339(promise["first"]["end"])) / (60 * US)
    return round(minutes) if minutes >= WORTH_SAYING_MIN else None


def _reasons(forecast: Row | None) -> list[str]:
    """Causes that a customer understands, dearest first; one that says so little stands for all others."""
    found = [reason["code"] for reason in (forecast or {}).get("reasons", ())]
    told = [code for code in found if code in TOLD_CAUSES]
    return told[:2] or (["OTHER"] if forecast else [])


def _confidence(forecast: Row) -> dict[str, Any]:
    return {
        "level": forecast["confidence"]["level"],
        "of_ten": round(10 * forecast["window"]["coverage"]),
    }
