"""What a person sees: steps with progress bars, tables, and JSON beside every table."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

#: Where no terminal tells its width, tables have room.
WIDTH_WITHOUT_TERMINAL = 120

console = Console(width=None if sys.stdout.isatty() else WIDTH_WITHOUT_TERMINAL)
#: Progress and remarks go to standard error, so that standard output can be piped.
remarks = Console(stderr=True)


@dataclass(slots=True)
class Steps:
    """A bar that moves with the named steps of a chain; ``total`` is how many there are."""

    progress: Progress
    task: TaskID
    started_s: float

    def __call__(self, step: str) -> None:
        self.progress.update(self.task, description=step)
        self.progress.advance(self.task)
        if not remarks.is_terminal:
            remarks.print(f"{self.progress.get_time() - self.started_s:6.1f} s  {step}", highlight=False)

    def of(self, done: int, total: int, step: str) -> None:
        """Move within one long step."""
        self.progress.update(self.task, description=f"{step} {done:,}/{total:,}")


@contextmanager
def steps(title: str, total: int) -> Iterator[Steps]:
    """Show a bar while a chain runs; where no terminal is, each step is a line."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=remarks, transient=True, disable=not remarks.is_terminal) as progress:
        if not remarks.is_terminal:
            remarks.print(title, highlight=False)
        yield Steps(progress, progress.add_task(title, total=total), progress.get_time())


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """A table; numbers stand right."""
    shown = Table(title=title, title_justify="left", title_style="bold")
    for place, column in enumerate(columns):
        numeric = any(isinstance(row[place], int | float) for row in rows)
        shown.add_column(column, justify="right" if numeric else "left", no_wrap=place == 0)
    for row in rows:
        shown.add_row(*(text(cell) for cell in row))
    return shown


def text(cell: Any) -> str:
    """A cell as a person reads it."""
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return f"{cell:,.3f}" if abs(cell) < 10 else f"{cell:,.1f}"
    return f"{cell:,}" if isinstance(cell, int) and not isinstance(cell, bool) else str(cell)


def as_json(document: Mapping[str, Any] | Sequence[Any]) -> str:
    return json.dumps(document, indent=2, default=str)


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a document whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.tmp")
    staged.write_text(as_json(document) + "\n", encoding="utf-8")
    staged.replace(path)
