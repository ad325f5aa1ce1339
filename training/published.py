"""Measures of published work, kept apart from our own so that nobody takes one for the other."""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
#: LaDe's protocol keeps stops that were reached within this time; that is known only afterwards.
LADE_LONGEST_MIN = 120.0
LADE_NEAR_MIN = 20.0


class Protocol(StrEnum):
    """By whose rules LaDe is judged."""

    COMPAT = "compat"
    HONEST = "honest"


def lade_figures(arrival_s: Float, eta_s: Float, samples: NDArray[np.int64]) -> dict[str, float]:
    """Figures of LaDe's arrival-time task (Wu et al., 2023, "LaDe", table of ETA prediction).

    Parameters
    ----------
    arrival_s, eta_s : (n,) seconds after the forecast
    samples : (n,) which forecasts were made together, of one courier at one instant

    ``rmse_averaged_min`` is the mean over forecasts of the error of their sample's root mean square. By Jensen it is
    never above ``rmse_pooled_min``, which is what one error of all rows is.
    """
    error_min = (eta_s - arrival_s) / 60.0
    _, code, count = np.unique(samples, return_inverse=True, return_counts=True)
    of_sample = np.sqrt(np.bincount(code, np.square(error_min)) / count)
    return {
        "mae_min": float(np.abs(error_min).mean()),
        "rmse_averaged_min": float((of_sample * count).sum() / count.sum()),
        "rmse_pooled_min": float(np.sqrt(np.square(error_min).mean())),
        "acc_20": float((np.abs(error_min) <= LADE_NEAR_MIN).mean()),
    }
