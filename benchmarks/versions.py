"""Made-up versions of a view."""

from __future__ import annotations

import numpy as np

from features.online import Versions
from features.views import View

SEED = 7
START_US = 1_767_571_200_000_000
SPAN_US = 30 * 86_400_000_000
ENTITIES = 5_000


def random_versions(view: View, count: int, rng: np.random.Generator, entities: int = ENTITIES) -> Versions:
    """Versions in the order in which they became known, over a month."""
    return Versions(
        view=view,
        ids=[f"e{i}" for i in rng.integers(0, entities, count)],
        values=rng.normal(size=(count, len(view.fields))).astype(np.float32),
        known_us=np.sort(rng.integers(START_US, START_US + SPAN_US, count)),
        created_us=np.arange(count, dtype=np.int64),
    )
