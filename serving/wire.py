"""What the API takes and gives; the OpenAPI document is made from these."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Id = Annotated[str, Field(min_length=1, max_length=200)]


class Wire(BaseModel):
    model_config = ConfigDict(extra="forbid")


class EtaRequest(Wire):
    """Exactly one of: ``stop_ids``, ``route_id``, or a whole inline ``route`` with its ``stops``."""

    stop_ids: list[Id] | None = Field(default=None, min_length=1)
    route_id: Id | None = None
    route: dict[str, Any] | None = Field(default=None, description="A row of `routes`.")
    stops: list[dict[str, Any]] | None = Field(default=None, min_length=1, description="Rows of `stops`.")
    events: list[dict[str, Any]] = Field(
        default_factory=list, description="Rows of `stop_events` so far, oldest first."
    )
    reasons: bool = False

    @model_validator(mode="after")
    def names_one_thing(self) -> EtaRequest:
        asked = [self.stop_ids is not None, self.route_id is not None, self.route is not None]
        if sum(asked) != 1 or (self.route is None) != (self.stops is None):
            raise ValueError("give stop_ids, or route_id, or route with stops")
        return self


class Window(Wire):
    start: datetime
    end: datetime


class CoveredWindow(Window):
    coverage: float = Field(description="Share of arrivals that such windows contain.")


class Quantiles(Wire):
    p05: datetime
    p10: datetime
    p25: datetime
    p50: datetime
    p75: datetime
    p90: datetime
    p95: datetime


class Late(Wire):
    """Against the end of the first window promised."""

    probability: float = Field(ge=0, le=1)
    expected_minutes: float = Field(ge=0, description="Expected minutes of lateness, 0 where in time.")


class Confidence(Wire):
    level: Literal["high", "medium", "low"]
    reasons: list[str]


class Reason(Wire):
    code: str
    minutes: float = Field(description="What this cause adds to the forecast.")


class Freshness(Wire):
    """Age of the last message of each feed; null where there is none."""

    telemetry_s: float | None
    traffic_s: float | None
    weather_s: float | None


class Model(Wire):
    name: str
    version: str
    alias: str


class Forecast(Wire):
    """When a courier reaches a stop, as known at ``as_of``."""

    prediction_id: str
    stop_id: str
    route_id: str
    as_of: datetime
    eta: datetime
    window: CoveredWindow
    quantiles: Quantiles
    mean: datetime
    promise: Window | None
    late: Late | None
    confidence: Confidence
    reasons: list[Reason]
    freshness: Freshness
    degraded: list[str]
    model: Model


class Problem(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str


class Unanswered(Wire):
    stop_id: str
    error: Problem


class EtaAnswer(Wire):
    as_of: datetime
    forecasts: list[Forecast | Unanswered]


class RouteEta(Wire):
    route_id: str
    forecasts: list[Forecast]


class StopHistory(Wire):
    stop_id: str
    forecasts: list[Forecast] = Field(description="The newest first.")


class RowVerdict(BaseModel):
    event_id: str | None
    verdict: Literal["accepted", "duplicate", "rejected"]
    reason: str | None = None


class IngestAnswer(Wire):
    accepted: int
    duplicate: int
    rejected: int
    rows: list[RowVerdict]


class Alert(BaseModel):
    alert_id: str
    rule: str
    state: Literal["open", "resolved"]
    stop_id: str
    route_id: str
    opened_at: datetime
    updated_at: datetime
    resolved_at: datetime | None
    arrived_at: datetime | None
    severity: Literal["low", "medium", "high"]
    late: Late | None
    eta: datetime
    promise: Window | None
    main_reason: Reason | None
    prediction_id: str
    decision: str = Field(description="Why the alert stands as it does.")


class AlertList(Wire):
    alerts: list[Alert]


class RouteOverview(Wire):
    route_id: str
    touched_at: datetime
    scored_at: datetime | None
    slip_s: float | None = Field(description="Next stop against its plan at the last whole scoring.")
    open_alerts: int
    next_stop_id: str | None


class RouteList(Wire):
    routes: list[RouteOverview]


class LogHead(Wire):
    seq: int
    received_at: datetime | None


class Checkpoint(Wire):
    seq: int
    as_of: datetime | None
    scored_at: datetime | None


class Summary(Wire):
    """Where the service stands; it has caught up when ``checkpoint.seq`` is ``log.seq``."""

    clock: Literal["wall", "log"]
    log: LogHead
    checkpoint: Checkpoint
    behind: int = Field(description="Records that the engine has still to apply.")
    model: Model | None
    counts: dict[str, int]
