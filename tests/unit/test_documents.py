"""The reference pages: complete, and never behind the definitions that they are made from."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_contracts.rules import reasons
from data_contracts.tables import TABLES, Table
from features.moment import FEATURES
from features.vectors import feature_set_hash
from features.views import VIEWS
from pipelines.documents import DOCS, PAGES, README, contracts_page, features_page, write
from pipelines.readme import filled


@pytest.mark.parametrize("name", PAGES)
def test_the_pages_in_docs_are_not_stale(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name](), "run `make docs`"


@pytest.mark.parametrize("table", TABLES.values(), ids=list(TABLES))
def test_every_column_and_reason_of_a_table_is_told(table: Table) -> None:
    page = contracts_page().split(f"\n## {table.name}\n")[1].split("\n## ")[0]
    assert table.meaning in page
    for column in table.columns:
        (line,) = (line for line in page.splitlines() if line.startswith(f"| `{column.name}` |"))
        assert column.meaning in line
        assert f"| {column.dtype.value} | {column.unit} |" in line
    codes = [code for code in reasons(table) if not code.startswith("TYPE_")]
    assert all(f"| `{code}` |" in page for code in codes)


def test_every_feature_and_view_is_told_with_the_hash_of_the_set() -> None:
    page = features_page()
    assert feature_set_hash() in page
    assert all(f"| `{feature.name}` | {feature.unit} |" in page for feature in FEATURES)
    assert all(view.schema_hash in page and f"### {view.name}\n" in page for view in VIEWS)


def test_only_stale_pages_are_written(tmp_path: Path) -> None:
    assert write(tmp_path) == [tmp_path / name for name in PAGES]
    (tmp_path / "features.md").write_text("old")
    assert write(tmp_path) == [tmp_path / "features.md"]
    assert write(tmp_path) == []


def test_the_readme_shows_what_was_last_measured() -> None:
    text = README.read_text(encoding="utf-8")
    assert filled(text) == text, "run `make docs`"
    assert "interval score" in text
    assert "The replayed day" in text
