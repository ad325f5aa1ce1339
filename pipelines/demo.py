"""The whole chain on a simulated city: history, contracts, features, model, service, and an unseen day replayed."""

from __future__ import annotations

import shutil
import socket
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from data_contracts.workspace import Workspace
from pipelines.history import build_features, landed_history, materialize, write_state
from pipelines.land import land
from pipelines.replay import Event, Pace, Replay, timeline
from pipelines.sources import simulated
from pipelines.train import Trained, TrainingPlan, train_challenger
from serving.rehearsals.alert_evaluation import AlertSpan, StopOutcome, alert_figures
from serving.supervisor import running_service
from serving.times import from_rfc3339
from training.dataset import HORIZON_EDGES_MIN, HORIZON_NAMES

FIRST_DAY = date(2026, 1, 5)
DAYS_A_BATCH = 7
PAGE = 1_000
SHOWN_STOPS = 12
COVERAGE = 0.8
#: A demo that is kept can be watched from here on, at so many log seconds a second.
LIVE_FROM = time(11, 45)
LIVE_SPEED = 30.0
SETTINGS = """\
# A replayed day brings its own clock: events say when they were received.
[serving]
clock = "log"
# The demo's own subscribers listen on this machine, without TLS.
[serving.webhooks]
plain_http = true
allowed_networks = ["127.0.0.1/32"]
"""

Say = Callable[[str], None]
Tables = Mapping[str, pa.Table]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Which city, which seed, and how many days of history before the day that is replayed: one with a storm."""

    size: str = "demo"
    seed: int = 517
    days: int = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRow:
    """A line of the live table."""

    stop_id: str
    promised: str
    forecast: str
    late_probability: float | None
    reason: str
    alert: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentRow:
    """A line of the table of incidents; ``actions`` are those proposed last, the best first."""

    incident_id: str
    cause: str
    span: str
    severity: str
    stops: int
    routes: int
    evidence: str
    actions: tuple[str, ...]


def prepare(
    workspace: Workspace, scenario: Scenario, say: Say, plan: TrainingPlan | None = None
) -> tuple[Trained, date, Tables]:
    """Make the history, check it, build features, train and promote; give the unseen day's tables."""
    if workspace.root.exists():
        shutil.rmtree(workspace.root)
    workspace.root.mkdir(parents=True)
    workspace.settings.write_text(SETTINGS, encoding="utf-8")
    say("reference city")
    days = list(simulated.generate(scenario.size, scenario.seed, FIRST_DAY, scenario.days + 1))
    for start in range(0, scenario.days, DAYS_A_BATCH):
        batch = days[start : min(start + DAYS_A_BATCH, scenario.days)]
        say(f"contracts, {batch[0][0]} to {batch[-1][0]}")
        land(workspace, _joined([tables for _, tables in batch]), batch[0][0].isoformat())
    ordered = landed_history(workspace)
    features = build_features(workspace, ordered, say)
    write_state(workspace, features, ordered)
    say("Feast materialization")
    materialize(workspace, ordered)
    trained = train_challenger(workspace, ordered, plan=plan, say=say)
    unseen_day, unseen = days[scenario.days]
    return trained, unseen_day, unseen


def _joined(days: Sequence[Tables]) -> dict[str, pa.Table]:
    names = dict.fromkeys(name for tables in days for name in tables)
    return {name: pa.concat_tables([tables[name] for tables in days if name in tables]) for name in names}


@contextmanager
def live_service(workspace: Workspace) -> Iterator[httpx.Client]:
    """The workspace's service on a free port, and a client of it."""
    workspace.reports.mkdir(parents=True, exist_ok=True)
    with (
        running_service(workspace, free_port(), output=workspace.reports / "service.log") as url,
        httpx.Client(base_url=url, timeout=30.0) as client,
    ):
        yield client


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def replay_day(
    client: httpx.Client,
    tables: Tables,
    pace: Pace,
    on_progress: Callable[[int, int, datetime], None],
    on_live: Callable[[datetime], None] | None = None,
) -> int:
    """Replay a day's events; give how many there were.

    on_live : from ``LIVE_FROM`` on the day goes on at a pace that people can follow; called when it begins to
    """
    events: list[Event] = timeline(tables, pace.tick)
    fast = events if on_live is None else events[: live_from(events, tables)]
    Replay(client, pace, lambda done, at: on_progress(done, len(events), at)).run(fast)
    if on_live is not None and len(fast) < len(events):
        on_live(datetime.fromisoformat(str(events[len(fast)]["received_at"])))
        paced = Pace(speed=LIVE_SPEED, tick=pace.tick)
        told = lambda done, at: on_progress(len(fast) + done, len(events), at)  # noqa: E731
        Replay(client, paced, told).run(events[len(fast) :])
    return len(events)


