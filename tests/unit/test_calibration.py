"""Windows hold what they promise, on rows that calibration has not seen, and again after the world has moved."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from training.calibration import (
    GROUP_EDGES_MIN,
    HIGH,
    LOW,
    NARROWEST_S,
    Calibrator,
    Raw,
    conformal_quantiles,
    group_of,
)
from training.online import EVERY, OnlineCalibrator, Outcomes, Stake, replay_online, sides_of
from training.quantiles import GRID
from training.spread import ZoneSpread

Float = NDArray[np.float64]
thorough = settings(max_examples=60, deadline=None, derandomize=True)
TOO_NARROW = 0.4


def make_raw(n: int, seed: int = 0) -> tuple[Raw, Float]:
    """Boosters that are far too sure of themselves, and outcomes whose noise grows with the horizon, skewed."""
    draw = np.random.default_rng(seed)
    median_s = draw.uniform(120, 25_000, n)
    spread_s = 0.15 * median_s + 60
    arrival_s = median_s + spread_s * (draw.gamma(2.0, 1.0, n) - 1.6)
    below_s, above_s = TOO_NARROW * spread_s, TOO_NARROW * spread_s
    return Raw.of(median_s - below_s, median_s, median_s + above_s, median_s), arrival_s


def covered(start_s: Float, end_s: Float, arrival_s: Float) -> float:
    return float(((arrival_s >= start_s) & (arrival_s <= end_s)).mean())


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9])
def test_window_covers_what_it_promises_where_the_boosters_do_not(coverage: float):
    calibrator = Calibrator.fit(*make_raw(8000, seed=1))
    raw, arrival_s = make_raw(20_000, seed=2)
    assert covered(raw.median_s - raw.below_s, raw.median_s + raw.above_s, arrival_s) < 0.4
    assert covered(*calibrator.forecast(raw).window(coverage), arrival_s) == pytest.approx(coverage, abs=0.02)


def test_each_quantile_has_its_share_of_outcomes_below_it():
    calibrator = Calibrator.fit(*make_raw(8000, seed=3))
    raw, arrival_s = make_raw(20_000, seed=4)
    below = (arrival_s[:, None] <= calibrator.forecast(raw).grid_s).mean(axis=0)
    assert below == pytest.approx(GRID, abs=0.02)


def test_each_horizon_is_covered_on_its_own():
    calibrator = Calibrator.fit(*make_raw(20_000, seed=5))
    raw, arrival_s = make_raw(40_000, seed=6)
    start_s, end_s = calibrator.forecast(raw).window(0.8)
    groups = group_of(raw.median_s)
    for group in np.unique(groups):
        rows = groups == group
        if rows.sum() > 1000:
            assert covered(start_s[rows], end_s[rows], arrival_s[rows]) == pytest.approx(0.8, abs=0.035)


def test_small_group_leans_on_all_rows():
    raw, arrival_s = make_raw(4000, seed=7)
    short = raw.median_s < 40 * 60
    few = np.concatenate([np.flatnonzero(~short), np.flatnonzero(short)[:2]])
    of_few = Calibrator.fit(Raw.of(*(part[few] for part in bounds(raw))), arrival_s[few]).shapes
    spread = np.abs(of_few[0] - of_few[-1]).max()
    assert spread < 0.5 * np.abs(of_few[-1]).max()


def bounds(raw: Raw) -> tuple[Float, Float, Float, Float]:
    return raw.median_s - raw.below_s, raw.median_s, raw.median_s + raw.above_s, raw.mean_s


def test_forecast_of_nothing_learned_is_the_median():
    raw, _ = make_raw(4)
    calibrator = Calibrator.fit(Raw.of(*(part[:0] for part in bounds(raw))), np.zeros(0))
    assert calibrator.forecast(raw).grid_s == pytest.approx(
        np.repeat(raw.median_s[:, None], len(GRID), axis=1)
    )


NUMBERS_S = st.floats(-5_000, 40_000)


@thorough
@given(
    rows=st.lists(st.tuples(NUMBERS_S, NUMBERS_S, NUMBERS_S, NUMBERS_S), min_size=1, max_size=20),
    shift=st.lists(st.floats(-3, 3), min_size=len(GRID), max_size=len(GRID)),
)
def test_quantiles_never_cross_whatever_the_boosters_say(
    rows: list[tuple[float, float, float, float]], shift: list[float]
):
    columns = np.array(rows).T
    raw = Raw.of(*columns)
    calibrator = Calibrator.fit(*make_raw(300))
    for grid_s in (calibrator.forecast(raw).grid_s, calibrator.forecast(raw, np.array(shift)).grid_s):
        assert (np.diff(grid_s, axis=1) >= 0).all()
        assert (grid_s >= 0).all()
        assert np.isfinite(grid_s).all()


def test_crossing_boosters_still_leave_a_narrow_spread():
    raw = Raw.of(*(np.array([value]) for value in (700.0, 600.0, 500.0, 600.0)))
    assert (raw.below_s, raw.above_s) == (NARROWEST_S, NARROWEST_S)
    assert raw.scores(np.array([600.0 + 2 * NARROWEST_S])) == 2.0
    assert raw.scores(np.array([600.0 - 2 * NARROWEST_S])) == -2.0


def test_horizon_groups_end_at_their_edges():
    edges_s = np.array(GROUP_EDGES_MIN) * 60
    assert group_of(edges_s).tolist() == list(range(len(edges_s)))
    assert group_of(edges_s + 1e-6).tolist() == list(range(1, len(edges_s) + 1))


def test_conformal_quantiles_step_outwards():
    scores = np.arange(1.0, 100.0)
    found = dict(zip(GRID.tolist(), conformal_quantiles(scores).tolist(), strict=True))
    assert (found[0.1], found[0.5], found[0.9], found[0.99]) == (10.0, 50.0, 90.0, 99.0)
    few = conformal_quantiles(np.array([3.0, 1.0, 2.0]))
    assert (few[0], few[-1]) == (1.0, 3.0)
    assert (np.diff(few) >= 0).all()


# --- zones ------------------------------------------------------------------------------------------------


def zoned(n: int, seed: int) -> tuple[Raw, Float, list[str]]:
    """Errors in the zone "wild" are twice as large as the boosters tell zones apart."""
    raw, arrival_s = make_raw(n, seed=seed)
    wild = np.random.default_rng(seed + 1000).random(n) < 0.3
    arrival_s = raw.median_s + np.where(wild, 2.0, 1.0) * (arrival_s - raw.median_s)
    return raw, arrival_s, np.where(wild, "wild", "calm").tolist()


def test_each_zone_is_covered_on_its_own():
    raw, arrival_s, zones = zoned(20_000, seed=21)
    spread = ZoneSpread.fit(raw, arrival_s, zones)
    calibrator = Calibrator.fit(spread.apply(raw, zones), arrival_s)
    raw, arrival_s, zones = zoned(20_000, seed=22)
    start_s, end_s = calibrator.forecast(spread.apply(raw, zones)).window(0.8)
    for zone in ("wild", "calm"):
        rows = np.array(zones) == zone
        assert covered(start_s[rows], end_s[rows], arrival_s[rows]) == pytest.approx(0.8, abs=0.02)


def test_zone_of_few_rows_leans_on_its_horizon_and_an_unknown_one_keeps_it():
    raw, arrival_s, zones = zoned(4000, seed=23)
    zones[0] = "once"
    spread = ZoneSpread.fit(raw, arrival_s, zones)
    assert np.array(spread.factors["once"]) == pytest.approx(1.0, abs=0.02)
    one = Raw(*(part[:1] for part in (raw.median_s, raw.below_s, raw.above_s, raw.mean_s)))
    assert spread.apply(one, ["never seen"]).above_s == one.above_s
    assert spread.apply(one, [None]).below_s == one.below_s
    assert spread.apply(one, []) is one


def test_no_zones_teach_no_spread():
    raw, arrival_s = make_raw(50)
    assert ZoneSpread.fit(raw, arrival_s, []).factors == {}


# --- online -----------------------------------------------------------------------------------------------

N_LIVE = 6000


def live(seed: int = 11, slower: float = 1.0) -> tuple[Raw, Float, NDArray[np.int64], NDArray[np.int64]]:
    """A stream a minute apart whose errors are ``slower`` times as large as those calibration has seen."""
    raw, arrival_s = make_raw(N_LIVE, seed=seed)
    arrival_s = raw.median_s + slower * (arrival_s - raw.median_s)
    as_of_us = np.arange(N_LIVE, dtype=np.int64) * 60_000_000
    return raw, arrival_s, as_of_us, as_of_us + np.rint(arrival_s.clip(1) * 1e6).astype(np.int64)


def test_online_calibration_finds_its_coverage_again_after_a_shift():
    calibrator = Calibrator.fit(*make_raw(8000, seed=10))
    raw, arrival_s, as_of_us, known_us = live(slower=1.6)
    frozen = calibrator.forecast(raw)
    tracked = replay_online(calibrator, raw, arrival_s, as_of_us, known_us)
    late = slice(3000, None)

    def coverage(forecast: object) -> float:
        start_s, end_s = forecast.window(0.8)  # type: ignore[attr-defined]
        return covered(start_s[late], end_s[late], arrival_s[late])

    assert coverage(frozen) < 0.70
    assert coverage(tracked) == pytest.approx(0.8, abs=0.025)


def test_online_calibration_leaves_a_calibrated_stream_all_but_as_it_is():
    """What goes outwards by chance is taken back by what is steady, within a day."""
    calibrator = Calibrator.fit(*make_raw(8000, seed=10))
    raw, arrival_s, as_of_us, known_us = live()
    window = replay_online(calibrator, raw, arrival_s, as_of_us, known_us).window(0.8)
    start_s, end_s = (edge[1500:] for edge in window)
    assert covered(start_s, end_s, arrival_s[1500:]) == pytest.approx(0.8, abs=0.02)
    assert 0.79 < covered(*window, arrival_s) < 0.83


def test_pace_of_the_tracker_does_not_hang_on_the_width_of_the_raw_spread():
    raw, arrival_s, as_of_us, known_us = live(slower=1.6)
    fitted, outcomes = make_raw(2000, seed=10)
    grids = []
    for wider in (1.0, 8.0):
        calibrator = Calibrator.fit(rescaled(fitted, wider), outcomes)
        grids.append(
            replay_online(calibrator, rescaled(raw, wider), arrival_s, as_of_us, known_us).grid_s[:500]
        )
    assert grids[0] == pytest.approx(grids[1], rel=2e-3)


def rescaled(raw: Raw, wider: float) -> Raw:
    return Raw(raw.median_s, wider * raw.below_s, wider * raw.above_s, raw.mean_s)


def test_outcome_that_was_not_known_yet_moves_no_forecast():
    calibrator = Calibrator.fit(*make_raw(500))
    raw, arrival_s, as_of_us, known_us = (part if isinstance(part, Raw) else part[:400] for part in live())
    raw = Raw.of(*(part[:400] for part in bounds(raw)))
    until_us = as_of_us[200]
    poisoned_s = np.where(known_us > until_us, 1e9, arrival_s)
    honest = replay_online(calibrator, raw, arrival_s, as_of_us, known_us).grid_s
    poisoned = replay_online(calibrator, raw, poisoned_s, as_of_us, known_us).grid_s
    assert np.array_equal(honest[:201], poisoned[:201])
    assert not np.array_equal(honest[201:], poisoned[201:])


def test_order_of_the_rows_does_not_matter_to_the_replay():
    calibrator = Calibrator.fit(*make_raw(500))
    raw, arrival_s, as_of_us, known_us = live()
    raw, arrival_s, as_of_us, known_us = (
        Raw.of(*(part[:300] for part in bounds(raw))),
        arrival_s[:300],
        as_of_us[:300],
        known_us[:300],
    )
    order = np.random.default_rng(5).permutation(300)
    straight = replay_online(calibrator, raw, arrival_s, as_of_us, known_us).grid_s
    shuffled = replay_online(
        calibrator,
        Raw.of(*(part[order] for part in bounds(raw))),
        arrival_s[order],
        as_of_us[order],
        known_us[order],
    ).grid_s
    assert np.array_equal(straight[order], shuffled)


SHAPE = np.linspace(-2, 2, len(GRID))
MINUTE_US, HOUR_US = 60_000_000, 3_600_000_000


def outcomes(
    scores: float | list[float],
    told: Float | None = None,
    sides: tuple[str, ...] = (),
    median_s: float = 1800.0,
) -> Outcomes:
    """Settled forecasts of one horizon, told as they were moved, or unmoved."""
    found = np.atleast_1d(np.array(scores, np.float64))
    n = len(found)
    moved = np.zeros((n, len(GRID))) if told is None else np.tile(told, (n, 1))
    return Outcomes(found, np.full(n, median_s), np.tile(SHAPE, (n, 1)), moved, [sides] * n)


def shift(online: OnlineCalibrator, sides: tuple[str, ...] = (), median_s: float = 1800.0) -> Float:
    return online.shifts(np.array([median_s]), [sides])[0]


def test_stop_that_was_never_reached_teaches_the_tracker_nothing():
    online = OnlineCalibrator()
    online.learn(outcomes(float("nan")), 0)
    assert online.seen == 0 and not shift(online).any() and not online.parts


def test_tracker_widens_on_the_side_of_a_miss_and_moves_its_median_little():
    late, early = OnlineCalibrator(), OnlineCalibrator()
    late.learn(outcomes(10.0), 0)
    early.learn(outcomes(-10.0), 0)
    low, middle, high = LOW, len(GRID) // 2, HIGH
    assert shift(late)[high] > 4 * shift(late)[middle] > 0
    assert shift(early)[low] < 4 * shift(early)[middle] < 0
    assert 0 < shift(late)[low] < shift(late)[middle]
    assert -shift(early)[::-1] == pytest.approx(shift(late), abs=2e-3)


def test_what_was_learned_outwards_is_forgotten_when_outcomes_lie_inside_again():
    online, widest = OnlineCalibrator(), 0.0
    for minute in range(2000):
        told = shift(online)
        online.learn(
            outcomes(5.0 if minute < 20 else [-3.0, *np.linspace(-2, 2, 60), 3.0], told), minute * MINUTE_US
        )
        widest = max(widest, told[HIGH])
    assert widest > 1.0 and abs(shift(online)[HIGH]) < widest / 8


def test_outcomes_of_one_instant_are_one_lesson():
    alone, together = OnlineCalibrator(), OnlineCalibrator()
    alone.learn(outcomes(10.0), 0)
    together.learn(outcomes([10.0] * 14), 0)
    assert shift(together) == pytest.approx(shift(alone), abs=2e-4) and together.seen == 1


def test_a_thousand_outcomes_of_one_hour_count_for_little_more_than_its_first_few():
    few, many = OnlineCalibrator(), OnlineCalibrator()
    for place in range(1000):
        many.learn(outcomes(10.0), place * HOUR_US // 1000)
        if place % 50 == 0:
            few.learn(outcomes(10.0), place * HOUR_US // 1000)
    assert shift(many)[HIGH] < 2.0 * shift(few)[HIGH]


def test_a_miss_counts_as_it_was_told_whatever_was_learned_since():
    """A window that widened after a forecast was made does not make that forecast right."""
    wide, online = np.where(GRID > 0.5, 20.0, -20.0), OnlineCalibrator()
    online.learn(outcomes(10.0, told=wide), 0)
    hit = online.error[HIGH]
    online = OnlineCalibrator()
    online.learn(outcomes(10.0), 0)
    assert hit < 0 < online.error[HIGH]


@thorough
@given(seed=st.integers(0, 2**20), n=st.integers(1, 60))
def test_a_step_is_bounded_however_far_off_the_outcomes_are(seed: int, n: int):
    draw, online = np.random.default_rng(seed), OnlineCalibrator()
    before, now_us = shift(online, ("zone:Z", "hour:6")), 0
    for score in draw.standard_cauchy(n) * 1e6:
        now_us += int(draw.integers(0, 10 * HOUR_US))
        online.learn(outcomes(float(score), before, ("zone:Z", "hour:6")), now_us)
        after = shift(online, ("zone:Z", "hour:6"))
        width = SHAPE[HIGH] - SHAPE[LOW]
        assert np.abs(after - before).max() <= 0.3 * width
        before = after


def test_a_zone_learns_its_own_and_leaves_the_others_what_all_have_learned():
    draw, online = np.random.default_rng(3), OnlineCalibrator()
    for lesson in range(4000):
        zone, wider = (("zone:wild",), 2.0) if lesson % 4 == 0 else (("zone:calm",), 1.0)
        score = float(np.interp(draw.random(), GRID, SHAPE)) * wider
        online.learn(outcomes(score, shift(online, zone), zone), lesson * 5 * MINUTE_US)
    wild, calm, new = (shift(online, (f"zone:{zone}",)) for zone in ("wild", "calm", "never seen"))
    assert wild[HIGH] > calm[HIGH] + 0.5 and wild[LOW] < calm[LOW] - 0.5
    assert new == pytest.approx(shift(online))


@pytest.mark.parametrize("slower", [1.6, 2.5])
def test_coverage_is_found_again_within_three_hundred_outcomes(slower: float):
    calibrator = Calibrator.fit(*make_raw(8000, seed=10))
    coverages = []
    for seed in range(4):
        raw, arrival_s, as_of_us, _ = live(seed=30 + seed, slower=slower)
        window = replay_online(calibrator, raw, arrival_s, as_of_us, as_of_us + 1).window(0.8)
        start_s, end_s = (edge[300:1300] for edge in window)
        coverages.append(covered(start_s, end_s, arrival_s[300:1300]))
    assert np.mean(coverages) >= 0.78


def test_tracker_goes_on_after_a_restart():
    scores = np.random.default_rng(1).normal(size=40)
    straight, stopped = OnlineCalibrator(), OnlineCalibrator()
    for minute, score in enumerate(scores):
        straight.learn(outcomes(score, sides=("zone:Z",)), minute * MINUTE_US)
        stopped.learn(outcomes(score, sides=("zone:Z",)), minute * MINUTE_US)
        stopped = OnlineCalibrator.from_json(json.loads(json.dumps(stopped.to_json())))
    assert stopped.to_json() == straight.to_json()
    assert stopped.seen == 40


def test_tracker_learns_from_what_was_kept_of_the_forecasts_as_it_does_from_the_forecasts():
    calibrator = Calibrator.fit(*make_raw(500))
    raw, arrival_s = make_raw(6, seed=3)
    told, sides = (
        np.round(np.random.default_rng(1).normal(size=(6, len(GRID))), 3),
        [("zone:Z-1", "hour:6")] * 6,
    )
    stakes = [
        Stake(sides=side, median_s=m, below_s=b, above_s=a, told=tuple(moved))
        for side, m, b, a, moved in zip(
            sides,
            raw.median_s.tolist(),
            raw.below_s.tolist(),
            raw.above_s.tolist(),
            told.tolist(),
            strict=True,
        )
    ]
    kept = [Stake.from_json(json.loads(json.dumps(stake.to_json()))) for stake in stakes]
    straight, through = OnlineCalibrator(), OnlineCalibrator()
    straight.learn(Outcomes.of(calibrator, raw, arrival_s, told, sides), 7)
    through.observe(calibrator, kept, arrival_s.tolist(), 7)
    assert through.to_json() == straight.to_json() and through.seen == 1
    through.observe(calibrator, [], [], 8)
    through.observe(calibrator, kept[:1], [float("nan")], 8)
    assert through.to_json() == straight.to_json()
    assert [stake.horizon for stake in kept] == group_of(raw.median_s).tolist()


def test_what_a_calibrator_learned_does_not_change_the_one_it_was_copied_from():
    online = OnlineCalibrator()
    online.learn(outcomes(3.0, sides=("hour:6",)), 0)
    then, went_on = online.to_json(), online.copy()
    went_on.learn(outcomes(3.0, sides=("zone:Z",)), HOUR_US)
    assert online.to_json() == then
    assert set(went_on.changed_since(online)) == {EVERY, "3", "zone:Z"}


def test_a_stop_is_told_apart_by_its_zone_and_its_band_of_the_day():
    assert sides_of("Z-1", 7.5) == ("zone:Z-1", "hour:6")
    assert sides_of(None, 23.0) == ("hour:21",)
    assert sides_of("Z-1", float("nan")) == ("zone:Z-1",)


def test_each_zone_is_covered_at_each_horizon_where_only_its_far_ones_are_wild():
    def far(n: int, seed: int) -> tuple[Raw, Float, list[str]]:
        raw, arrival_s, zones = zoned(n, seed)
        calm_near = (np.array(zones) == "wild") & (raw.median_s < 80 * 60)
        half = raw.median_s + 0.5 * (arrival_s - raw.median_s)
        return raw, np.where(calm_near, half, arrival_s), zones

    raw, arrival_s, zones = far(60_000, 24)
    spread = ZoneSpread.fit(raw, arrival_s, zones)
    calibrator = Calibrator.fit(spread.apply(raw, zones), arrival_s)
    raw, arrival_s, zones = far(60_000, 25)
    start_s, end_s = calibrator.forecast(spread.apply(raw, zones)).window(0.8)
    for zone in ("wild", "calm"):
        for near in (True, False):
            rows = (np.array(zones) == zone) & ((raw.median_s < 80 * 60) == near)
            assert covered(start_s[rows], end_s[rows], arrival_s[rows]) == pytest.approx(0.8, abs=0.035)
