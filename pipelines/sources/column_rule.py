"""How one canonical column is made: from a source column, a template, a constant, or a rank."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from string import Formatter
from types import UnionType
from typing import Any

import polars as pl

from data_contracts.errors import SourceError
from data_contracts.tables import Column, Dtype
from pipelines.sources.clock import as_instants
from pipelines.sources.reading import require, typed
from pipelines.sources.shape import known_timezone
from pipelines.sources.units import convert

_ORIGINS = ("from", "template", "value", "rank_by")
_TYPES: dict[str, type | UnionType] = {
    "from": str,
    "template": str,
    "value": str | int | float | bool,
    "rank_by": list,
    "within": list,
    "unit": str,
    "timezone": str,
    "format": str,
    "year": int,
    "replace": dict,
}
_POLARS: dict[Dtype, type[pl.DataType]] = {
    Dtype.STRING: pl.String,
    Dtype.INTEGER: pl.Int64,
    Dtype.NUMBER: pl.Float64,
    Dtype.BOOLEAN: pl.Boolean,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnRule:
    """Where a column's values come from, and in which unit, zone and form they are."""

    column: Column
    where: str
    source: str | None = None
    template: str | None = None
    value: Any = None
    rank_by: tuple[str, ...] = ()
    within: tuple[str, ...] = ()
    unit: str | None = None
    timezone: str | None = None
    time_format: str | None = None
    year: int | None = None
    replace: dict[str, str] = field(default_factory=dict)

    def values(self, rows: pl.DataFrame, file: Path, unreadable: Counter[str]) -> pl.Series:
        """The column's values, one a row, in the contract's type and unit."""
        name = self.column.name
        if self.template is not None:
            return rows.select(self._filled(rows, file).alias(name)).to_series()
        if self.source is None:
            given = pl.Series(name, [self.value] * rows.height)
        else:
            self._require_flat(rows, [self.source], file)
            given = rows[self.source]
        if self.replace:
            given = given.cast(pl.String).replace(self.replace)
        return self._typed(given, file, unreadable).alias(name)

    def ranks(self) -> pl.Expr:
        """Places from 1, by the columns of ``rank_by``, within each group."""
        place = pl.struct(self.rank_by).rank("ordinal").cast(pl.Int64)
        return (place.over(self.within) if self.within else place).alias(self.column.name)

    def _filled(self, rows: pl.DataFrame, file: Path) -> pl.Expr:
        assert self.template is not None
        parts = _parts(self.template, self.where)
        self._require_flat(rows, [name for _, name in parts if name], file)
        pieces = [piece for text, name in parts for piece in _pieces(text, name)]
        return pl.concat_str(pieces)

    def _require_flat(self, rows: pl.DataFrame, names: list[str], file: Path) -> None:
        require(rows, names, file)
        nested = [name for name in names if rows.schema[name].is_nested()]
        if nested:
            what = f"column {nested[0]!r} holds objects or lists"
            raise SourceError(what, where=f"{file}: {self.where}", next_step="give a flat column")

    def _typed(self, given: pl.Series, file: Path, unreadable: Counter[str]) -> pl.Series:
        if self.column.dtype is Dtype.TIMESTAMP:
            return as_instants(
                given,
                unit=self.unit,
                timezone=self.timezone,
                time_format=self.time_format,
                year=self.year,
                where=f"{file}: column {given.name!r} for {self.where}",
                unreadable=unreadable,
            )
        if self.column.dtype is Dtype.BOOLEAN:
            return given
        wanted = pl.Float64 if self.unit else _POLARS[self.column.dtype]
        values = typed(given.to_frame(), {given.name: wanted}, file, unreadable)
        if self.unit is None:
            return values.to_series()
        converted = convert(pl.col(given.name), self.unit, self.column.unit, where=self.where)
        return values.select(converted.cast(_POLARS[self.column.dtype], strict=False)).to_series()


def column_rule(column: Column, given: Any, where: str, timezone: str | None, year: int | None) -> ColumnRule:
    """A checked rule; text alone names a source column.

    Raises
    ------
    SourceError
        when the entry has unknown keys, no or several origins, or a unit that cannot be converted
    """
    entry = {"from": given} if isinstance(given, str) else given
    if not isinstance(entry, dict) or len(origins := [key for key in _ORIGINS if key in entry]) != 1:
        raise SourceError(
            f"{given!r:.80} says not where the column comes from",
            where=where,
            next_step=f"give a source column, or one of {', '.join(_ORIGINS)}",
        )
    _refuse_types(entry, where)
    rule = ColumnRule(
        column=column,
        where=where,
        source=entry.get("from"),
        template=entry.get("template"),
        value=entry.get("value"),
        rank_by=tuple(entry.get("rank_by", ())),
        within=tuple(entry.get("within", ())),
        unit=entry.get("unit"),
        timezone=entry.get("timezone", timezone),
        time_format=entry.get("format"),
        year=entry.get("year", year),
        replace={str(key): str(value) for key, value in entry.get("replace", {}).items()},
    )
    _refuse_misfits(rule, origins[0])
    return rule


def _refuse_types(entry: dict[str, Any], where: str) -> None:
    unknown = sorted(set(entry) - set(_TYPES))
    if unknown:
        what = f"unknown keys: {', '.join(unknown)}"
        raise SourceError(what, where=where, next_step=f"known are {', '.join(sorted(_TYPES))}")
    for key, value in entry.items():
        names = value if isinstance(value, list) else []
        if not isinstance(value, _TYPES[key]) or not all(isinstance(name, str) for name in names):
            raise SourceError(f"{key} is {value!r:.60}, of another type", where=where, next_step="correct it")


def _refuse_misfits(rule: ColumnRule, origin: str) -> None:
    if rule.timezone is not None:
        known_timezone(rule.timezone, rule.where)
    if rule.unit is not None and rule.column.dtype in (Dtype.NUMBER, Dtype.INTEGER):
        convert(pl.lit(0.0), rule.unit, rule.column.unit, where=rule.where)
    elif rule.unit is not None and rule.column.dtype is not Dtype.TIMESTAMP:
        what = f"a {rule.column.dtype.value} has no unit"
        raise SourceError(what, where=rule.where, next_step="leave unit out")
    if origin == "template" and rule.column.dtype is not Dtype.STRING:
        what = f"a template makes text, and the column is a {rule.column.dtype.value}"
        raise SourceError(what, where=rule.where, next_step="give from instead")
    if origin == "rank_by" and rule.column.dtype is not Dtype.INTEGER:
        what = f"a rank is a whole number, and the column is a {rule.column.dtype.value}"
        raise SourceError(what, where=rule.where, next_step="give from instead")


def _parts(template: str, where: str) -> list[tuple[str, str | None]]:
    """Each piece of plain text with the column that follows it."""
    try:
        parts = [(text, name) for text, name, _, _ in Formatter().parse(template)]
    except ValueError as error:
        raise SourceError(f"template {template!r}: {error}", where=where, next_step="correct it") from error
    if any(name == "" for _, name in parts):
        what = f"template {template!r} has braces without a column"
        raise SourceError(what, where=where, next_step='write "{column}"')
    return parts


def _pieces(text: str, name: str | None) -> list[pl.Expr]:
    return [pl.lit(text)] * bool(text) + [pl.col(name or "").cast(pl.String)] * bool(name)