def live_from(events: Sequence[Event], tables: Tables) -> int:
    """The place of the first event at or after ``LIVE_FROM`` of the service day, local time."""
    zone, day = (tables["routes"][name][0].as_py() for name in ("timezone", "service_date"))
    instant = datetime.combine(date.fromisoformat(str(day)), LIVE_FROM, ZoneInfo(zone)).astimezone(UTC)
    text = instant.strftime("%Y-%m-%dT%H:%M:%S")
    return bisect_left(events, text, key=lambda event: str(event["received_at"]))


def live_rows(client: httpx.Client, zone: Any) -> list[StopRow]:
    """The stops worth looking at now: those with an alert, then each route's next, scored live with reasons."""
    alerts = client.get("/v1/alerts", params={"state": "open", "limit": SHOWN_STOPS}).json()["alerts"]
    routes = client.get("/v1/routes", params={"limit": 100}).json()["routes"]
    wanted = [alert["stop_id"] for alert in alerts if alert["stop_id"]]
    wanted += [route["next_stop_id"] for route in routes if route["next_stop_id"]]
    stop_ids = list(dict.fromkeys(wanted))[:SHOWN_STOPS]
    if not stop_ids:
        return []
    answer = client.post("/v1/eta", json={"stop_ids": stop_ids, "reasons": True}).json()
    alarmed = {alert["stop_id"]: alert for alert in alerts}
    return [_row(each, alarmed.get(each["stop_id"]), zone) for each in answer["forecasts"] if "eta" in each]


def incident_rows(client: httpx.Client, zone: Any) -> list[IncidentRow]:
    """Every incident that was told: of a whole area first, then those that struck the most stops."""
    found = client.get("/v1/incidents", params={"limit": PAGE}).json()["incidents"]
    told = [incident for incident in found if incident["told_at"]]
    return [
        IncidentRow(
            incident_id=incident["incident_id"],
            cause=f"{incident['cause']} {incident['subject']['id']}",
            span=f"{_clock(incident['opened_at'], zone)}-{_ended(incident, zone)}",
            severity=incident["severity"],
            stops=incident["affected"]["stops"],
            routes=len(incident["affected"]["route_ids"]),
            evidence=", ".join(incident["evidence"]) or "late risk of its stops",
            actions=tuple(_action(action) for action in incident["actions"]),
        )
        for incident in sorted(told, key=_rank)
    ]


def _rank(incident: Mapping[str, Any]) -> tuple[bool, int]:
    return incident["subject"]["kind"] != "area", -incident["affected"]["stops"]


def _ended(incident: Mapping[str, Any], zone: Any) -> str:
    return _clock(incident["resolved_at"], zone) if incident["resolved_at"] else ""


def _action(action: Mapping[str, Any]) -> str:
    gain = action["gain"]["late_stops"]
    what = {
        "resequence": "another order of the stops left",
        "offer_window": f"a new window for {len(action.get('windows', ()))} customers",
        "notify": f"a message to {len(action.get('stop_ids', ()))} customers",
    }[action["kind"]]
    return f"{action['route_id']}: {what} (worth {gain:.1f} late stops)"


def _row(forecast: Mapping[str, Any], alert: Mapping[str, Any] | None, zone: Any) -> StopRow:
    late, reasons = forecast["late"], forecast["reasons"]
    return StopRow(
        stop_id=forecast["stop_id"],
        promised=_span(forecast["promise"], zone),
        forecast=_span(forecast["window"], zone),
        late_probability=late["probability"] if late else None,
        reason=f"{reasons[0]['code']} {reasons[0]['minutes']:+.0f} min" if reasons else "",
        alert=f"{alert['severity']} since {_clock(alert['opened_at'], zone)}" if alert else "",
    )


def _span(window: Mapping[str, str] | None, zone: Any) -> str:
    return f"{_clock(window['start'], zone)}-{_clock(window['end'], zone)}" if window else ""


def _clock(instant: str, zone: Any) -> str:
    return datetime.fromisoformat(instant).astimezone(zone).strftime("%H:%M")


