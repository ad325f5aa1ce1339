"""Tests that take minutes or hours run only when they are asked for by name or by their marker."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    asked = str(config.getoption("markexpr", ""))
    named = any("::" in argument for argument in config.args)
    if "on_demand" in asked or named:
        return
    left = [item for item in items if item.get_closest_marker("on_demand")]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]
