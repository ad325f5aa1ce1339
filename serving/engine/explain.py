"""A served forecast made again from its id: the same vector, model, calibration and code, to the last digit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_contracts.errors import UnknownIdError, WorkspaceError
from data_contracts.workspace import Workspace
from features.vectors import FEATURE_NAMES
from serving.engine.code_version import code_version
from serving.engine.kept import KeptForecast, digest_of, make_again
from serving.engine.models import Load, load_forecaster
from serving.engine.readings import OpsReader
from serving.engine.served import find


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
    """Make a forecast again.

    Raises
    ------
    UnknownIdError
        when nothing of that id was served, or it is no longer kept
    ModelError
        when its model can no longer be loaded
    """
    if not workspace.ops.exists():
        raise WorkspaceError("nothing was ever served here", where=str(workspace.root))
    ops = OpsReader(workspace.ops)
    try:
        kept = ops.kept_forecast(prediction_id) or find(workspace.served, prediction_id)
        if kept is None:
            raise UnknownIdError(
                f"no forecast {prediction_id!r} is kept",
                where=str(workspace.root),
                next_step="see serving.served.keep_s and serving.cadence.keep_history_s for how long they are",
            )
        return _again(kept, ops, lambda version: workspace.models / version, load)
    finally:
        ops.close()


def _again(kept: KeptForecast, ops: OpsReader, folder: Callable[[str], Path], load: Load) -> Explanation:
    taught = ops.taught_then(kept.model_version, kept.made_with.calibration)
    if taught is None:
        raise UnknownIdError(
            f"state {kept.made_with.calibration} of the calibration is no longer kept",
            where=kept.prediction_id,
        )
    forecast = make_again(kept, load(folder(kept.model_version)), taught)
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
