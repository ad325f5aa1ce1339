"""What raw files say of each forecast, before an adapter leaves anything out."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True, slots=True, kw_only=True)
class RawForecasts:
    """One row a forecast, with every raw column, and which of them are declared known when it is asked for.

    label : column of minutes from ``as_of`` to the outcome
    as_of : column of instants or local clock times at which the forecast is asked for
    known : columns with a declared known-at time, no later than ``as_of``
    outcomes : columns that *are* the outcome; the label is made of them, so that they are not judged
    further_labels : other outcomes that may determine a column, such as the time of one leg
    fold_by : column whose rows stay together in cross-validation
    within : groupings in which the outcome may determine a column; the empty one is the whole file
    together : known columns whose combination is worth a prior of its own, such as an origin and a destination
    ends : latitude and longitude of start and end among ``known``, where there are any
    """

    frame: pl.DataFrame
    label: str
    as_of: str
    known: tuple[str, ...]
    outcomes: tuple[str, ...]
    fold_by: str
    further_labels: tuple[str, ...] = ()
    within: tuple[tuple[str, ...], ...] = ((),)
    together: tuple[tuple[str, ...], ...] = ()
    ends: tuple[str, str, str, str] | None = None

    @property
    def undeclared(self) -> tuple[str, ...]:
        """Columns that nobody has said to be known in time: each may be a leak."""
        said = {self.label, self.as_of, self.fold_by, *self.known, *self.outcomes, *self.further_labels}
        return tuple(name for name in self.frame.columns if name not in said)
