"""One HTML file that refers to nothing outside itself: its style, its plots, and how it is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: #1b1f24; background: #fff }
table { border-collapse: collapse; margin: 1rem 0 } td, th { padding: .25rem .75rem; text-align: right;
  border-bottom: 1px solid #d0d7de } td:first-child, th:first-child { text-align: left }
svg { max-width: 100%; height: auto }
"""


def page(title: str, parts: Sequence[str]) -> str:
    """A page of parts that are HTML already."""
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
    return f"<!doctype html><html lang=en><head>{head}</head><body>{''.join(parts)}</body></html>"


def plot(title: str, draw: Callable[[Axes], None]) -> str:
    """A heading and a plot as SVG text."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    draw(figure.subplots())
    text = StringIO()
    figure.savefig(text, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return f"<h2>{escape(title)}</h2>{text.getvalue()[text.getvalue().index('<svg') :]}"


def grow(axes: Axes, bars: int) -> None:
    """Make a plot as high as its bars need."""
    figure = axes.get_figure(root=True)
    if figure is not None:
        figure.set_figheight(1.5 + 0.25 * bars)


def write_page(path: Path, html: str) -> None:
    """Write a page whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.tmp")
    staged.write_text(html, encoding="utf-8")
    staged.replace(path)
