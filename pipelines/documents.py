"""What is made from the definitions: pages of contracts, features and events, and a board for Grafana, in ``docs/``.

``python -m pipelines.documents`` (``make docs``) writes them; a test fails when they are stale.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path

from data_contracts.contract import Column, Dtype, Table
from data_contracts.rules import reasons
from data_contracts.tables import TABLES
from features.moment import FEATURES, Feature
from features.vectors import feature_set_hash
from features.views import LOOKUPS, VIEWS, View
from pipelines.events_page import events_page
from pipelines.grafana import grafana_page
from pipelines.readme import filled

DOCS = Path(__file__).parents[1] / "docs"
README = DOCS.parent / "README.md"

_MADE = "<!-- Made by `make docs`; change the definition instead. -->"
_UNREADABLE = ("`TYPE_<COLUMN>`", "the cell cannot be read as the column's dtype")
_CONTRACTS = f"""{_MADE}
# Data contracts

Every table has one definition in `data_contracts/tables.py`. From it come the Arrow schema, the Great Expectations
suite, the reasons of the quarantine, the wire events of `POST /v1/events` and this page.

- **Good rows** are landed, **bad rows** go to quarantine with every reason code that holds for them, **duplicates**
  are counted. Nothing else happens to a row.
- Where the share of bad rows is over a table's **error budget**, the whole batch is refused: nothing is landed, and
  the quarantine shows why.
- **Late rows are normal.** A row that was received more than the allowed lateness after it occurred is landed and
  counted as late ([decision 0007](decisions/0007-late-rows-are-counted.md)). A feed that was silent for longer than
  its **freshness** when the batch ended is reported as stale.
- All times are UTC with microseconds. NaN in a column that may be empty means missing.
- Swapped coordinates are found where most positions of the same route, or of the same vehicle and day, lie
  elsewhere. They are not found when the whole source swaps them, when a route has fewer than three positions, or
  where latitude and longitude are alike, as in Cairo.
- `punctual ingest --data-docs` also writes Great Expectations' own pages of the rows as they came in to
  `reports/data-docs/<batch>/index.html`. The library's pages fetch styles, scripts and logos from other hosts; ours
  are rid of them, so they open without a network but lose filters and charts.

"""
_FEATURES = f"""{_MADE}
# Features

A vector has {{count}} features of one remaining stop at one instant. They are named functions of columns in
`features/moment.py`; what they read with memory comes from the views of `features/views.py`. Values outside their
bounds are clipped to them. A model is served only with the feature set that it was trained on.

Hash of this feature set: `{{digest}}`

"""


def contracts_page() -> str:
    """Every canonical table: meaning, key, columns, rules, limits and reason codes."""
    names = "\n".join(f"- [{name}](#{name}): {table.meaning}" for name, table in TABLES.items())
    return _CONTRACTS + names + "\n\n" + "\n".join(_table(table) for table in TABLES.values())


def features_page() -> str:
    """Every feature of a vector and every view: unit, bounds, meaning and inputs."""
    head = _FEATURES.format(count=len(FEATURES), digest=feature_set_hash())
    columns = ("feature", "unit", "low", "high", "meaning", "made of")
    moment = f"## Moment features\n\n{_grid(columns, (_feature(f) for f in FEATURES))}\n"
    return head + moment + "\n## Views\n\n" + "\n".join(_view(view) for view in VIEWS)


PAGES = {
    "contracts.md": contracts_page,
    "features.md": features_page,
    "events.md": events_page,
    "grafana.json": grafana_page,
}


def write(folder: Path = DOCS) -> list[Path]:
    """Write the pages that are stale and give them."""
    stale = {folder / name: page() for name, page in PAGES.items() if _read(folder / name) != page()}
    for path, text in stale.items():
        path.write_text(text, encoding="utf-8")
    return list(stale)


def write_readme(path: Path = README) -> list[Path]:
    """Bring the README's measured parts up to date."""
    text = path.read_text(encoding="utf-8")
    if filled(text) == text:
        return []
    path.write_text(filled(text), encoding="utf-8")
    return [path]


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


# --- contracts --------------------------------------------------------------------------------------------


def _table(table: Table) -> str:
    columns = ("column", "dtype", "unit", "required", "range or values", "meaning")
    codes = [_UNREADABLE, *((f"`{c}`", told) for c, told in reasons(table).items() if c[:5] != "TYPE_")]
    return "\n".join(
        (
            f"## {table.name}\n",
            f"{table.meaning}\n",
            _grid(("promise", ""), _promises(table)),
            "",
            _grid(columns, (_column(column) for column in table.columns)),
            "\n<details><summary>Reason codes</summary>\n",
            _grid(("code", "meaning"), codes),
            "\n</details>\n",
        )
    )


def _promises(table: Table) -> Iterable[tuple[str, str]]:
    yield (
        "presence",
        "required" if table.required else "optional: what its absence costs is told by the audit",
    )
    yield "key", ", ".join(f"`{name}`" for name in table.key)
    yield "allowed lateness", _span(table.allowed_lateness)
    yield "freshness", _span(table.freshness) if table.freshness else "no limit"
    yield "error budget", f"{table.error_budget:.0%} of the rows"
    meanings = reasons(table)
    codes = [order.code for order in table.orders]
    codes += [position.code for position in table.positions if position.by]
    codes += [course.code for course in table.courses]
    codes += [reference.code for reference in table.references]
    codes += [membership.code for membership in table.memberships]
    for code in codes:
        yield "rule", f"never: {meanings[code]}"


def _column(column: Column) -> Sequence[str]:
    return (
        f"`{column.name}`",
        column.dtype.value,
        column.unit,
        "yes" if column.required else "",
        _values(column),
        column.meaning,
    )


def _values(column: Column) -> str:
    if column.allowed is not None:
        return ", ".join(f"`{value}`" for value in column.allowed)
    if column.form is not None:
        return column.form.value
    if column.dtype is Dtype.TIMESTAMP:
        return "2000 to 2100"
    if column.low is None and column.high is None:
        return ""
    low = "" if column.low is None else f"from {_number(column.low)}"
    return f"{low} to {_number(column.high)}".strip() if column.high is not None else low


def _span(span: timedelta) -> str:
    hours = span.total_seconds() / 3600
    if hours >= 24:
        return f"{hours / 24:g} d"
    return f"{hours:g} h" if hours >= 1 else f"{hours * 60:g} min"


# --- features ---------------------------------------------------------------------------------------------


def _feature(feature: Feature) -> Sequence[str]:
    bounds = _number(feature.low), _number(feature.high)
    return f"`{feature.name}`", feature.unit, *bounds, feature.meaning, _names(feature.inputs)


def _view(view: View) -> str:
    found = [f"`{x.alias}` through `{x.key}`" for x in LOOKUPS if x.view.name == view.name]
    fields = ((f"`{f.name}`", f.unit, _number(f.low), _number(f.high), f.meaning) for f in view.fields)
    told = (
        f"{view.meaning} Entity `{view.entity}`, valid for {_span(view.ttl)}, schema hash `{view.schema_hash}`; "
        f"a stop finds it as {', '.join(found)}."
    )
    return f"### {view.name}\n\n{told}\n\n{_grid(('field', 'unit', 'low', 'high', 'meaning'), fields)}\n"


# --- Markdown ---------------------------------------------------------------------------------------------


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) < 1e9 else f"{value:g}"


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _grid(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


if __name__ == "__main__":
    for written in (*write(), *write_readme()):
        print(f"written: {written.relative_to(DOCS.parent)}", file=sys.stderr)
