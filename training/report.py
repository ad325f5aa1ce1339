"""The figures of an evaluation as one HTML file with its plots inside."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from training.metrics import COVERAGE
from training.page import grow, page, plot, write_page
from training.quantiles import QUANTILE_LEVELS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Figures = Mapping[str, Any]
SHOWN_GROUPS = 40
COLUMNS = ("n", "mae_min", "rmse_min", "pinball_min", "coverage_80", "width_80_min", "interval_score_80")
#: The bands of a fan, from the widest to the narrowest.
BANDS = (("0.05", "0.95"), ("0.1", "0.9"), ("0.25", "0.75"))


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
        _intervals(figures["intervals_95"]),
        f"<p>Late: {late['base_rate']:.1%} of stops. Brier skill {_number(late['brier_skill'])}, "
        f"calibration error {_number(late['ece'])}, AUC {_number(late['auc'])}.</p>",
        *(plot(heading, partial(draw, figures=figures)) for heading, draw in _plots(figures)),
        *(_table(f"By {_words(kind)}", slices) for kind, slices in figures["slices"].items() if slices),
    ]
    return page(title, parts)


def _plots(figures: Figures) -> list[tuple[str, Any]]:
    """Headings and drawings; what a set has no data for is left out."""
    plots = [
        ("Does a quantile mean what it says?", _calibration),
        ("Does a late probability mean what it says?", _late),
        ("Error and window by time to arrival", _horizon),
        ("Does a wider window say a larger error?", _width),
        ("What a promise costs: width of the window against the share that comes later", _promise),
        (f"Coverage of the {COVERAGE:.0%} window by group", _groups),
    ]
    if "alerts" in figures:
        plots.append((f"Alerts from {figures['alerts']['proposal']['in_words']}", _alerts))
    if figures["curves"]["fan"]:
        plots.append((f"Route {figures['curves']['fan']['route_id']} as it was forecast", _fan))
    return plots


def _words(name: str) -> str:
    return escape(name.replace("_", " "))


def _table(title: str, lines: Mapping[str, Figures]) -> str:
    head = "".join(f"<th>{name}</th>" for name in ("", *COLUMNS))
    rows = "".join(
        f"<tr><td>{escape(name)}</td>{''.join(f'<td>{_number(line.get(c))}</td>' for c in COLUMNS)}</tr>"
        for name, line in lines.items()
    )
    return f"<h2>{title}</h2><table><tr>{head}</tr>{rows}</table>"


def _intervals(intervals: Mapping[str, list[float]]) -> str:
    if not intervals:
        return "<p>Too few clusters for intervals.</p>"
    told = ", ".join(
        f"{_words(name)} {_number(low)} to {_number(high)}" for name, (low, high) in intervals.items()
    )
    return f"<p>95 % intervals, by bootstrap over clusters: {told}.</p>"


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value == int(value) and abs(value) >= 10 else f"{value:,.3f}"


def _calibration(axes: Axes, figures: Figures) -> None:
    shares = figures["share_below_quantile"]
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    axes.plot(QUANTILE_LEVELS, [shares[f"{level:g}"] for level in QUANTILE_LEVELS], "o-")
    axes.set(xlabel="stated level", ylabel="share of arrivals at or before it", xlim=(0, 1), ylim=(0, 1))


def _late(axes: Axes, figures: Figures) -> None:
    curve = figures["curves"]["late"]
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    axes.plot([part["stated"] for part in curve], [part["late"] for part in curve], "o-")
    axes.set(xlabel="stated probability", ylabel="share that was late", xlim=(0, 1), ylim=(0, 1))


def _horizon(axes: Axes, figures: Figures) -> None:
    bins = figures["slices"]["horizon"]
    axes.plot(list(bins), [line["mae_min"] for line in bins.values()], "o-", label="MAE")
    axes.plot(
        list(bins), [line["width_80_min"] / 2 for line in bins.values()], "s--", label="half the 80 % window"
    )
    axes.set(xlabel="time to arrival, min", ylabel="minutes")
    axes.set_ylim(bottom=0)
    axes.legend()


def _width(axes: Axes, figures: Figures) -> None:
    curve = figures["curves"]["width"]
    axes.plot([part["width_min"] for part in curve], [part["mae_min"] for part in curve], "o-")
    axes.set(xlabel="width of the 80 % window, min", ylabel="MAE, min")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)


def _promise(axes: Axes, figures: Figures) -> None:
    curve = figures["curves"]["promise"]
    width, late = [part["width_min"] for part in curve], [part["share_late"] for part in curve]
    axes.plot(width, late, "o-")
    for part, x, y in zip(curve, width, late, strict=True):
        axes.annotate(f"{part['coverage']:.0%}", (x, y), textcoords="offset points", xytext=(4, 4))
    axes.set(xlabel="mean width of the promise, min", ylabel="share later than the promise")
    axes.set_ylim(bottom=0)


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


def _alerts(axes: Axes, figures: Figures) -> None:
    alerts = figures["alerts"]
    for name, curve, style in (
        ("forecast", alerts["curve"], "o-"),
        ("forecast, days chosen on", alerts["validation"], ":"),
        ("lookup", alerts["lookup"]["curve"], "s--"),
    ):
        told = sorted((part for part in curve if part["flagged"]), key=lambda part: part["budget"])
        budget = [part["budget"] for part in told]
        axes.plot(budget, [part["precision"] for part in told], style, label=f"precision, {name}")
        axes.plot(budget, [part["recall"] for part in told], style, label=f"recall, {name}", alpha=0.6)
    goal = alerts["proposal"]
    axes.axvspan(goal["budget"], 1.0, color="0.93", zorder=0)
    axes.axhline(goal["floor"], color="0.7", linewidth=1, linestyle="--")
    axes.axvline(alerts["budget"] or 0.0, color="0.7", linewidth=1)
    axes.set(xlabel="share of stops that are flagged", ylabel="share", ylim=(0, 1))
    axes.set_xlim(0, max(2 * goal["budget"], 0.2))
    axes.legend()


def _fan(axes: Axes, figures: Figures) -> None:
    fan = figures["curves"]["fan"]
    place = np.arange(1, len(fan["stop_ids"]) + 1)
    for low, high in BANDS:
        quantiles = fan["quantiles_min"]
        axes.fill_between(place, quantiles[low], quantiles[high], color="tab:blue", alpha=0.25, linewidth=0)
    axes.plot(place, fan["quantiles_min"]["0.5"], color="tab:blue", label="forecast, with 50, 80 and 90 %")
    axes.plot(place, fan["arrival_min"], "k.", label="arrived")
    axes.set(xlabel="stop on the route", ylabel="minutes after the forecast")
    axes.legend()