def summarize(client: httpx.Client, tables: Tables, seed: int) -> dict[str, Any]:
    """What the served forecasts and alerts of the day were worth, by what the service itself tells."""
    truth, departed = outcomes_of(tables), departures_of(tables)
    forecasts = [
        row
        for stop_id, outcome in truth.items()
        for row in _headline(_history(client, stop_id), outcome, departed, seed)
    ]
    arrival, eta, start, end = (np.array(column, np.float64) for column in zip(*forecasts, strict=True))
    alerts = client.get("/v1/alerts", params={"limit": PAGE}).json()["alerts"]
    spans = [_alert_span(alert) for alert in alerts if alert["stop_id"]]
    return {
        "n": len(forecasts),
        "mae_min": float(np.abs(arrival - eta).mean() / 60e6),
        "coverage_80": float(((arrival >= start) & (arrival <= end)).mean()),
        "width_80_min": float((end - start).mean() / 60e6),
        "alerts": alert_figures(spans, list(truth.values())),
    }


def outcomes_of(tables: Tables) -> dict[str, StopOutcome]:
    """What became of each stop of a day, by its events."""
    stops = pl.DataFrame(pl.from_arrow(tables["stops"])).sort("plan_version").unique("stop_id", keep="first")
    events = pl.DataFrame(pl.from_arrow(tables["stop_events"]))
    reached = (
        events.filter(pl.col("kind") == "arrived").group_by("stop_id").agg(at=pl.col("occurred_at").min())
    )
    rows = stops.join(reached, on="stop_id", how="left").select(
        "stop_id", pl.col("promised_end_at").dt.epoch("us"), pl.col("at").dt.epoch("us")
    )
    return {
        stop_id: StopOutcome(stop_id=stop_id, promise_end_us=end, reached_us=at)
        for stop_id, end, at in rows.iter_rows()
        if end is not None
    }


def departures_of(tables: Tables) -> dict[str, int]:
    """When each route of a day left its depot, microseconds."""
    events = pl.DataFrame(pl.from_arrow(tables["stop_events"])).filter(pl.col("kind") == "departed_depot")
    left = events.group_by("route_id").agg(pl.col("occurred_at").min().dt.epoch("us"))
    return dict(left.iter_rows())


def _history(client: httpx.Client, stop_id: str) -> list[dict[str, Any]]:
    response = client.get(f"/v1/stops/{stop_id}/history", params={"limit": PAGE})
    return list(response.json()["forecasts"]) if response.status_code == 200 else []


def _headline(
    history: Sequence[Mapping[str, Any]], outcome: StopOutcome, departed: Mapping[str, int], seed: int
) -> Iterator[tuple[int, int, int, int]]:
    """One seeded forecast of each horizon bin: arrival, estimate, window start and end, microseconds."""
    if outcome.reached_us is None:
        return
    bins: dict[int, list[Mapping[str, Any]]] = {}
    for forecast in history:
        as_of_us = from_rfc3339(forecast["as_of"])
        ahead_min = (outcome.reached_us - as_of_us) / 60e6
        if ahead_min > 0:
            before = as_of_us < departed.get(forecast["route_id"], 0)
            place = (
                len(HORIZON_NAMES) if before else int(np.searchsorted(HORIZON_EDGES_MIN, ahead_min, "right"))
            )
            bins.setdefault(place, []).append(forecast)
    draw = _draws(seed, outcome.stop_id)
    for place, forecasts in sorted(bins.items()):
        chosen = forecasts[int(draw[place] * len(forecasts))]
        yield (
            outcome.reached_us,
            from_rfc3339(chosen["eta"]),
            from_rfc3339(chosen["window"]["start"]),
            from_rfc3339(chosen["window"]["end"]),
        )


def _draws(seed: int, stop_id: str) -> NDArray[np.float64]:
    return np.random.default_rng([seed, *stop_id.encode()]).random(len(HORIZON_NAMES) + 1)


def _alert_span(alert: Mapping[str, Any]) -> AlertSpan:
    return AlertSpan(
        stop_id=alert["stop_id"],
        rule=alert["rule"],
        opened_us=from_rfc3339(alert["opened_at"]),
        resolved_us=from_rfc3339(alert["resolved_at"]) if alert["resolved_at"] else None,
    )


def default_workspace(root: Path) -> Workspace:
    return Workspace(root / "demo")
