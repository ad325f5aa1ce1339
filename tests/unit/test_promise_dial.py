"""The dial of promises: a limit on being late, or what being late costs, and what a backtest says it buys."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from data_contracts.errors import SourceError, WorkspaceError
from pipelines.cli import app as command
from serving.decisions.promise_dial import as_measured, as_stated
from serving.decisions.promises import PromisePolicy
from serving.engine.rounds import EngineSettings
from serving.times import from_rfc3339
from tests.engine_bench import Bench, late_day

CURVE = [
    {"coverage": 0.5, "width_min": 10.0, "share_late": 0.30, "share_early": 0.25},
    {"coverage": 0.8, "width_min": 20.0, "share_late": 0.14, "share_early": 0.10},
    {"coverage": 0.9, "width_min": 30.0, "share_late": 0.08, "share_early": 0.05},
]


def test_without_a_dial_the_window_told_is_the_forecasts_own() -> None:
    assert PromisePolicy().tails(0.8) is None


def test_a_cost_ratio_is_a_late_limit_said_by_its_cost() -> None:
    assert PromisePolicy(cost_ratio=20).tails(0.8) == pytest.approx((0.1, 0.05))
    assert PromisePolicy(late_limit=0.05).tails(0.8) == pytest.approx((0.1, 0.05))
    assert PromisePolicy(early_limit=0.02).tails(0.8) == pytest.approx((0.02, 0.1))


@given(st.floats(2.1, 200))
def test_the_end_at_the_critical_ratio_costs_least(ratio: float) -> None:
    """Arrivals uniform over an hour: the cost r E[(A - end)+] + end, looked for on a grid."""
    tails = PromisePolicy(cost_ratio=ratio).tails(0.8)
    assert tails is not None

    def cost(end: float) -> float:
        return ratio * (1 - end) ** 2 / 2 + end

    assert cost(1 - tails[1]) <= min(cost(n / 1000) for n in range(1001)) + 1e-9


def told_windows(folder: Path, policy: PromisePolicy) -> dict[tuple[str, str], tuple[int, int]]:
    """The windows that customers are told on a late day, by stop and instant."""
    bench = Bench(folder, EngineSettings(promises=policy))
    bench.play(*late_day())
    events = [orjson.loads(event.body) for _, event in bench.reader.outbox(0, 10_000)]
    return {
        (each["subject"], each["time"]): (
            from_rfc3339(each["data"]["now"]["start"]),
            from_rfc3339(each["data"]["now"]["end"]),
        )
        for each in events
        if each["type"] == "eta.window.changed" and each["data"]["reason"] != "WINDOW_RECOVERED"
    }


def test_a_stricter_limit_tells_wider_windows_and_tells_them_sooner(tmp_path: Path) -> None:
    assert told_windows(tmp_path / "a", PromisePolicy()) == told_windows(
        tmp_path / "b", PromisePolicy(late_limit=0.1)
    )
    usual = firsts(told_windows(tmp_path / "usual", PromisePolicy(round_to_s=1)))
    strict = firsts(told_windows(tmp_path / "strict", PromisePolicy(late_limit=0.05, round_to_s=1)))
    both = set(usual) & set(strict)
    assert len(both) >= 3
    for stop in both:
        assert strict[stop][0] <= usual[stop][0]
        assert strict[stop][1] > usual[stop][1]


def firsts(told: dict[tuple[str, str], tuple[int, int]]) -> dict[str, tuple[str, int]]:
    """When each stop's customer was first told something new, and the width of that window."""
    found: dict[str, tuple[str, int]] = {}
    for (stop, time), (start, end) in sorted(told.items(), key=lambda each: each[0][1]):
        found.setdefault(stop, (time, end - start))
    return found


@pytest.mark.parametrize(
    "settings",
    [
        {"late_limit": 0.05, "cost_ratio": 20.0},
        {"late_limit": 0.0},
        {"late_limit": 0.5},
        {"early_limit": -0.1},
        {"cost_ratio": 2.0},
    ],
)
def test_a_dial_that_means_nothing_is_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"late_limit|early_limit|cost_ratio"):
        PromisePolicy(**settings)


def test_a_setting_is_read_off_the_curve() -> None:
    stated, measured = as_stated(CURVE, 0.075), as_measured(CURVE, 0.11)
    assert stated is not None and measured is not None
    assert (stated.width_min, stated.measured) == (pytest.approx(25.0), pytest.approx(0.11))
    assert (measured.late_limit, measured.width_min) == (pytest.approx(0.075), pytest.approx(25.0))


def test_what_was_not_measured_is_not_made_up() -> None:
    assert as_stated(CURVE, 0.01) is None and as_measured(CURVE, 0.5) is None and as_stated([], 0.1) is None


def test_the_command_shows_the_curve_of_a_backtest(tmp_path: Path) -> None:
    path = tmp_path / "backtest.json"
    path.write_bytes(orjson.dumps({"curves": {"promise": CURVE}}))
    shown = CliRunner().invoke(command, ["promises", "curve", str(path), "--late-limit", "0.075"])
    assert shown.exit_code == 0 and "25.0 min" in shown.stdout and "11.0%" in shown.stdout
    told = CliRunner().invoke(command, ["promises", "curve", str(path), "--cost-ratio", "10", "--json"])
    assert orjson.loads(told.stdout)["readings"]["stated"]["width_min"] == pytest.approx(20.0)
    wrong = CliRunner().invoke(command, ["promises", "curve", str(path), "--late-limit", "0.7"])
    assert isinstance(wrong.exception, WorkspaceError)


@pytest.mark.parametrize("text", ["{}", "x", "[]"])
def test_a_file_without_a_curve_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    assert isinstance(CliRunner().invoke(command, ["promises", "curve", str(path)]).exception, SourceError)
    gone = CliRunner().invoke(command, ["promises", "curve", str(tmp_path / "gone.json")])
    assert isinstance(gone.exception, SourceError)
