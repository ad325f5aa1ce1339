"""A dead feed, a new zone, a new courier: each situation has the width that its errors ask for, and is named."""

from __future__ import annotations

import json

import numpy as np
import pytest

from features.feeds import FEED_COLUMNS
from features.vectors import FEATURE_NAMES, FEEDS
from tests.builders import make_dataset, make_vectors
from training.boosters import BoosterSettings
from training.calibration import Raw
from training.dataset import Dataset
from training.forecaster import train
from training.situations import NEW_WIDTH, Situations, name_of, with_dropout

SMALL = BoosterSettings(trees=40, leaves=7, learning_rate=0.15, min_rows_in_leaf=20)
JAM, PACE = FEATURE_NAMES.index("path_jam"), FEATURE_NAMES.index("target_jam")


def jammed(n: int = 6000, seed: int = 0, **dataset: int) -> Dataset:
    """Rows whose lateness traffic tells: without it, they are far less certain."""
    rows = make_dataset(n, seed=seed, **dataset)
    jam = np.random.default_rng(seed + 50).normal(size=n)
    rows.vectors.matrix[:, [JAM, PACE]] = jam[:, None]
    for name, value in (("phase", 1.0), ("target_evidence", 40.0), ("courier_evidence", 9.0)):
        rows.vectors.matrix[:, FEATURE_NAMES.index(name)] = value
    noise = np.random.default_rng(seed + 51).normal(size=n)
    return Dataset(
        rows.vectors, rows.rows, rows.vectors.base_s + 600 * jam + 60 * noise, rows.outcome_known_us
    )


def test_dead_feed_widens_the_window_by_as_much_as_it_costs():
    forecaster = train(jammed(), name="punctual-eta", version="1", settings=SMALL)
    fresh = jammed(seed=9, first_day=20)
    dead = jammed(seed=9, first_day=20)
    dead.vectors.ages_s["traffic"][:] = np.nan
    dead.vectors.matrix[:, FEED_COLUMNS["traffic"]] = np.nan

    def judged(rows: Dataset) -> tuple[float, float]:
        start_s, end_s = forecaster.forecast(rows.vectors).window(0.8)
        inside = (rows.arrival_s >= start_s) & (rows.arrival_s <= end_s)
        return float(inside.mean()), float((end_s - start_s).mean())

    alive_coverage, alive_s = judged(fresh)
    dead_coverage, dead_s = judged(dead)
    assert alive_coverage == pytest.approx(0.8, abs=0.04)
    assert dead_coverage == pytest.approx(0.8, abs=0.04)
    assert dead_s > 2.5 * alive_s


def test_stale_feed_is_taken_as_dead():
    forecaster = train(jammed(2000), name="punctual-eta", version="1", settings=SMALL)
    stale, dead = jammed(50, seed=3), jammed(50, seed=3)
    stale.vectors.ages_s["traffic"][:] = 7_200.0
    dead.vectors.ages_s["traffic"][:] = np.nan
    dead.vectors.matrix[:, FEED_COLUMNS["traffic"]] = np.nan
    assert np.array_equal(forecaster.forecast(stale.vectors).grid_s, forecaster.forecast(dead.vectors).grid_s)


def test_dropout_strikes_feeds_of_copies_and_leaves_the_rows_themselves():
    rows = jammed(2000)
    situations = Situations.of(rows.vectors)
    both = with_dropout(rows, situations, 7)
    assert 0.2 * len(rows) < len(both) - len(rows) <= 0.25 * len(rows)
    assert np.array_equal(both.vectors.matrix[: len(rows)], rows.vectors.matrix)
    codes = situations.codes(both.vectors)
    assert (codes[: len(rows)] == 0).all() and (codes[len(rows) :] != 0).all()
    lost = np.array([int(code).bit_count() for code in codes[len(rows) :]])
    assert (lost == 1).mean() > 0.4 and (lost == len(FEEDS)).mean() > 0.2


def test_set_without_feeds_is_learned_from_as_it_is():
    rows = jammed(300)
    for age in rows.vectors.ages_s.values():
        age[:] = np.nan
    situations = Situations.of(rows.vectors)
    assert situations.feeds == () and with_dropout(rows, situations, 7) is rows


def test_new_zone_and_courier_are_named_and_wider():
    forecaster = train(jammed(2000), name="punctual-eta", version="1", settings=SMALL)
    known = make_vectors(2, target_evidence=[40.0, 40.0], courier_evidence=[9.0, 9.0])
    new = make_vectors(2, target_evidence=[0.0, 40.0], courier_evidence=[9.0, 0.0])
    assert forecaster.unfamiliar(known) == [[], []]
    assert forecaster.unfamiliar(new) == [["zone"], ["courier"]]


def test_situation_never_seen_is_as_wide_as_the_widest_that_lacks_less():
    draw = np.random.default_rng(1)
    n = 4000
    raw = Raw(*(np.full(n, s) for s in (3000.0, 300.0, 300.0, 3000.0)))
    codes = np.where(np.arange(n) % 2, 1, 0)
    arrival_s = 3000.0 + 234.0 * draw.normal(size=n) * np.where(codes == 1, 2.0, 1.0)
    found = Situations(tuple(FEEDS), ("zone", "courier")).fit(raw, arrival_s, codes)
    wide, both = np.array(found.factors["telemetry"]), np.array(found.factors["telemetry, traffic"])
    assert (wide > 1.2).all()
    assert both == pytest.approx(wide)
    assert np.array(found.factors["telemetry, new zone"]) == pytest.approx(NEW_WIDTH * wide)
    assert len(found.factors) == 128 and name_of(0) == ""
    again = Situations.load(
        **json.loads(json.dumps({"feeds": found.feeds, "evidence": found.evidence, "factors": found.factors}))
    )
    assert again == found
