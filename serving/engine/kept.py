"""What is kept of a forecast that was served, and how it is made again from that, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import orjson

from features.vectors import FEATURE_NAMES, FEEDS, Vectors
from serving.decisions.promises import DeliveryWindow, Promise
from serving.engine.code_version import code_version
from serving.engine.forecasts import ModelName, documents
from serving.engine.scoring import Forecaster, Manner, Scores, scores_of
from serving.engine.taught import Taught
from serving.times import from_rfc3339

Document = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeWith:
    """What a forecast was made with beside its vector and its prior.

    ages_s : age of the last message of each feed, None where there was none
    calibration : number of the state of the model's live calibration
    """

    zone_id: str | None
    ages_s: Sequence[float | None]
    calibration: int
    code_version: str

    def pack(self) -> bytes:
        return orjson.dumps((self.zone_id, self.ages_s, self.calibration, self.code_version))

    @classmethod
    def unpack(cls, packed: bytes) -> MadeWith:
        zone_id, ages_s, calibration, code = orjson.loads(packed)
        return cls(zone_id=zone_id, ages_s=ages_s, calibration=calibration, code_version=code)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptForecast:
    """A forecast that was served, and all that it was made from.

    promise : the first window told, against which the risk counts
    vector : float32, as bytes
    digest : of the document that was served
    shift : of the live calibration, where it is kept with the forecast
    """

    prediction_id: str
    stop_id: str
    route_id: str | None
    as_of_us: int
    coverage: float
    promise: DeliveryWindow | None
    with_reasons: bool
    model_version: str
    vector: bytes
    base_s: float
    made_with: MadeWith
    digest: bytes
    shift: bytes | None = None

    @classmethod
    def of_document(
        cls, body: bytes, vector: bytes, base_s: float, made_with: bytes, shift: bytes | None = None
    ) -> KeptForecast:
        """From a forecast as the engine stores it."""
        said = orjson.loads(body)
        return cls(
            prediction_id=said["prediction_id"],
            stop_id=said["stop_id"],
            route_id=said["route_id"],
            as_of_us=from_rfc3339(said["as_of"]),
            coverage=said["window"]["coverage"],
            promise=_window(said["promise"]),
            with_reasons=bool(said["reasons"]),
            model_version=said["model"]["version"],
            vector=vector,
            base_s=base_s,
            made_with=MadeWith.unpack(made_with),
            digest=digest_of(said),
            shift=shift,
        )


def made_with_of(scores: Scores) -> list[MadeWith]:
    """Of each row."""
    zone_ids = scores.vectors.zone_ids or [None] * len(scores)
    ages_s = np.column_stack([scores.vectors.ages_s[feed] for feed in FEEDS]).tolist()
    calibration, code = scores.calibration, code_version()
    return [
        MadeWith(zone_id=zone_id, ages_s=ages, calibration=calibration, code_version=code)
        for zone_id, ages in zip(zone_ids, ages_s, strict=True)
    ]


def make_again(kept: KeptForecast, model: Forecaster, taught: Taught) -> Document:
    """The forecast as it was served, from what was kept of it."""
    vectors = Vectors(
        [kept.stop_id],
        [kept.route_id],
        np.array([kept.as_of_us], np.int64),
        np.frombuffer(kept.vector, np.float32).reshape(1, len(FEATURE_NAMES)),
        np.array([kept.base_s]),
        {feed: np.array([_age(age)]) for feed, age in zip(FEEDS, kept.made_with.ages_s, strict=True)},
        [kept.made_with.zone_id],
    )
    manner = Manner(forecaster=model, coverage=kept.coverage, taught=taught)
    scores = scores_of(vectors, np.ones(1, np.int64), [_promise(kept)], kept.as_of_us, manner)
    reasons = {0: model.reasons(vectors, [0])[0]} if kept.with_reasons else {}
    return documents(scores, ModelName.of(model), reasons, [kept.prediction_id])[0]


def digest_of(document: Mapping[str, Any]) -> bytes:
    """The same for the same forecast, to the last digit."""
    return blake2b(orjson.dumps(document), digest_size=8).digest()


def _age(age: float | None) -> float:
    return float("nan") if age is None else age


def _window(told: Mapping[str, str] | None) -> DeliveryWindow | None:
    if told is None:
        return None
    return DeliveryWindow(start_us=from_rfc3339(told["start"]), end_us=from_rfc3339(told["end"]))


def _promise(kept: KeptForecast) -> Promise | None:
    if kept.promise is None:
        return None
    return Promise(stop_id=kept.stop_id, route_id=kept.route_id or "", first=kept.promise, told=kept.promise)
