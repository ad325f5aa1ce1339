"""The figures of an evaluation as one HTML file with its plots inside."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.metrics import COVERAGE
from training.page import grow, page, plot, write_page
from training.quantiles import QUANTILE_LEVELS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Figures = Mapping[str, Any]
SHOWN_GROUPS = 40
COLUMNS = ("n", "mae_min", "rmse_min", "pinball_min", "coverage_80", "width_80_min", "interval_score_80")


def write_report(path: Path, title: str, figures: Figures) -> None:
    """Write the report whole or not at all."""
    write_page(path, report(title, figures))


def report(title: str, figures: Figures) -> str:
    """The report's HTML; it refers to nothing outside itself."""
    baselines = {name: line for name, line in figures["baselines"].items() if line}
    lines = {"forecast": figures, "with online calibration": figures["live"]} | baselines
    late = figures["late"]
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{figures['n']:,} forecasts, trained on {figures['n_train']:,} rows. Left out: "
        f"{escape(str(figures['n_excluded']) if figures['n_excluded'] else 'nothing')}.</p>",
        _table("Beside the baselines", lines),
        _table("By time to arrival", figures["by_horizon"]),
        f"<p>Late: {late['base_rate']:.1%} of stops. Brier skill {_number(late['brier_skill'])}, "
        f"calibration error {_number(late['ece'])}, AUC {_number(late['auc'])}.</p>",
        plot("Does a quantile mean what it says?", lambda axes: _calibration(axes, figures)),
        plot("Error and window by time to arrival", lambda axes: _horizon(axes, figures)),
        plot(f"Coverage of the {COVERAGE:.0%} window by group", lambda axes: _groups(axes, figures)),
    ]
    return page(title, parts)


def _table(title: str, lines: Mapping[str, Figures]) -> str:
    head = "".join(f"<th>{name}</th>" for name in ("", *COLUMNS))
    rows = "".join(
        f"<tr><td>{escape(name)}</td>{''.join(f'<td>{_number(line.get(c))}</td>' for c in COLUMNS)}</tr>"
        for name, line in lines.items()
    )
    return f"<h2>{escape(title)}</h2><table><tr>{head}</tr>{rows}</table>"


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value == int(value) and abs(value) >= 10 else f"{value:,.3f}"


def _calibration(axes: Axes, figures: Figures) -> None:
    shares = figures["share_below_quantile"]
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    axes.plot(QUANTILE_LEVELS, [shares[f"{level:g}"] for level in QUANTILE_LEVELS], "o-")
    axes.set(xlabel="stated level", ylabel="share of arrivals at or before it", xlim=(0, 1), ylim=(0, 1))


def _horizon(axes: Axes, figures: Figures) -> None:
    bins = figures["by_horizon"]
    axes.plot(list(bins), [line["mae_min"] for line in bins.values()], "o-", label="MAE")
    axes.plot(
        list(bins), [line["width_80_min"] / 2 for line in bins.values()], "s--", label="half the 80 % window"
    )
    axes.set(xlabel="time to arrival, min", ylabel="minutes")
    axes.set_ylim(bottom=0)
    axes.legend()


def _groups(axes: Axes, figures: Figures) -> None:
    found = [
        (f"{kind} {label}", group["coverage"], group["standard_error"])
        for kind, groups in figures["coverage_by_group"].items()
        for label, group in groups.items()
    ]
    shown = sorted(found, key=lambda group: group[1])[:SHOWN_GROUPS]
    axes.axvline(COVERAGE, color="0.7", linewidth=1)
    if shown:
        names, coverage, errors = zip(*shown, strict=True)
        axes.errorbar(coverage, names, xerr=[2 * (error or 0.0) for error in errors], fmt="o")
        grow(axes, len(shown))
    axes.set(xlabel="coverage, with two standard errors", xlim=(0.5, 1.0))
