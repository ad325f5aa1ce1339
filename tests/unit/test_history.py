"""Rolling sums give the same windows however a log is cut, and they are what a plain model says."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.history import Bucketed, RollingSums, newest, weights
from features.keys import Keys, factorize

WIDTH_US, COUNT = 10, 4
thorough = settings(max_examples=60, deadline=None, derandomize=True)

#: (key, time since the row before, value): mostly close together, sometimes buckets apart.
LOGS = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.sampled_from([0, 0, 1, 3, 9, 10, 11, 35, 40, 41, 500]),
        st.integers(-(10**9), 10**9),
    ),
    max_size=40,
)
CUTS = st.lists(st.integers(0, 40), max_size=6)
Log = list[tuple[str, int, int]]
HALF_LIFE, UNIT = 2.0, 0.1
#: Of every row: mean and weight before and after, plain sum and count.
Found = list[tuple[float, float, float, float, int, int]]


def batches(length: int, cuts: list[int]) -> list[slice]:
    edges = sorted({0, length, *(min(cut, length) for cut in cuts)})
    return [slice(a, b) for a, b in pairwise(edges)]


def advanced(log: Log, cuts: list[int], start_us: int = 0) -> tuple[Found, RollingSums, RollingSums]:
    """What every row found and left, fold by fold."""
    means, totals = RollingSums(WIDTH_US, COUNT), RollingSums(WIDTH_US, COUNT)
    received_us = start_us + np.cumsum([step for _, step, _ in log], dtype=np.int64)
    values = np.array([value for _, _, value in log], np.int64)
    found: Found = []
    for part in batches(len(log), cuts):
        keys = Keys.of([key for key, _, _ in log[part]])
        fading = means.advance_means(keys, received_us[part], values[part], HALF_LIFE, UNIT)
        sums, counts = totals.advance_totals(keys, received_us[part], values[part])
        columns = (fading.before_mean, fading.before_weight, fading.mean, fading.weight, sums, counts)
        found += zip(*[column.tolist() for column in columns], strict=True)
    return found, means, totals


def modelled(log: Log, start_us: int = 0) -> Found:
    """The same by a dictionary of buckets."""
    sums: dict[tuple[str, int], int] = defaultdict(int)
    counts: dict[tuple[str, int], int] = defaultdict(int)
    found, now = [], start_us
    for key, step, value in log:
        now += step
        newest_first = [(key, now // WIDTH_US - back) for back in range(COUNT)]
        before = faded([sums[b] for b in newest_first], [counts[b] for b in newest_first])
        sums[newest_first[0]] += value
        counts[newest_first[0]] += 1
        left = [sums[b] for b in newest_first], [counts[b] for b in newest_first]
        found.append((*before, *faded(*left), sum(left[0]), sum(left[1])))
    return found


def faded(sums: list[int], counts: list[int]) -> tuple[float, float]:
    """Mean and weight of buckets, newest first: the old ones first, then the newest, as floats add up."""
    fade = weights(COUNT, HALF_LIFE)
    top = sum(w * s for w, s in zip(fade[1:], sums[1:], strict=True)) + sums[0]
    bottom = sum(w * c for w, c in zip(fade[1:], counts[1:], strict=True)) + counts[0]
    return (top / bottom * UNIT if bottom > 0 else 0.0), bottom


def remembered(sums: RollingSums) -> dict[str, Bucketed | None]:
    return {key: sums.known(key) for key in sums.state}


@thorough
@given(log=LOGS, cuts=CUTS, start_us=st.sampled_from([0, -37, 1_772_438_400_000_000]))
def test_any_split_of_a_log_gives_the_windows_of_a_plain_model(log: Log, cuts: list[int], start_us: int):
    assert advanced(log, cuts, start_us)[0] == modelled(log, start_us)


@thorough
@given(log=LOGS, cuts=CUTS)
def test_any_split_of_a_log_leaves_the_same_state(log: Log, cuts: list[int]):
    _, means, totals = advanced(log, [])
    _, again, totals_again = advanced(log, cuts)
    assert remembered(again) == remembered(means)
    assert remembered(totals_again) == remembered(totals) == remembered(means)


def test_sum_and_count_of_one_key_are_those_of_its_own_rows():
    found, means, _ = advanced([("a", 0, 5), ("b", 1, 100), ("a", 1, 7)], [])
    assert found[2][4:] == (12, 2)
    assert means.known("a") == Bucketed(0, (12, 0, 0, 0), (2, 0, 0, 0))


def test_bucket_falls_out_when_the_window_has_moved_on():
    log = [("a", 0, 5), ("a", 39, 1), ("a", 1, 1)]
    assert [advanced(log[:n], [1])[1].known("a").sums for n in (2, 3)] == [(1, 0, 0, 5), (1, 1, 0, 0)]


def test_state_of_a_key_that_is_not_in_a_batch_stays():
    _, sums, _ = advanced([("a", 0, 5)], [])
    before = remembered(sums)
    sums.advance_totals(Keys.of(["b"]), np.array([700], np.int64), np.array([1], np.int64))
    assert sums.known("a") == before["a"]


def test_state_that_was_kept_is_taken_up_again():
    _, sums, _ = advanced([("a", 0, 5), ("a", 25, 7)], [])
    again = RollingSums(WIDTH_US, COUNT)
    again.restore("a", sums.known("a"))
    assert remembered(again) == remembered(sums)


def test_nothing_is_learned_from_an_empty_batch():
    sums, nothing = RollingSums(WIDTH_US, COUNT), np.zeros(0, np.int64)
    assert len(sums.advance_means(Keys.of([]), nothing, nothing, HALF_LIFE, UNIT).mean) == 0
    assert [len(part) for part in sums.advance_totals(Keys.of([]), nothing, nothing)] == [0, 0]
    assert len(sums.state) == 0


def test_weights_halve_every_half_life():
    assert weights(5, 2.0)[::2] == pytest.approx([1.0, 0.5, 0.25])


@thorough
@given(
    rows=st.lists(st.tuples(st.sampled_from("abc"), st.integers(-3, 6)), max_size=30),
    cuts=CUTS,
    known=st.dictionaries(st.sampled_from("abcd"), st.integers(-2, 3)),
)
def test_newest_keeps_what_is_as_new_as_anything_seen_of_its_key(
    rows: list[tuple[str, int]], cuts: list[int], known: dict[str, int]
):
    expected, model = [], dict(known)
    for key, happened in rows:
        expected.append(happened >= model.get(key, happened))
        model[key] = max(happened, model.get(key, happened))
    latest, found = dict(known), []
    for part in batches(len(rows), cuts):
        keys, happened_us = Keys.of([key for key, _ in rows[part]]), [happened for _, happened in rows[part]]
        found += newest(keys, np.array(happened_us, np.int64), latest).tolist()
    assert found == expected
    assert latest == model


def test_keys_are_numbered_by_first_appearance():
    codes, keys = factorize(["b", None, "a", "b", None])
    assert codes.tolist() == [0, 1, 2, 0, 1]
    assert keys == ["b", None, "a"]


NAMES = st.lists(st.sampled_from(["a", "b", "c|d", "", None]), max_size=30)


@thorough
@given(names=NAMES, others=NAMES)
def test_keys_are_the_strings_that_they_were_made_of(names: list[str | None], others: list[str | None]):
    for keys in (Keys.of(names), Keys.of(pl.Series(names, dtype=pl.String))):
        assert [keys.names[code] if code >= 0 else None for code in keys.codes.tolist()] == names
        assert keys.to_arrow().to_pylist() == names
        hours = np.arange(len(names), dtype=np.int64) % 24
        at_hours = keys.with_numbers(hours, lambda name, hour: f"{name}@{hour}")
        expected = [f"{name}@{i % 24}" if name is not None else None for i, name in enumerate(names)]
        assert at_hours.to_arrow().to_pylist() == expected
    pairs = [(a, b) for a, b in zip(names, others, strict=False) if a is not None and b is not None]
    first, second = Keys.of([a for a, _ in pairs]), Keys.of([b for _, b in pairs])
    assert list(first.with_keys(second, lambda a, b: f"{a}>{b}")) == [f"{a}>{b}" for a, b in pairs]


def test_many_keys_are_numbered_as_few_are():
    names = [f"k{i % 700}" for i in range(5_000)]
    keys = Keys.of(names)
    assert list(keys) == names
    again = keys.with_numbers(np.arange(5_000, dtype=np.int64) % 3, lambda name, n: f"{name}/{n}")
    assert list(again) == [f"{name}/{i % 3}" for i, name in enumerate(names)]
