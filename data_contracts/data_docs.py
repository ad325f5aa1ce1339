"""Data Docs: Great Expectations' own pages of a batch as it came in, before any row was put aside.

The pages are built by the library's site builder; what they would fetch from other hosts (styles, scripts, fonts,
logos) is taken out and a few lines of style put in, so that they open without a network and tell nobody.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from data_contracts.checks import great_expectations, new_context, quiet, suite, with_derived
from data_contracts.contract import Table

if TYPE_CHECKING:
    import pandas as pd

_OUTSIDE = (
    re.compile(r"<script\b.*?</script>", re.IGNORECASE | re.DOTALL),
    re.compile(r"<(link|img)\b[^>]*\b(href|src)=[\"']https?://[^>]*>", re.IGNORECASE),
    re.compile(r"<p>[^<]*<a\b[^>]*newsletter.*?</p>", re.IGNORECASE | re.DOTALL),
    re.compile(r"background(-image)?:\s*url\([\"']?https?://[^)]*\)[^;}]*;?", re.IGNORECASE),
)
_STYLE = """<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; }
table { border-collapse: collapse; margin: .5rem 0; }
th, td { border: 1px solid #ccc; padding: .3rem .6rem; text-align: left; vertical-align: top; }
.badge { background: #eee; border-radius: .3rem; padding: 0 .3rem; }
.fa-times::before { color: #b00020; content: "\\2717"; }
.fa-check-circle::before { color: #0a7a2f; content: "\\2713"; }
.navbar-brand, button, .modal, .cta-footer { display: none; }
</style>
</head>"""
_INDEX = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Batch {batch}</title></head>
<body><h1>Batch {batch}: rows as they came in, against their contracts</h1>
<table><tr><th>table</th><th>rows</th><th>expectations</th><th>met</th></tr>
{lines}
</table></body></html>
"""
_LINE = '<tr><td><a href="{page}">{table}</a></td><td>{rows:,}</td><td>{told}</td><td>{met}</td></tr>'


@dataclass(frozen=True, slots=True)
class _Outcome:
    table: str
    rows: int
    expectations: int
    met: int


def write_data_docs(folder: Path, tables: Sequence[tuple[Table, pa.Table]]) -> Path:
    """Write the pages of a batch's coerced tables and give their first page; what was there before is replaced."""
    staged = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    outcomes = _build(staged, tables)
    shutil.rmtree(staged / "static", ignore_errors=True)
    (staged / "index.html").write_text(_index(staged, folder.name, outcomes), encoding="utf-8")
    for page in staged.rglob("*.html"):
        page.write_text(_without_outside(page.read_text(encoding="utf-8")), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    staged.replace(folder)
    return folder / "index.html"


def _index(folder: Path, batch: str, outcomes: Sequence[_Outcome]) -> str:
    """A first page of our own: the library's is drawn by scripts that come from other hosts."""
    lines = []
    for one in outcomes:
        (page,) = (folder / "validations" / one.table).rglob("*.html")
        relative = page.relative_to(folder).as_posix()
        lines.append(
            _LINE.format(page=relative, table=one.table, rows=one.rows, told=one.expectations, met=one.met)
        )
    return _INDEX.format(batch=escape(batch), lines="\n".join(lines))


def _build(folder: Path, tables: Sequence[tuple[Table, pa.Table]]) -> list[_Outcome]:
    context = new_context()
    with quiet():
        for name in context.get_site_names():
            context.delete_data_docs_site(name)
        context.add_data_docs_site(site_name="batch", site_config=_site(folder))
        outcomes = [_validate(context, table, rows.select(table.names).to_pandas()) for table, rows in tables]
        context.build_data_docs()
    return outcomes


def _site(folder: Path) -> dict[str, object]:
    return {
        "class_name": "SiteBuilder",
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        "show_how_to_buttons": False,
        "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder)},
    }


def _validate(context: Any, table: Table, frame: pd.DataFrame) -> _Outcome:
    """Hold a frame against its suite, so that the context keeps the outcome for its pages."""
    library = great_expectations()
    kept = context.suites.add(suite(table))
    rows = context.data_sources.add_pandas(table.name).add_dataframe_asset("rows")
    definition = context.validation_definitions.add(
        library.ValidationDefinition(
            name=table.name, data=rows.add_batch_definition_whole_dataframe("whole"), suite=kept
        )
    )
    check = library.Checkpoint(
        name=table.name, validation_definitions=[definition], actions=[], result_format="SUMMARY"
    )
    (result,) = check.run(batch_parameters={"dataframe": with_derived(table, frame)}).run_results.values()
    met = result.statistics["successful_expectations"]
    return _Outcome(table.name, len(frame), result.statistics["evaluated_expectations"], met)


def _without_outside(text: str) -> str:
    for pattern in _OUTSIDE:
        text = pattern.sub("", text)
    return text.replace("</head>", _STYLE, 1)
