"""A served forecast made again from its id: the same vector, model, calibration and code, to the last digit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_contracts.errors import NoLongerKeptError, UnknownIdError, WorkspaceError
from data_contracts.workspace import Workspace
from features.vectors import FEATURE_NAMES
from serving.engine.code_version import code_version
from serving.engine.forecasts import instant_of
from serving.engine.history import PASSING, TOLD
from serving.engine.kept import KeptForecast, digest_of, make_again
from serving.engine.models import Load, load_forecaster
from serving.engine.readings import OpsReader
from serving.engine.scoring import Forecaster
from serving.engine.served import begun_s, find, oldest_s
from serving.engine.taught import Taught
from serving.times import US, to_rfc3339


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What was served, made again.

    features : the vector by name, None where nothing was known
    same : whether the document comes out as it was served, to the last digit
    """

    forecast: dict[str, Any]
    features: dict[str, float | None]
    prior_s: float
    calibration: int
    code_then: str
    code_now: str
    same: bool

    def as_json(self) -> dict[str, Any]:
        return {
            "same": self.same,
            "code_version": {"then": self.code_then, "now": self.code_now},
            "calibration": self.calibration,
            "prior_s": self.prior_s,
            "features": self.features,
            "forecast": self.forecast,
        }


def explain(workspace: Workspace, prediction_id: str, load: Load = load_forecaster) -> Explanation:
    """Make a forecast again, as a command does that has nothing open.

    Raises
    ------
    UnknownIdError
        when nothing of that id was served; ``NoLongerKeptError`` where it may have been, and is kept no longer
    ModelError
        when its model can no longer be loaded
    """
    if not workspace.ops.exists():
        raise WorkspaceError("nothing was ever served here", where=str(workspace.root))
    ops = OpsReader(workspace.ops)
    try:
        return explained(
            ops, workspace.served, prediction_id, lambda version: load(workspace.models / version)
        )
    finally:
        ops.close()


def explained(
    ops: OpsReader, served: Path, prediction_id: str, model_of: Callable[[str], Forecaster]
) -> Explanation:
    """A forecast made again from what engine and workers have kept; ``model_of`` gives the model of a version."""
    kept = ops.kept_forecast(prediction_id) or find(served, prediction_id)
    if kept is None:
        raise _missing(ops, served, prediction_id)
    taught = _taught(ops, kept)
    forecast = make_again(kept, model_of(kept.model_version), taught)
    values = np.frombuffer(kept.vector, np.float32).tolist()
    return Explanation(
        forecast=forecast,
        features={
            name: None if value != value else value for name, value in zip(FEATURE_NAMES, values, strict=True)
        },
        prior_s=kept.base_s,
        calibration=kept.made_with.calibration,
        code_then=kept.made_with.code_version,
        code_now=code_version(),
        same=digest_of(forecast) == kept.digest,
    )


def _taught(ops: OpsReader, kept: KeptForecast) -> Taught:
    number = kept.made_with.calibration
    if kept.shift and number:
        return Taught.as_told(number, kept.shift)
    taught = ops.taught_then(kept.model_version, number)
    if taught is None:
        raise NoLongerKeptError(
            f"state {number} of the calibration is no longer kept", where=kept.prediction_id
        )
    return taught


def _missing(ops: OpsReader, served: Path, prediction_id: str) -> UnknownIdError:
    """Why a forecast is not there: it was never served, or it is too old, and since when things are kept."""
    as_of_us, call_s = instant_of(prediction_id), begun_s(prediction_id)
    if as_of_us is not None:
        since = {kind: span.since_us for kind, span in ops.history_spans().items()}
        if (passing_us := since[PASSING]) is not None and as_of_us >= passing_us:
            return UnknownIdError(
                f"no forecast {prediction_id!r} was kept: nobody was told or served it, and it had not moved"
            )
        told = f"those that somebody was told of {_back_to(since[TOLD])}"
        return NoLongerKeptError(
            f"forecast {prediction_id!r} is no longer kept: it is of {to_rfc3339(as_of_us)}, forecasts that only "
            f"passed are kept {_back_to(passing_us)}, {told}",
            next_step="[serving.retention] forecasts_s and told_s say how long at most",
        )
    first_s = oldest_s(served)
    if call_s is None or (first_s is not None and call_s >= first_s):
        return UnknownIdError(f"no forecast {prediction_id[:60]!r} was ever served")
    return NoLongerKeptError(
        f"forecast {prediction_id!r} is no longer kept: it was scored after {to_rfc3339(call_s * US)}, what was "
        f"scored on request is kept {_back_to(None if first_s is None else first_s * US)}",
        next_step="[serving.served] keep_s says how long at most",
    )


def _back_to(since_us: int | None) -> str:
    return "only from now on" if since_us is None else f"back to {to_rfc3339(since_us)}"
