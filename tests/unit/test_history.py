"""Rolling sums give the same windows however a log is cut, and they are what a plain model says."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.history import RollingSums, factorize, fading_mean, newest, weights

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
Found = list[tuple[list[int], list[int], list[int], list[int]]]


def batches(length: int, cuts: list[int]) -> list[slice]:
    edges = sorted({0, length, *(min(cut, length) for cut in cuts)})
    return [slice(a, b) for a, b in pairwise(edges)]


def advanced(log: Log, cuts: list[int], start_us: int = 0) -> tuple[Found, RollingSums]:
    """What every row found and left, fold by fold."""
    sums = RollingSums(WIDTH_US, COUNT)
    received_us = start_us + np.cumsum([step for _, step, _ in log], dtype=np.int64)
    values = np.array([value for _, _, value in log], np.int64)
    found: Found = []
    for part in batches(len(log), cuts):
        keys = [key for key, _, _ in log[part]]
        windows = sums.advance(keys, received_us[part], values[part])
        columns = (windows.before_sums, windows.before_counts, windows.sums, windows.counts)
        stacked = [np.stack(column, axis=1).tolist() for column in columns]
        found += zip(*stacked, strict=True)
    return found, sums


def modelled(log: Log, start_us: int = 0) -> Found:
    """The same by a dictionary of buckets."""
    sums: dict[tuple[str, int], int] = defaultdict(int)
    counts: dict[tuple[str, int], int] = defaultdict(int)
    found, now = [], start_us
    for key, step, value in log:
        now += step
        newest_first = [(key, now // WIDTH_US - back) for back in range(COUNT)]
        before = [sums[b] for b in newest_first], [counts[b] for b in newest_first]
        sums[newest_first[0]] += value
        counts[newest_first[0]] += 1
        found.append((*before, [sums[b] for b in newest_first], [counts[b] for b in newest_first]))
    return found


@thorough
@given(log=LOGS, cuts=CUTS, start_us=st.sampled_from([0, -37, 1_772_438_400_000_000]))
def test_any_split_of_a_log_gives_the_windows_of_a_plain_model(log: Log, cuts: list[int], start_us: int):
    assert advanced(log, cuts, start_us)[0] == modelled(log, start_us)


@thorough
@given(log=LOGS, cuts=CUTS)
def test_any_split_of_a_log_leaves_the_same_state(log: Log, cuts: list[int]):
    assert advanced(log, cuts)[1].state == advanced(log, [])[1].state


def test_sum_and_count_of_one_key_are_those_of_its_own_rows():
    found, _ = advanced([("a", 0, 5), ("b", 1, 100), ("a", 1, 7)], [])
    assert found[2] == ([5, 0, 0, 0], [1, 0, 0, 0], [12, 0, 0, 0], [2, 0, 0, 0])


def test_bucket_falls_out_when_the_window_has_moved_on():
    found, _ = advanced([("a", 0, 5), ("a", 39, 1), ("a", 1, 1)], [1, 2])
    assert found[1][2] == [1, 0, 0, 5]
    assert found[2][2] == [1, 1, 0, 0]


def test_state_of_a_key_that_is_not_in_a_batch_stays():
    _, sums = advanced([("a", 0, 5)], [])
    before = dict(sums.state)
    sums.advance(["b"], np.array([700], np.int64), np.array([1], np.int64))
    assert sums.state["a"] == before["a"]


def test_nothing_is_learned_from_an_empty_batch():
    sums = RollingSums(WIDTH_US, COUNT)
    windows = sums.advance([], np.zeros(0, np.int64), np.zeros(0, np.int64))
    assert [len(part) for part in windows.sums] == [0] * COUNT
    assert sums.state == {}


def test_weights_halve_every_half_life():
    assert weights(5, 2.0)[::2] == pytest.approx([1.0, 0.5, 0.25])


def test_fading_mean_weighs_old_buckets_less():
    sums = [np.array([10, 0]), np.array([40, 0])]
    counts = [np.array([1, 0]), np.array([2, 0])]
    mean, weight = fading_mean(sums, counts, [1.0, 0.5], 0.1)
    assert mean.tolist() == pytest.approx([(10 + 20) / (1 + 1) * 0.1, 0.0])
    assert weight.tolist() == [2.0, 0.0]


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
        keys, happened_us = [key for key, _ in rows[part]], [happened for _, happened in rows[part]]
        found += newest(keys, np.array(happened_us, np.int64), latest).tolist()
    assert found == expected
    assert latest == model


def test_keys_are_numbered_by_first_appearance():
    codes, keys = factorize(["b", None, "a", "b", None])
    assert codes.tolist() == [0, 1, 2, 0, 1]
    assert keys == ["b", None, "a"]
