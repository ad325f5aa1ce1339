"""A forecast as the API tells it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np

from serving.decisions.promises import DeliveryWindow
from serving.engine.scoring import Forecaster, Scores
from serving.times import rfc3339_array, to_rfc3339

QUANTILE_NAMES = ("p05", "p10", "p25", "p50", "p75", "p90", "p95")
FRESHNESS_FEEDS = ("telemetry", "traffic", "weather")
#: Without these a forecast can be far off; one of them missing is enough for low confidence.
VITAL_FEEDS = frozenset({"telemetry"})

_ENGINE_ID = re.compile("p-([0-9a-f]{1,15})-[0-9a-f]{16}")

Reasons = Mapping[int, Sequence[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelName:
    """Which model spoke."""

    name: str
    version: str
    alias: str = "champion"

    @classmethod
    def of(cls, forecaster: Forecaster) -> ModelName:
        return cls(name=forecaster.name, version=str(forecaster.version))

    def document(self) -> dict[str, str]:
        return {"name": self.name, "version": self.version, "alias": self.alias}


def prediction_id(stop_id: str, as_of_us: int, model_version: str) -> str:
    """Of a forecast of the engine: the same for the same one, as a replay needs it; it tells its instant."""
    text = f"engine|{stop_id}|{as_of_us}|{model_version}"
    return f"p-{as_of_us:x}-{blake2b(text.encode(), digest_size=8).hexdigest()}"


def instant_of(prediction_id: str) -> int | None:
    """When a forecast of the engine was made, by its id; None for what is no such id."""
    found = _ENGINE_ID.fullmatch(prediction_id)
    return int(found[1], 16) if found else None


def documents(
    scores: Scores, model: ModelName, reasons: Reasons | None = None, ids: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """One document for each row, ready for JSON; with the engine's ids unless others are given."""
    columns = (scores.quantiles_us, scores.mean_us, scores.start_us, scores.end_us, scores.completion_us)
    told, as_of = rfc3339_array(np.column_stack(columns)), to_rfc3339(scores.as_of_us)
    about, coverage = model.document(), scores.coverage
    if ids is None:
        ids = [prediction_id(stop_id, scores.as_of_us, model.version) for stop_id in scores.stop_ids]
    return [
        {
            "prediction_id": ids[row],
            "stop_id": scores.stop_ids[row],
            "route_id": scores.vectors.route_ids[row],
            "as_of": as_of,
            "eta": times[3],
            "window": {"start": times[8], "end": times[9], "coverage": coverage},
            "quantiles": dict(zip(QUANTILE_NAMES, times[:7], strict=True)),
            "mean": times[7],
            "completion": {
                "eta": times[10],
                "window": {"start": times[11], "end": times[12], "coverage": coverage},
            },
            "promise": _promised(scores, row),
            "late": _late(scores, row),
            "confidence": confidence(scores.missing_feeds[row], scores.unfamiliar[row]),
            "reasons": reason_documents((reasons or {}).get(row, ())),
            "freshness": _freshness(scores, row),
            "degraded": scores.missing_feeds[row],
            "model": about,
        }
        for row, times in enumerate(told)
    ]


def window_document(window: DeliveryWindow) -> dict[str, str]:
    return {"start": to_rfc3339(window.start_us), "end": to_rfc3339(window.end_us)}


def reason_documents(reasons: Sequence[Any]) -> list[dict[str, Any]]:
    return [{"code": reason.code, "minutes": round(float(reason.minutes), 1)} for reason in reasons]


def confidence(missing_feeds: Sequence[str], unfamiliar: Sequence[str] = ()) -> dict[str, Any]:
    """How much the forecast knows about the present and the place, and what it lacks."""
    if not missing_feeds:
        level = "medium" if unfamiliar else "high"
    elif len(missing_feeds) == 1 and not VITAL_FEEDS & set(missing_feeds):
        level = "medium"
    else:
        level = "low"
    stale = [f"STALE_{feed.upper()}" for feed in missing_feeds]
    return {"level": level, "reasons": stale + [f"NEW_{what.upper()}" for what in unfamiliar]}


def _promised(scores: Scores, row: int) -> dict[str, str] | None:
    promise = scores.promises[row]
    return None if promise is None else window_document(promise.first)


def _late(scores: Scores, row: int) -> dict[str, float] | None:
    probability = scores.risk(row)
    if probability is None:
        return None
    minutes = float(scores.expected_late_s[row]) / 60.0
    return {"probability": round(probability, 4), "expected_minutes": round(minutes, 2)}


def _freshness(scores: Scores, row: int) -> dict[str, float | None]:
    ages = {feed: float(scores.vectors.ages_s[feed][row]) for feed in FRESHNESS_FEEDS}
    return {f"{feed}_s": None if np.isnan(age) else round(age, 1) for feed, age in ages.items()}
