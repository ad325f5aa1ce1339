"""Label leaks: raw columns that say more of the outcome than anything known when the forecast is asked for.

A column without a declared known-at time is named when it cuts the cross-validated error by 20 % or more beyond what
is known, or when the outcome determines it within a group (AUC of 0.99 or more). Both are signs, and neither is a
proof: whoever knows when the column is written decides, and declares it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.audit.determined import Determined, Outcomes
from pipelines.audit.raw import RawForecasts
from pipelines.audit.raw_columns import Float, Integers, as_numbers, clock_columns, codes, learnt_means
from training.boosters import BoosterSettings, Predictor, fit

ERROR_CUT = 0.20
AUC = 0.99
SAMPLE_ROWS = 20_000
FEWEST_ROWS = 500
FEWEST_FILLED = 300
FOLDS = 3
INNER_PARTS = 4
FEWEST_GROUPS = 2
SETTINGS = BoosterSettings(trees=80, leaves=31, learning_rate=0.1, min_rows_in_leaf=20, feature_share=1.0)
SEED = 3


class Sign(StrEnum):
    """Why a column is named, or why not."""

    CUTS_THE_ERROR = "cuts the error"
    IS_DETERMINED = "is determined by the outcome"
    NONE = "no sign"
    TOO_FEW_ROWS = "too few rows"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What one undeclared column does to the error of a forecast that knows all that is declared.

    error_cut : share of the mean absolute error that the column takes away, over the rows that have it
    auc : how well the outcome tells the column's values apart within ``within``
    """

    column: str
    filled_share: float
    before_min: float | None
    with_min: float | None
    error_cut: float | None
    auc: float | None
    within: tuple[str, ...]
    sign: Sign

    @property
    def is_leak(self) -> bool:
        return self.sign in (Sign.CUTS_THE_ERROR, Sign.IS_DETERMINED)


def find_leaks(raw: RawForecasts, say: Callable[[str], None] | None = None) -> list[Judged]:
    """Every undeclared column, judged; the worst first."""
    tell = say or (lambda _: None)
    rows = raw.frame.filter(pl.col(raw.label).is_finite() & pl.col(raw.as_of).is_not_null())
    enough = rows.height >= FEWEST_ROWS and bool(raw.undeclared)
    trial, outcomes = (_Trial.of(raw, rows), Outcomes(raw, rows)) if enough else (None, None)
    found = []
    for column in raw.undeclared:
        tell(f"leaks: {column}")
        found.append(_judge(rows, column, trial, outcomes))
    return sorted(found, key=lambda one: (not one.is_leak, -(one.error_cut or 0.0), one.column))


def _judge(rows: pl.DataFrame, column: str, trial: _Trial | None, outcomes: Outcomes | None) -> Judged:
    filled = 1 - rows[column].null_count() / max(rows.height, 1)
    before, after = trial.errors_min(column) if trial is not None else (None, None)
    cut = 1 - after / before if before and after is not None else None
    found = outcomes.determine(column) if outcomes is not None else Determined(None, ())
    return Judged(
        column=column,
        filled_share=filled,
        before_min=before,
        with_min=after,
        error_cut=cut,
        auc=found.auc,
        within=found.within,
        sign=_sign(cut, found.auc),
    )


def _sign(cut: float | None, auc: float | None) -> Sign:
    if cut is not None and cut >= ERROR_CUT:
        return Sign.CUTS_THE_ERROR
    if auc is not None and auc >= AUC:
        return Sign.IS_DETERMINED
    return Sign.NONE if cut is not None or auc is not None else Sign.TOO_FEW_ROWS


@dataclass(frozen=True, slots=True)
class _Trial:
    """A bounded sample, its folds, and the errors of a forecast that knows what is declared."""

    rows: pl.DataFrame
    as_of: pl.Series
    label: Float
    folds: Integers
    inner: Integers
    known: list[_Column]
    before: Float

    @classmethod
    def of(cls, raw: RawForecasts, rows: pl.DataFrame) -> _Trial:
        sample = rows.sample(min(rows.height, SAMPLE_ROWS), seed=SEED)
        label = sample[raw.label].cast(pl.Float64).to_numpy()
        folds, inner = (
            _parts(sample[raw.fold_by], n, salt) for n, salt in ((FOLDS, "o"), (INNER_PARTS, "i"))
        )
        known = list(_known(raw, sample))
        empty = cls(sample, sample[raw.as_of], label, folds, inner, known, np.zeros(0))
        return cls(sample, sample[raw.as_of], label, folds, inner, known, empty.cross_validated(known))

    def errors_min(self, column: str) -> tuple[float | None, float | None]:
        """Mean absolute error without and with a column, over the rows that have it."""
        here = self.rows[column].is_not_null().to_numpy()
        if here.sum() < FEWEST_FILLED:
            return None, None
        after = self.cross_validated([*self.known, _column(self.rows[column], self.as_of)])
        return float(self.before[here].mean()), float(after[here].mean())

    def cross_validated(self, columns: list[_Column]) -> Float:
        """Absolute error of each row by a model that saw no row of its group: (n,) minutes."""
        errors = np.full(len(self.label), np.nan)
        for fold in np.unique(self.folds):
            train = self.folds != fold
            matrix = np.stack([self._values(column, train) for column in columns], axis=1).astype(np.float32)
            booster = Predictor(fit("median", matrix[train], self.label[train], SETTINGS))
            errors[~train] = np.abs(booster.predict(matrix[~train]) - self.label[~train])
        return errors

    def _values(self, column: _Column, train: NDArray[np.bool_]) -> Float:
        if isinstance(column, _Words):
            return learnt_means(column.coded, self.label, train, self.inner, INNER_PARTS)
        return column


@dataclass(frozen=True, slots=True)
class _Words:
    coded: Integers


_Column = Float | _Words


def _column(cells: pl.Series, as_of: pl.Series) -> _Column:
    numbers = as_numbers(cells, as_of)
    return _Words(codes(cells)) if numbers is None else numbers


def _known(raw: RawForecasts, rows: pl.DataFrame) -> Iterator[_Column]:
    """What is declared, the clock, combinations, and the straight line between two known places."""
    yield from clock_columns(rows[raw.as_of]).values()
    for name in raw.known:
        yield _column(rows[name], rows[raw.as_of])
    for names in raw.together:
        yield _Words(codes(rows.select(pl.concat_str(names, separator="|", ignore_nulls=True)).to_series()))
    if raw.ends is not None:
        yield _straight_km(*(rows[name].cast(pl.Float64, strict=False).to_numpy() for name in raw.ends))


def _straight_km(from_lat: Float, from_lon: Float, to_lat: Float, to_lon: Float) -> Float:
    east = np.radians(to_lon - from_lon) * np.cos(np.radians(0.5 * (from_lat + to_lat)))
    return np.asarray(6_371.0 * np.hypot(np.radians(to_lat - from_lat), east))


def _parts(groups: pl.Series, parts: int, salt: str) -> Integers:
    """The part of each row; rows of a group are in one part, unless there are too few groups to part."""
    if groups.n_unique() < FEWEST_GROUPS * parts:
        return np.random.default_rng(SEED).integers(0, parts, len(groups))
    names = groups.cast(pl.String, strict=False).fill_null("")
    part = {name: _hashed(salt + name) % parts for name in names.unique().to_list()}
    return names.replace_strict(part, return_dtype=pl.Int64).to_numpy()


def _hashed(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest())
