"""The measured parts of the README, made from what the commands wrote to ``docs/results/``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
FIGURES = ("mae_min", "rmse_min", "pinball_min", "coverage_80", "width_80_min", "interval_score_80")
HEADINGS = ("MAE", "RMSE", "pinball", "coverage of the 80 % window", "its width", "interval score")


def filled(text: str) -> str:
    """The README with its measured parts as they were last written."""
    for name, block in {"demo": demo_block(), "nyc": nyc_block()}.items():
        before, _, rest = text.partition(f"<!-- {name} -->\n")
        _, mark, after = rest.partition(f"<!-- /{name} -->")
        text = f"{before}<!-- {name} -->\n{block}{mark}{after}"
    return text


def demo_block() -> str:
    """The last live table and the summary that ``make demo`` printed."""
    path = RESULTS / "demo.txt"
    return f"```text\n{path.read_text(encoding='utf-8').rstrip()}\n```\n" if path.exists() else ""


def nyc_block() -> str:
    """The figures of the backtest on New York trips, beside their baselines."""
    path = RESULTS / "nyc_taxi_2021.json"
    if not path.exists():
        return ""
    figures = json.loads(path.read_text(encoding="utf-8"))
    lines: dict[str, Mapping[str, Any]] = {
        f"**Punctual** ({figures['n']:,} trips)": figures,
        "with online calibration": figures["live"],
        "lookup": figures["baselines"]["lookup"],
        "plain LightGBM, raw quantiles": figures["baselines"]["lightgbm_plain"],
    }
    head = f"| | {' | '.join(HEADINGS)} |\n|---|{'---|' * len(HEADINGS)}\n"
    rows = [
        f"| {who} | {' | '.join(_number(name, line.get(name)) for name in FIGURES)} |"
        for who, line in lines.items()
    ]
    return head + "\n".join(rows) + "\n"


def _number(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1%}" if name.startswith("coverage") else f"{value:.2f}"
