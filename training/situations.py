"""In what situation a forecast is made: which feeds are dead, before departure or after, and what is new to the fleet.

A feed that is stale is taken as dead: its columns go dark, as they did in training for rows drawn for it (feed
dropout), so that what is forecast without it is what has been learned without it. Each situation has factors of the
boosters' spread, learned out of fold from such rows and drawn towards those of the situations that lack one thing
less; one that is new and was never seen in training is widened by a stated factor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from features.feeds import darkened
from features.vectors import FEATURE_NAMES, FEEDS, Vectors
from training.calibration import Raw
from training.dataset import Dataset
from training.spread import Factors, Reach

Int = NDArray[np.int64]
Bool = NDArray[np.bool_]

#: A message older than this, in seconds, is as good as none.
FRESH_S = {"telemetry": 300.0, "traffic": 1_800.0, "weather": 10_800.0, "depot": 3_600.0}
#: What a row's evidence is counted in; none of it, and the zone or courier is new.
EVIDENCE = {"zone": "target_evidence", "courier": "courier_evidence"}
#: A feed or evidence that fewer training rows had was not there.
SMALLEST_SHARE = 0.2
NAMES = (*FEEDS, "before departure", *(f"new {what}" for what in EVIDENCE))
BEFORE, NEW = len(FEEDS), len(FEEDS) + 1
#: Situations are drawn towards their parents by so many rows.
SHRINKAGE = 300.0
#: What is new is wider by this than what is known, until training says otherwise.
NEW_WIDTH = 1.25

#: Share of training rows that are learned from once more with feeds struck, and of those, how many lose one or all.
DROPPED_SHARE, ONE_LOST, ALL_LOST = 0.25, 0.5, 0.25

_EVIDENCE_AT = {what: FEATURE_NAMES.index(name) for what, name in EVIDENCE.items()}
_PHASE_AT = FEATURE_NAMES.index("phase")


@dataclass(frozen=True, slots=True)
class Situations:
    """What training had, and how wide errors are where some of it is missing.

    feeds, evidence : that training rows had; nothing else is missed
    factors : situation, by the names of what it lacks -> factors below and above the median
    """

    feeds: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    factors: dict[str, Factors] = field(default_factory=dict)

    @classmethod
    def of(cls, vectors: Vectors) -> Situations:
        """What these rows have; nothing is known of spreads yet."""
        feeds = (feed for feed in FEEDS if np.isfinite(vectors.ages_s[feed]).mean() > SMALLEST_SHARE)
        evidence = (
            what for what, at in _EVIDENCE_AT.items() if (vectors.matrix[:, at] > 0).mean() > SMALLEST_SHARE
        )
        return cls(tuple(feeds), tuple(evidence))

    def missing(self, vectors: Vectors) -> dict[str, Bool]:
        """Feeds that are dead or stale: (n,) each."""
        ages = {feed: vectors.ages_s[feed] for feed in self.feeds}
        return {feed: ~(np.nan_to_num(age, nan=np.inf) <= FRESH_S[feed]) for feed, age in ages.items()}

    def new(self, vectors: Vectors) -> dict[str, Bool]:
        """Whether the fleet has never yet driven to the zone, or with the courier: (n,) each."""
        return {what: ~(vectors.matrix[:, _EVIDENCE_AT[what]] > 0) for what in self.evidence}

    def seen(self, vectors: Vectors) -> Vectors:
        """Vectors without what stale feeds said."""
        return darkened(vectors, self.missing(vectors)) if self.feeds else vectors

    def codes(self, vectors: Vectors) -> Int:
        """Situation of each row: a bit for each of ``NAMES``."""
        code = (vectors.matrix[:, _PHASE_AT] == 0).astype(np.int64) << BEFORE
        for feed, rows in self.missing(vectors).items():
            code |= rows.astype(np.int64) << tuple(FEEDS).index(feed)
        for what, rows in self.new(vectors).items():
            code |= rows.astype(np.int64) << (NEW + tuple(EVIDENCE).index(what))
        return code

    def fit(self, raw: Raw, arrival_s: NDArray[np.float64], codes: Int) -> Situations:
        """With the factors that these rows show, whose predictions did not see their outcomes."""
        reach, found = Reach.of(raw, arrival_s), {0: (1.0, 1.0)}
        for code in sorted(range(1, 1 << len(NAMES)), key=int.bit_count):
            rows = np.flatnonzero(codes == code)
            found[code] = reach.factors(rows, _parent(code, found), SHRINKAGE)
        own = reach.factors(np.flatnonzero(codes == 0), (1.0, 1.0), SHRINKAGE)
        named = {name_of(code): factors for code, factors in found.items()} | {name_of(0): own}
        return Situations(self.feeds, self.evidence, named)

    def apply(self, raw: Raw, codes: Int) -> Raw:
        """The boosters' words with each situation's spread."""
        if not self.factors or not len(codes):
            return raw
        present, place = np.unique(codes, return_inverse=True)
        table = np.array([self.factors[name_of(int(code))] for code in present])
        return raw.widened(table[place])

    @classmethod
    def load(
        cls, feeds: Sequence[str], evidence: Sequence[str], factors: Mapping[str, Sequence[float]]
    ) -> Situations:
        return cls(tuple(feeds), tuple(evidence), {name: (b, a) for name, (b, a) in factors.items()})


def name_of(code: int) -> str:
    """The names of what a situation lacks."""
    return ", ".join(name for bit, name in enumerate(NAMES) if code >> bit & 1)


def _parent(code: int, found: Mapping[int, Factors]) -> Factors:
    """The widest of the situations that lack one thing less; what is new is wider still."""
    parents = [
        np.array(found[code & ~(1 << bit)]) * (NEW_WIDTH if bit >= NEW else 1.0)
        for bit in range(len(NAMES))
        if code >> bit & 1
    ]
    below, above = np.max(parents, axis=0)
    return float(below), float(above)


def with_dropout(rows: Dataset, situations: Situations, seed: int) -> Dataset:
    """Rows, and after them a draw of the same rows with feeds struck."""
    feeds = situations.feeds
    if not feeds:
        return rows
    draw = np.random.default_rng(seed)
    chosen = np.sort(draw.choice(len(rows), round(DROPPED_SHARE * len(rows)), replace=False))
    struck, how = draw.random((len(chosen), len(feeds))) < 0.5, draw.random(len(chosen))
    one = draw.integers(0, len(feeds), len(chosen))[:, None] == np.arange(len(feeds))
    struck = np.where((how < ONE_LOST)[:, None], one, struck | (how > 1.0 - ALL_LOST)[:, None])
    copies = rows.take(chosen)
    dark = {feed: struck[:, place] for place, feed in enumerate(feeds)}
    vectors = darkened(copies.vectors, dark)
    changed = np.flatnonzero(situations.codes(vectors) != situations.codes(copies.vectors))
    return Dataset.concat([rows, replace(copies, vectors=vectors).take(changed)])
