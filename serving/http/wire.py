"""What the API takes and gives; the OpenAPI document is made from these."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

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


class Completion(Wire):
    """When the stop is left again."""

    eta: datetime
    window: CoveredWindow


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
    completion: Completion
    promise: Window | None
    late: Late | None
    confidence: Confidence
    reasons: list[Reason]
    freshness: Freshness
    degraded: list[str]
    model: Model


class CodeVersions(Wire):
    """Which code made it, and which makes it now."""

    then: str
    now: str


class Explanation(Wire):
    """A served forecast, made again from what was kept of it.

    ``same`` is whether it comes out as it was served, to the last digit; ``features`` is the vector that it was made
    of, null where nothing was known; ``calibration`` counts the lessons of the live calibration until then.
    """

    same: bool
    code_version: CodeVersions
    calibration: int
    prior_s: float
    features: dict[str, float | None]
    forecast: Forecast


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


class Subject(Wire):
    kind: Literal["stop", "route", "zone", "depot", "area"]
    id: str


class Alert(BaseModel):
    alert_id: str
    rule: str = Field(description="The strongest rule that has fired on the subject.")
    state: Literal["open", "resolved"]
    subject: Subject
    stop_id: str | None
    route_id: str | None
    incident_id: str | None
    inhibited: bool = Field(
        description="Whether it sends no event, since its incident speaks for it or a silence covers it."
    )
    told_at: datetime | None = Field(description="When it was time to tell of it; null while that waits.")
    opened_at: datetime
    updated_at: datetime
    resolved_at: datetime | None
    arrived_at: datetime | None
    severity: Literal["low", "medium", "high"]
    late: Late | None
    told: str = Field(description="Why its rule fired.")
    eta: datetime | None
    promise: Window | None
    main_reason: Reason | None
    prediction_id: str | None
    decision: str = Field(description="Why the alert stands as it does.")


class AlertList(Wire):
    alerts: list[Alert]
    next_cursor: str | None


class Transition(Wire):
    """A step of an incident's life: who took it, when and why."""

    at: datetime
    from_: Literal["open", "acknowledged", "snoozed"] | None = Field(alias="from")
    to: Literal["open", "acknowledged", "snoozed", "resolved"]
    who: str
    why: str


class AlertCount(Wire):
    open: int
    total: int


class Affected(Wire):
    """What the alerts of an incident are about; ``stops`` counts all of them."""

    stops: int
    stop_ids: list[str]
    route_ids: list[str]
    zone_ids: list[str]


class Incident(Wire):
    """Alerts of one cause about one subject."""

    incident_id: str
    cause: Literal["storm", "slow_zone", "sort_delay", "breakdown", "route_behind"]
    state: Literal["open", "acknowledged", "snoozed", "resolved"]
    severity: Literal["low", "medium", "high"]
    subject: Subject
    area_id: str | None
    opened_at: datetime
    updated_at: datetime
    resolved_at: datetime | None
    snoozed_until: datetime | None
    told_at: datetime | None = Field(description="When disruption.opened was sent.")
    untold: str | None = Field(description="Why it was not sent, or not yet.")
    evidence: list[str]
    alerts: AlertCount
    weighed_minutes: float = Field(description="Expected lateness times priority, of its open alerts.")
    affected: Affected
    actions: list[dict[str, Any]]
    transitions: list[Transition]


class IncidentList(Wire):
    incidents: list[Incident]
    next_cursor: str | None


class IncidentStep(Wire):
    """What somebody asks of an incident."""

    why: str = Field(default="", max_length=500)


class HowLong(IncidentStep):
    """``until`` an instant, or for some ``minutes``."""

    until: datetime | None = None
    minutes: float | None = Field(default=None, gt=0, le=10_080, allow_inf_nan=False)

    @model_validator(mode="after")
    def says_how_long(self) -> Self:
        if (self.until is None) == (self.minutes is None):
            raise ValueError("give until, or minutes")
        if self.until is not None and self.until.tzinfo is None:
            raise ValueError("until needs a time zone, such as 2026-03-02T12:00:00Z")
        return self


class Snooze(HowLong):
    """Quiet ``until`` an instant, or for some ``minutes``."""


class StepAnswer(Wire):
    command_id: str
    applied: bool = Field(description="Whether the engine has done it; if not, it will.")
    incident: Incident


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
