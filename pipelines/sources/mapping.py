"""A mapping file: which files and columns of somebody's data become which canonical tables.

::

    timezone = "Asia/Shanghai"            # of times without a zone; a column may name its own
    year = 2022                           # of times without a year

    [[routes]]
    files = "orders*.csv"
    one_per = ["route_id"]                # many rows tell of one route: the earliest is kept
    [routes.columns]
    route_id = { template = "{courier}-{ds}" }
    timezone = { value = "Asia/Shanghai" }
    origin_lat = "lat"                    # canonical column = source column
    occurred_at = { from = "accepted", format = "%m-%d %H:%M:%S" }

    [[stop_events]]
    files = "orders*.csv"
    needs = ["occurred_at"]               # rows without it are left out and counted
    [stop_events.columns]
    kind = { from = "state", replace = { OK = "completed" } }
    occurred_at = { from = "done_ms", unit = "epoch_ms" }

    [stops.columns]
    planned_distance_m = { from = "Distance (KM)", unit = "km" }
    sequence = { rank_by = ["occurred_at", "stop_id"], within = ["route_id"] }
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from data_contracts.errors import SourceError
from data_contracts.tables import TABLES, Table
from pipelines.sources.column_rule import ColumnRule, column_rule
from pipelines.sources.shape import known_timezone
from pipelines.sources.source import files

_KEYS = {"files", "columns", "needs", "one_per"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRule:
    """How the rows of some files become rows of one table."""

    table: Table
    pattern: str
    columns: tuple[ColumnRule, ...]
    needs: tuple[str, ...] = ()
    one_per: tuple[str, ...] = ()

    def found(self, paths: Sequence[Path], mapping: Path) -> list[Path]:
        """Files that match the pattern, in the folders or among the files that were named."""
        matches: dict[Path, None] = {}
        for path in map(Path, paths):
            here = sorted(path.glob(self.pattern)) if path.is_dir() else [path] * path.match(self.pattern)
            matches.update(dict.fromkeys(here))
        if not matches:
            raise SourceError(
                f"{self.table.name}: no file matches {self.pattern!r} in {', '.join(map(str, paths))}",
                where=str(mapping),
                next_step="correct the pattern, or name the folder that holds the files",
            )
        return files(list(matches), "*")

    def apply(
        self, rows: pl.DataFrame, file: Path, excluded: Counter[str], unreadable: Counter[str]
    ) -> pl.DataFrame:
        """The canonical columns of a file's rows."""
        ranked = [rule for rule in self.columns if rule.rank_by]
        plain = [rule for rule in self.columns if not rule.rank_by]
        frame = pl.DataFrame({rule.column.name: rule.values(rows, file, unreadable) for rule in plain})
        kept = frame.drop_nulls(self.needs) if self.needs else frame
        if kept.height < frame.height:
            excluded[f"{self.table.name}_without_{'_or_'.join(self.needs)}"] += frame.height - kept.height
        if self.one_per:
            by_time = [name for name in ("received_at", "occurred_at") if name in kept.columns][:1]
            kept = kept.sort(by_time, maintain_order=True).unique(
                self.one_per, keep="first", maintain_order=True
            )
        return kept.with_columns(rule.ranks() for rule in ranked)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """A checked mapping file."""

    file: Path
    rules: tuple[TableRule, ...]


def read_mapping(file: Path) -> Mapping:
    """A mapping file, or a `SourceError` that names the key that is wrong."""
    try:
        body = tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, UnicodeError, tomllib.TOMLDecodeError) as error:
        raise SourceError(
            f"cannot be read as TOML ({error})", where=str(file), next_step="correct it"
        ) from error
    timezone, year = body.pop("timezone", None), body.pop("year", None)
    if timezone is not None:
        known_timezone(str(timezone), str(file))
    if year is not None and not isinstance(year, int):
        raise SourceError(f"year is {year!r}, not a whole number", where=str(file), next_step="correct it")
    rules = tuple(_table_rules(body, file, timezone, year))
    if not rules:
        raise SourceError("maps no table", where=str(file), next_step="add [[routes]], [[stops]], ...")
    return Mapping(file=Path(file), rules=rules)


def _table_rules(
    body: dict[str, Any], file: Path, timezone: str | None, year: int | None
) -> Iterator[TableRule]:
    for name, entries in body.items():
        if name not in TABLES:
            what = f"table {name!r} is unknown"
            raise SourceError(what, where=str(file), next_step=f"known are {', '.join(TABLES)}")
        for entry in entries if isinstance(entries, list) else [entries]:
            yield _table_rule(TABLES[name], entry, file, timezone, year)


def _table_rule(table: Table, entry: Any, file: Path, timezone: str | None, year: int | None) -> TableRule:
    where = f"{file}: {table.name}"
    if not isinstance(entry, dict) or not isinstance(entry.get("columns"), dict):
        what = "has no columns"
        raise SourceError(what, where=where, next_step=f"add [{table.name}.columns] below [[{table.name}]]")
    unknown = sorted(set(entry) - _KEYS)
    if unknown:
        what = f"unknown keys: {', '.join(unknown)}"
        raise SourceError(what, where=where, next_step=f"known are {', '.join(sorted(_KEYS))}")
    if not isinstance(entry.get("files"), str):
        raise SourceError("names no files", where=where, next_step='add files = "orders*.csv"')
    columns = tuple(
        column_rule(_column(table, name, where), given, f"{where}.{name}", timezone, year)
        for name, given in entry["columns"].items()
    )
    rule = TableRule(
        table=table,
        pattern=entry["files"],
        columns=columns,
        needs=_names(entry, "needs", where),
        one_per=_names(entry, "one_per", where),
    )
    mapped = {column.column.name for column in columns}
    for name in {*rule.needs, *rule.one_per, *(n for c in columns for n in (*c.rank_by, *c.within))}:
        if name not in mapped:
            what = f"column {name!r} is used and not mapped"
            raise SourceError(what, where=where, next_step=f"mapped are {', '.join(sorted(mapped))}")
    return rule


def _column(table: Table, name: str, where: str) -> Any:
    if name not in table.names:
        what = f"column {name!r} is unknown"
        raise SourceError(what, where=where, next_step=f"known are {', '.join(table.names)}")
    return table.column(name)


def _names(entry: dict[str, Any], key: str, where: str) -> tuple[str, ...]:
    names = entry.get(key, [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise SourceError(f"{key} is not a list of columns", where=where, next_step="correct it")
    return tuple(names)
