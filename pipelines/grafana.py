"""``docs/grafana.json``: a dashboard of the panels below; import it into Grafana and choose a Prometheus source."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

COLUMNS, WIDTH, HEIGHT = 3, 8, 8
_RATE = "[$__rate_interval]"


@dataclass(frozen=True, slots=True)
class Panel:
    """A graph: its title, its unit in Grafana's words, and pairs of expression and legend."""

    title: str
    unit: str
    lines: tuple[tuple[str, str], ...]


def _quantile(share: float, name: str, by: str = "") -> str:
    keys = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({keys}) (rate(punctual_{name}_bucket{_RATE})))"


ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    (
        "Is it right?",
        (
            Panel(
                "Coverage of the windows of the last day, by minutes ahead",
                "percentunit",
                (
                    ("punctual_live_coverage", "{{ahead_min}} min"),
                    ("punctual_promised_coverage", "promised, {{ahead_min}} min"),
                ),
            ),
            Panel("Windows that were decided", "short", (("punctual_live_windows", "{{ahead_min}} min"),)),
            Panel(
                "Open alerts and revised promises",
                "short",
                (("punctual_open_alerts", "open alerts"), ("punctual_revised_promises", "revised promises")),
            ),
        ),
    ),
    (
        "Is it fresh?",
        (
            Panel("Age of each feed", "s", (("punctual_feed_age_seconds", "{{type}}"),)),
            Panel(
                "Event to forecast",
                "s",
                (
                    (_quantile(0.5, "event_to_forecast_seconds"), "p50"),
                    (_quantile(0.95, "event_to_forecast_seconds"), "p95"),
                ),
            ),
            Panel(
                "Behind",
                "short",
                (
                    ("punctual_engine_behind_records", "engine, records"),
                    ("punctual_sender_behind_events", "sender, events"),
                    ("punctual_webhook_messages_pending", "webhooks, messages"),
                    ("punctual_scoring_waiting", "scoring, requests"),
                ),
            ),
        ),
    ),
    (
        "Is it fast?",
        (
            Panel(
                "p95 of an answer, by call",
                "s",
                ((_quantile(0.95, "call_seconds", "call"), "{{call}}"),),
            ),
            Panel("Answers", "reqps", ((f"sum by (call) (rate(punctual_calls_total{_RATE}))", "{{call}}"),)),
            Panel(
                "Answers that are no success",
                "reqps",
                (
                    (
                        f'sum by (call, status) (rate(punctual_calls_total{{status!~"2.."}}{_RATE}))',
                        "{{call}} {{status}}",
                    ),
                ),
            ),
        ),
    ),
    (
        "What comes in and goes out?",
        (
            Panel("Records, by type", "cps", ((f"rate(punctual_log_appended_total{_RATE})", "{{type}}"),)),
            Panel(
                "Rows sent to the API, by verdict",
                "cps",
                ((f"sum by (verdict) (rate(punctual_ingested_rows_total{_RATE}))", "{{verdict}}"),),
            ),
            Panel(
                "Webhook attempts, by outcome",
                "cps",
                (
                    (f"sum by (outcome) (rate(punctual_webhook_attempts_total{_RATE}))", "{{outcome}}"),
                    ("punctual_webhook_messages_dead", "dead letters"),
                ),
            ),
        ),
    ),
    (
        "Will it last?",
        (
            Panel(
                "Engine",
                "cps",
                (
                    (f"sum(rate(punctual_engine_records_total{_RATE}))", "records"),
                    (f"sum(rate(punctual_engine_scored_stops_total{_RATE}))", "scored stops"),
                    (f"sum(increase(punctual_engine_starts_total{_RATE}))", "starts"),
                ),
            ),
            Panel("Files", "bytes", (("punctual_file_bytes", "{{file}}"),)),
            Panel(
                "Disk and streams",
                "short",
                (("punctual_disk_free_bytes / 1e9", "GB free"), ("punctual_streams", "open streams")),
            ),
        ),
    ),
)


def grafana_page() -> str:
    """The dashboard as Grafana imports it."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, row in ROWS:
        place = {"x": 0, "y": top, "w": COLUMNS * WIDTH, "h": 1}
        panels.append({"id": len(panels) + 1, "type": "row", "title": title, "gridPos": place})
        for column, panel in enumerate(row):
            place = {"x": column * WIDTH, "y": top + 1, "w": WIDTH, "h": HEIGHT}
            panels.append({"id": len(panels) + 1, "gridPos": place, **_graph(panel)})
        top += HEIGHT + 1
    return json.dumps(_dashboard(panels), indent=2) + "\n"


def _graph(panel: Panel) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${source}"}
    targets = [
        {"refId": chr(ord("A") + place), "datasource": source, "expr": expression, "legendFormat": legend}
        for place, (expression, legend) in enumerate(panel.lines)
    ]
    return {
        "type": "timeseries",
        "title": panel.title,
        "datasource": source,
        "targets": targets,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
    }


def _dashboard(panels: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "title": "Punctual",
        "uid": "punctual",
        "tags": ["punctual"],
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [{"name": "source", "type": "datasource", "query": "prometheus"}]},
        "panels": panels,
    }
