"""What the calls of an ops room give; the OpenAPI document is made from these."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from serving.http.wire import Model, Window, Wire

State = Literal["ahead", "at_door", "completed", "failed", "skipped"]
Probability = Annotated[float, Field(ge=0, le=1)]
Coordinates = Annotated[list[float], Field(min_length=2, max_length=2, description="Longitude, latitude.")]


class PointGeometry(Wire):
    type: Literal["Point"]
    coordinates: Coordinates


class LineGeometry(Wire):
    type: Literal["LineString"]
    coordinates: list[Coordinates]


class PolygonGeometry(Wire):
    type: Literal["Polygon"]
    coordinates: list[list[Coordinates]]


class VehicleProperties(Wire):
    vehicle_id: str
    route_id: str | None
    status: str | None
    speed_mps: float | None
    remaining: int = Field(description="Stops still ahead.")
    at_risk: int = Field(description="Stops ahead that are more likely late than not.")
    late_probability: Probability | None = Field(description="Of the stop ahead most likely to be late.")
    seen_at: datetime


class VehicleFeature(Wire):
    type: Literal["Feature"]
    id: str
    geometry: PointGeometry
    properties: VehicleProperties


class VehicleCollection(Wire):
    """GeoJSON."""

    type: Literal["FeatureCollection"]
    features: list[VehicleFeature]


class StopProperties(Wire):
    stop_id: str
    route_id: str
    sequence: int
    zone_id: str
    state: State
    late_probability: Probability | None
    eta: datetime | None


class StopFeature(Wire):
    """The geometry is null where nobody knows the position."""

    type: Literal["Feature"]
    id: str
    geometry: PointGeometry | None
    properties: StopProperties


class StopCollection(Wire):
    """GeoJSON; the features most likely to be late come first."""

    type: Literal["FeatureCollection"]
    matched: int = Field(description="Stops in the box, without the limit.")
    features: list[StopFeature]


class ZoneProperties(Wire):
    zone_id: str
    slowdown: Probability | None = Field(description="Share by which traffic is slower than free flow.")
    speed_mps: float | None
    free_flow_mps: float | None
    incidents: int | None
    seen_at: datetime | None
    stops_ahead: int
    at_risk: int


class ZoneFeature(Wire):
    """The outline is drawn from where the zone's stops are; null where none has a position."""

    type: Literal["Feature"]
    id: str
    geometry: PolygonGeometry | None
    properties: ZoneProperties


class ZoneCollection(Wire):
    """GeoJSON."""

    type: Literal["FeatureCollection"]
    features: list[ZoneFeature]


class LinkFeature(Wire):
    """A depot, or a line between two zones that routes drive between."""

    type: Literal["Feature"]
    id: str
    geometry: PointGeometry | LineGeometry
    properties: dict[str, Any]


class LinkCollection(Wire):
    """GeoJSON; ``bbox`` holds all stops."""

    type: Literal["FeatureCollection"]
    bbox: list[float] | None
    features: list[LinkFeature]


class Place(Wire):
    lat: float
    lon: float


class PromiseTold(Wire):
    first: Window
    told: Window
    revisions: int
    told_at: datetime | None


class StopState(Wire):
    """A stop as it stands."""

    stop_id: str
    route_id: str
    sequence: int
    plan_version: int
    zone_id: str
    service_level: str | None
    parcels: int | None
    state: State
    position: Place | None
    planned_arrival_at: datetime | None
    reached_at: datetime | None
    eta: datetime | None
    late_probability: Probability | None
    promise: PromiseTold | None


class StopDetail(StopState):
    timezone: str | None
    stops_before: int = Field(description="Stops of the route that come before it and are still open.")


class RouteDetail(Wire):
    route_id: str
    vehicle_id: str | None
    courier_id: str | None
    depot_id: str | None
    area_id: str
    timezone: str
    service_date: date
    slip_s: float | None
    origin: Place | None
    planned_departure_at: datetime | None
    has_departed: bool
    touched_at: datetime | None
    scored_at: datetime | None
    stops: list[StopState]


class TimelineLine(Wire):
    id: int
    route_id: str
    stop_id: str | None
    kind: str = Field(description="Kind of a stop event, `replanned`, or the type of an outgoing event.")
    occurred_at: datetime
    known_at: datetime
    data: dict[str, Any] | None


class RouteTimeline(Wire):
    route_id: str
    timeline: list[TimelineLine] = Field(description="The newest first.")


class StopTimeline(Wire):
    stop_id: str
    timeline: list[TimelineLine] = Field(description="The newest first.")


class DayStops(Wire):
    """Stops of the service day; late means reached after the end of the first window promised."""

    stops: int
    promised: int
    on_time: int
    late: int
    missed: int = Field(description="Failed or skipped without having been reached.")
    ahead: int
    at_risk: int
    expected_late: float = Field(description="Late, missed, and the probabilities of those ahead.")
    on_time_share: Probability | None = Field(description="So far.")
    expected_on_time_share: Probability | None = Field(description="When the day is over.")


class WindowOutcome(Wire):
    """How the windows did that stood so long before the arrival."""

    ahead_min: int
    windows: int
    covered: Probability
    promised: Probability
    width_min: float


class AlertOutcome(Wire):
    raised: int
    decided: int = Field(description="Alerts whose stop is over.")
    came_true: int
    precision: Probability | None
    mean_lead_min: float | None


class FeedAge(Wire):
    received_at: datetime
    age_s: float


class WeatherHour(Wire):
    area_id: str
    kind: Literal["observed", "forecast"]
    temperature_c: float | None
    precipitation_mm: float | None
    snow_cm: float | None
    wind_mps: float | None
    valid_at: datetime
    issued_at: datetime


class Today(Wire):
    as_of: datetime | None
    timezone: str
    service_date: date
    routes: int
    stops: DayStops
    windows: list[WindowOutcome]
    alerts: AlertOutcome
    feeds: dict[str, FeedAge]
    weather: list[WeatherHour]
    model: Model | None


class SignIn(Wire):
    key: str = Field(min_length=1, max_length=200)


class Session(Wire):
    name: str
    scopes: list[str]
    csrf_token: str | None = Field(description="To be sent as X-CSRF-Token; null without a session.")
    expires_at: datetime | None


class Link(Wire):
    path: str = Field(description="Path of the customer's page on this service.")
    expires_at: datetime


class TrackConfidence(Wire):
    level: Literal["high", "medium", "low"]
    of_ten: int = Field(description="How many of ten arrivals such a window holds.")


class Track(Wire):
    """What a customer may know of a delivery."""

    as_of: datetime | None
    timezone: str
    state: State
    reached_at: datetime | None
    stops_before: int | None
    window: Window | None = Field(description="Null until the stop is scored, and when it is over.")
    promised: Window | None
    delay_minutes: float | None = Field(description="Past the end of the first window, if so.")
    reasons: list[str]
    confidence: TrackConfidence | None
    choices: list[str]
    expires_at: datetime


class ChangeAsked(Wire):
    choice: Literal["later_today", "another_day", "safe_place", "neighbour"]


class PreferencesAsked(Wire):
    channel: Literal["email", "sms", "push", "none"] | None = None
    notice_minutes: int | None = Field(default=None, ge=0, le=1440)
