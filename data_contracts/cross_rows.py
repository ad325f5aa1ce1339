"""Rules about rows together: strangers to their route, positions a continent away, ends before beginnings."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import polars as pl

from data_contracts.contract import Course, Position, Table

#: Fewer positions than this say nothing of where most of them lie.
FEWEST_TOGETHER = 3
#: Of the positions that are compared, at least this share has to lie together.
MAJORITY = 2 / 3

_EARTH_RADIUS_KM = 6_371.0

Broken = Iterator[tuple[str, pl.Series]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """What earlier batches say to the rules across rows; a rule without an entry sees this batch alone.

    members : by the code of a membership, the pairs that exist, those of this batch included
    firsts : by the code of a course, ``by`` and when its ``first`` event occurred
    """

    members: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    firsts: Mapping[str, pl.DataFrame] = field(default_factory=dict)


def cross_row_faults(table: Table, frame: pl.DataFrame, earlier: Earlier) -> pl.DataFrame:
    """Rows (``row``) that break a rule across rows, and its ``code``; each row once, by the first rule it breaks."""
    found = [pl.DataFrame(schema={"row": frame.schema["row"], "code": pl.String})]
    for rules in RULES:
        for code, rows in rules(table, frame, earlier):
            if len(rows):
                found.append(pl.DataFrame({"row": rows}).with_columns(code=pl.lit(code)))
                frame = frame.filter(~pl.col("row").is_in(rows.implode()))
    return pl.concat(found)


def _strangers(table: Table, frame: pl.DataFrame, earlier: Earlier) -> Broken:
    for rule in table.memberships:
        if rule.code in earlier.members:
            pair = [rule.column, rule.within]
            outside = frame.drop_nulls(pair).join(earlier.members[rule.code], on=pair, how="anti")
            yield rule.code, outside["row"]


def _strays(table: Table, frame: pl.DataFrame, _: Earlier) -> Broken:
    for position in table.positions:
        if position.by is not None:
            yield position.code, _far_from_the_others(position, frame)


def _far_from_the_others(position: Position, frame: pl.DataFrame) -> pl.Series:
    """Rows apart from the rest of their group, in groups of which all others lie together.

    The median is a coordinate that occurs, so that a group astride the 180th meridian has none in between.
    """
    group = [position.by or "", *(["day"] if position.daily else [])]
    placed = (
        frame.select(
            "row",
            position.by,
            lat=position.lat,
            lon=position.lon,
            day=pl.col("occurred_at").dt.date() if position.daily else pl.lit(None),
        )
        .drop_nulls([position.by or "", "lat", "lon"])
        .with_columns(
            mid_lat=pl.col("lat").quantile(0.5, "lower").over(group),
            mid_lon=pl.col("lon").quantile(0.5, "lower").over(group),
        )
        .with_columns(km=_distance_km())
    )
    together, apart = pl.col("km") <= position.together_km, pl.col("km") > position.apart_km
    judged = (
        (pl.len().over(group) >= FEWEST_TOGETHER)
        & (together.mean().over(group) >= MAJORITY)
        & (together | apart).all().over(group)
    )
    return placed.filter(judged & apart)["row"]


def _distance_km() -> pl.Expr:
    """Great-circle distance to the median by the haversine formula."""
    north = (pl.col("lat") - pl.col("mid_lat")).radians() / 2
    east = (pl.col("lon") - pl.col("mid_lon")).radians() / 2
    cosines = pl.col("lat").radians().cos() * pl.col("mid_lat").radians().cos()
    chord = north.sin().pow(2) + cosines * east.sin().pow(2)
    return 2 * _EARTH_RADIUS_KM * chord.clip(0, 1).sqrt().arcsin()


def _backwards(table: Table, frame: pl.DataFrame, earlier: Earlier) -> Broken:
    for course in table.courses:
        yield course.code, _ends_before_beginnings(course, frame, earlier)


def _ends_before_beginnings(course: Course, frame: pl.DataFrame, earlier: Earlier) -> pl.Series:
    here = frame.filter(pl.col(course.kind) == course.first).select(course.by, "occurred_at")
    begun = pl.concat([here, *([earlier.firsts[course.code]] if course.code in earlier.firsts else [])])
    begun = begun.group_by(course.by).agg(begun_at=pl.col("occurred_at").min())
    ended = frame.filter(pl.col(course.kind) == course.then).join(begun, on=course.by, how="inner")
    slack_us = math.floor(course.slack.total_seconds() * 1_000_000)
    early = pl.col("occurred_at").to_physical() + slack_us < pl.col("begun_at").to_physical()
    return ended.filter(early)["row"]


RULES: tuple[Callable[[Table, pl.DataFrame, Earlier], Broken], ...] = (_strangers, _strays, _backwards)
