"""What the pages tell people to type exists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import typer.main

from pipelines.cli import app

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")])
CONSOLE = re.compile(r"^\$ punctual (.+?)(?:\s+#.*)?$", re.MULTILINE)
INLINE = re.compile(r"`punctual ([^`]+)`")
WORD = re.compile(r"^[a-z][a-z-]*$")


def said(page: Path) -> list[str]:
    """Every command line of a page, in console blocks and in running text."""
    text = page.read_text(encoding="utf-8")
    return [line.replace("\n", " ") for line in CONSOLE.findall(text) + INLINE.findall(text)]


def commands(command: Any) -> dict[str, Any]:
    """Commands of a group, by name; nothing of a command that has none."""
    return getattr(command, "commands", {})


def missing(line: str) -> str | None:
    """The first word of a command line that the command does not know."""
    command: Any = typer.main.get_command(app)
    for word in line.replace("|", " ").split():
        if word.startswith("--"):
            options = {name for option in command.params for name in option.opts + option.secondary_opts}
            if word.split("=")[0] not in options | {"--help"}:
                return word
        elif WORD.match(word) and (known := commands(command)):
            if word not in known:
                return word
            command = known[word]
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_the_pages_exist(page: Path) -> None:
    assert [(line, word) for line in said(page) if (word := missing(line))] == []


def test_a_command_that_does_not_exist_is_found() -> None:
    assert missing("levitate now") == "levitate"
    assert missing("promote 3 --gently") == "--gently"
    assert missing("features show NAME --json") is None


def test_every_command_tells_what_it_does() -> None:
    for name, command in commands(typer.main.get_command(app)).items():
        parts = commands(command).values() or [command]
        assert all(part.help for part in parts), name


def test_the_notebook_of_the_models_page_runs() -> None:
    (code,) = re.findall(r"```python\n(.+?)```", (ROOT / "docs/models.md").read_text(), re.DOTALL)
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"plan_s": rng.uniform(300, 3000, 300)})
    known = {"frame": frame, "days": np.arange(300) // 30}
    known["seconds"] = frame["plan_s"].to_numpy() * rng.lognormal(0, 0.2, 300)
    exec(code, known)
    assert (known["start_s"] <= known["median_s"]).all() and (known["median_s"] <= known["end_s"]).all()
