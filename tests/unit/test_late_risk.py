"""Late risk: a classifier made for it alone, to be held against the forecast's own distribution."""

from __future__ import annotations

import numpy as np
import pytest

from tests.builders import make_dataset
from training.boosters import BoosterSettings
from training.dataset import Dataset
from training.late_risk import LateClassifier
from training.metrics import expected_calibration_error

SMALL = BoosterSettings(trees=40, leaves=7, min_rows_in_leaf=20)


def promised(n: int = 4000, **dataset: int) -> tuple[Dataset, np.ndarray, np.ndarray]:
    """Rows, deadlines around their priors, and whether they were late."""
    rows = make_dataset(n, **dataset)
    deadline_s = rows.vectors.base_s + np.random.default_rng(5).normal(300, 900, n)
    return rows, deadline_s, (rows.arrival_s > deadline_s).astype(np.float64)


@pytest.fixture(scope="module")
def classifier() -> LateClassifier:
    found = LateClassifier.fit(*promised(), SMALL)
    assert found is not None
    return found


def test_probability_is_what_happens_on_days_that_were_not_seen(classifier: LateClassifier):
    rows, deadline_s, late = promised(3000, first_day=20, seed=4)
    told = classifier.late_probability(rows, deadline_s)
    assert expected_calibration_error(late, told) < 0.05
    assert np.square(told - late).mean() < 0.6 * np.square(late.mean() - late).mean()


def test_later_deadline_is_never_riskier(classifier: LateClassifier):
    rows, deadline_s, _ = promised(200, seed=6)
    told = [classifier.late_probability(rows, deadline_s + 120.0 * step) for step in range(-10, 11)]
    assert (np.diff(told, axis=0) <= 0).all()
    assert (told[0] > told[-1]).any()


def test_hardly_any_late_stop_teaches_no_classifier():
    rows, deadline_s, _ = promised(300)
    late = np.zeros(300)
    late[:20] = 1.0
    assert LateClassifier.fit(rows, deadline_s, late) is None
