"""How the day goes, and how far the service has been worth trusting."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import Response

from serving.api.runtime import Runtime
from serving.engine.forecasts import ModelName
from serving.http import wire_rooms
from serving.http.asking import runtime_of
from serving.http.endpoint import Endpoint
from serving.http.keys import Scope
from serving.http.responses import JSON
from serving.times import US, to_rfc3339_or_none, to_us

#: Weather is told from this long ago to this far ahead.
WEATHER_BACK_US = 3 * 3600 * US
WEATHER_AHEAD_US = 12 * 3600 * US


def today(request: Request) -> Response:
    """The service day, its expected end, coverage and alerts so far, feeds and model."""
    runtime = runtime_of(request)
    as_of_us = runtime.now_us()
    timezone, day, routes = _service_day(runtime, as_of_us)
    since_us = _start_of(day, timezone)
    model = runtime.champion.model
    return JSON(
        {
            "as_of": to_rfc3339_or_none(as_of_us or None),
            "timezone": timezone,
            "service_date": day,
            "routes": routes,
            "stops": on_time(runtime.picture.day_counts(day)),
            "windows": [_rounded(row) for row in runtime.picture.window_outcomes(since_us)],
            "alerts": alert_precision(runtime.picture.alert_outcomes(since_us)),
            "feeds": _feeds(runtime, as_of_us),
            "weather": _weather(runtime, as_of_us),
            "model": None if model is None else ModelName.of(model).document(),
        }
    )


TODAY_CALLS = (
    Endpoint(
        method="GET",
        path="/v1/today",
        scope=Scope.READ,
        handle=today,
        name="today",
        summary="How the day goes, and how far to trust it",
        answer=wire_rooms.Today,
    ),
)


def on_time(counts: Mapping[str, Any]) -> dict[str, Any]:
    """Counts of a day's stops, with the share that is expected to be on time when it is over.

    Stops that were missed count as late; of those ahead, each counts with its probability.
    """
    over = counts["on_time"] + counts["late"] + counts["missed"]
    judged = over + counts["ahead"]
    expected_late = counts["late"] + counts["missed"] + counts["ahead_late"]
    whole = {name: value for name, value in counts.items() if name != "ahead_late"}
    return whole | {
        "expected_late": round(expected_late, 1),
        "on_time_share": round(counts["on_time"] / over, 4) if over else None,
        "expected_on_time_share": round(1.0 - expected_late / judged, 4) if judged else None,
    }


def alert_precision(row: Mapping[str, Any]) -> dict[str, Any]:
    """How many of the alerts whose stop is over were right."""
    decided, lead = row["decided"], row["mean_lead_min"]
    return {
        "raised": row["raised"],
        "decided": decided,
        "came_true": row["came_true"],
        "precision": round(row["came_true"] / decided, 4) if decided else None,
        "mean_lead_min": None if lead is None else round(lead, 1),
    }


def _service_day(runtime: Runtime, as_of_us: int) -> tuple[str, str, int]:
    """Time zone of most routes, the day that it is there, and how many routes it has."""
    days = runtime.picture.service_days()
    timezone = days[0][0] if days else "UTC"
    now = datetime.fromtimestamp(as_of_us / US, UTC)
    day = now.astimezone(ZoneInfo(timezone)).date().isoformat()
    return timezone, day, sum(routes for _, date, routes in days if date == day)


def _start_of(day: str, timezone: str) -> int:
    return to_us(datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(timezone)))


def _feeds(runtime: Runtime, as_of_us: int) -> dict[str, Any]:
    return {
        feed: {"received_at": to_rfc3339_or_none(at_us), "age_s": round(max(0, as_of_us - at_us) / US, 1)}
        for feed, at_us in runtime.picture.feeds().items()
    }


def _weather(runtime: Runtime, as_of_us: int) -> list[dict[str, Any]]:
    rows = runtime.picture.weather(as_of_us - WEATHER_BACK_US, as_of_us + WEATHER_AHEAD_US)
    return [
        {name: value for name, value in row.items() if not name.endswith("_us")}
        | {"valid_at": to_rfc3339_or_none(row["valid_us"]), "issued_at": to_rfc3339_or_none(row["issued_us"])}
        for row in rows
    ]


def _rounded(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()}
