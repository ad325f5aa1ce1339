"""Feature views: what is known of an entity, version by version.

A version's event timestamp is the instant its value became known (``received_at`` of the last event in it),
its created timestamp the log sequence of that event. Values are float32; absolute times never enter a vector.
Each view also carries ``known_us``, its version's event timestamp, from which ages are made.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import timedelta

from features.observations import LARGEST_RATIO

KNOWN = "known_us"


def microseconds(span: timedelta) -> int:
    """A span of time in whole microseconds."""
    return span // timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One float32 value of a view, with its unit and bounds."""

    name: str
    unit: str
    low: float
    high: float
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What is known of one kind of entity; valid for ``ttl`` after it became known (boundary included).

    schema_hash : changes when a stored vector would have to be read differently
    """

    name: str
    entity: str
    fields: tuple[Field, ...]
    ttl: timedelta
    meaning: str
    field_names: tuple[str, ...] = field(init=False)
    schema_hash: str = field(init=False)

    def __post_init__(self) -> None:
        shape = [self.name, self.entity, [[each.name, each.unit] for each in self.fields]]
        digest = hashlib.sha256(json.dumps(shape).encode()).hexdigest()[:12]
        object.__setattr__(self, "field_names", tuple(each.name for each in self.fields))
        object.__setattr__(self, "schema_hash", digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class RollingMean:
    """A forgetting mean of one observation by one key: integer sums in ``count`` time buckets of ``width``.

    A bucket's weight halves every ``half_life`` buckets.
    """

    view: View
    observation: str
    key: str
    width: timedelta
    count: int
    half_life: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """A view joined to a remaining stop through one of its key columns, under an alias."""

    alias: str
    view: View
    key: str


#: What an observation is measured in, and its bounds.
_MEAN_UNITS = {
    "travel": ("ln", -6.0, 6.0),
    "pace": ("ln", -6.0, 6.0),
    "spread": ("ln", 0.0, 12.0),
    "service": ("1", 0.0, LARGEST_RATIO),
    "departure": ("s", -86_400.0, 86_400.0),
}


def _mean_view(
    name: str,
    entity: str,
    observation: str,
    meaning: str,
    *,
    width: timedelta,
    count: int,
    half_life: float,
) -> RollingMean:
    unit, low, high = _MEAN_UNITS[observation]
    view = View(
        name=name,
        entity=entity,
        ttl=width * count,
        meaning=meaning,
        fields=(
            Field(name="mean", unit=unit, low=low, high=high, meaning="Forgetting mean of the observations."),
            Field(name="weight", unit="1", low=0, high=1e9, meaning="Observations in it, faded with age."),
        ),
    )
    return RollingMean(
        view=view, observation=observation, key=entity, width=width, count=count, half_life=half_life
    )


def _seasonal(name: str, entity: str, observation: str, meaning: str) -> RollingMean:
    return _mean_view(name, entity, observation, meaning, width=timedelta(days=7), count=12, half_life=4.0)


def _recent(name: str, entity: str, observation: str, meaning: str, minutes: int) -> RollingMean:
    return _mean_view(
        name, entity, observation, meaning, width=timedelta(minutes=minutes), count=8, half_life=2.0
    )


TRAVEL_BY_PAIR_HOUR = _seasonal(
    "travel_by_pair_hour", "pair_hour", "travel", "Drive between two zones at an hour."
)
TRAVEL_BY_PAIR = _seasonal("travel_by_pair", "pair", "travel", "Drive between two zones.")
TRAVEL_BY_LINK = _seasonal("travel_by_link", "link", "travel", "Drive between two zones, either way.")
TRAVEL_BY_ORIGIN = _seasonal("travel_by_origin", "origin_zone", "travel", "Drives that start in a zone.")
TRAVEL_BY_TARGET = _seasonal("travel_by_target", "target_zone", "travel", "Drives that end in a zone.")
TRAVEL_BY_AREA_HOUR = _seasonal("travel_by_area_hour", "area_hour", "travel", "Drives of an area at an hour.")
TRAVEL_BY_AREA = _seasonal("travel_by_area", "area_id", "travel", "All drives of an area.")
TRAVEL_BY_CLASS = _seasonal("travel_by_class", "service_class", "travel", "Drives to one kind of visit.")
PACE_BY_COURIER = _seasonal(
    "pace_by_courier", "courier_id", "pace", "Drives of one courier against their priors."
)
PACE_BY_ZONE = _recent(
    "pace_by_zone", "zone_id", "pace", "Drives just ended in a zone against their priors.", 30
)
PACE_BY_AREA = _recent(
    "pace_by_area", "area_id", "pace", "Drives just ended in an area against their priors.", 15
)
PACE_BY_AREA_DAYS = _mean_view(
    "pace_by_area_days",
    "area_id",
    "pace",
    "Drives of the last days in an area against their priors.",
    width=timedelta(hours=6),
    count=12,
    half_life=4.0,
)
SPREAD_BY_ORIGIN = _seasonal(
    "spread_by_origin", "origin_zone", "spread", "How far drives from a zone end from their priors."
)
SPREAD_BY_TARGET = _seasonal(
    "spread_by_target", "target_zone", "spread", "How far drives into a zone end from their priors."
)
PACE_BY_ROUTE = _recent(
    "pace_by_route", "route_id", "pace", "A route's own drives today against their priors.", 60
)
SERVICE_BY_SITE_HOUR = _seasonal(
    "service_by_site_hour", "site_hour", "service", "Time at one door at an hour."
)
SERVICE_BY_SITE = _seasonal("service_by_site", "site_id", "service", "Time at one door.")
SERVICE_BY_COURIER = _seasonal(
    "service_by_courier", "courier_id", "service", "Time at the door of one courier."
)
SERVICE_BY_AREA = _seasonal("service_by_area", "area_id", "service", "Time at the door in an area.")
SERVICE_BY_ROUTE = _recent(
    "service_by_route", "route_id", "service", "A route's own time at doors today.", 60
)
DEPARTURE_BY_DEPOT = _mean_view(
    "departure_by_depot",
    "depot_id",
    "departure",
    "How late routes leave a depot.",
    width=timedelta(days=1),
    count=21,
    half_life=3.0,
)

ROLLING_MEANS: tuple[RollingMean, ...] = (
    TRAVEL_BY_PAIR_HOUR,
    TRAVEL_BY_PAIR,
    TRAVEL_BY_LINK,
    TRAVEL_BY_ORIGIN,
    TRAVEL_BY_TARGET,
    TRAVEL_BY_AREA_HOUR,
    TRAVEL_BY_AREA,
    TRAVEL_BY_CLASS,
    PACE_BY_COURIER,
    PACE_BY_ZONE,
    PACE_BY_AREA,
    PACE_BY_AREA_DAYS,
    PACE_BY_ROUTE,
    SPREAD_BY_ORIGIN,
    SPREAD_BY_TARGET,
    SERVICE_BY_SITE_HOUR,
    SERVICE_BY_SITE,
    SERVICE_BY_COURIER,
    SERVICE_BY_AREA,
    SERVICE_BY_ROUTE,
    DEPARTURE_BY_DEPOT,
)

ROUTE_PROGRESS = View(
    name="route_progress",
    entity="route_id",
    ttl=timedelta(hours=36),
    meaning="How far a route has come and how it stands against its plan.",
    fields=(
        Field(name="phase", unit="1", low=0, high=2, meaning="0 before departure, 1 driving, 2 at a stop."),
        Field(name="lag_s", unit="s", low=-300, high=86_400, meaning="How late the last event was received."),
        Field(name="visited", unit="stops", low=0, high=10_000, meaning="Stops reached so far."),
        Field(name="depot_slip_s", unit="s", low=-86_400, high=86_400, meaning="Departure against plan."),
        Field(
            name="travel_slip_s", unit="s", low=-86_400, high=86_400, meaning="Driving so far against plan."
        ),
        Field(
            name="service_slip_s", unit="s", low=-86_400, high=86_400, meaning="Doors so far against plan."
        ),
        Field(
            name="halt_s",
            unit="s",
            low=0,
            high=86_400,
            meaning="Lost in drives and doors too long to be either.",
        ),
    ),
)
VEHICLE_MOTION = View(
    name="vehicle_motion",
    entity="vehicle_id",
    ttl=timedelta(hours=12),
    meaning="Where a vehicle was last seen and how it has moved of late.",
    fields=(
        Field(name="lat", unit="deg", low=-90, high=90, meaning="Latitude of the last ping."),
        Field(name="lon", unit="deg", low=-180, high=180, meaning="Longitude of the last ping."),
        Field(name="lag_s", unit="s", low=-300, high=86_400, meaning="How late the last ping was received."),
        Field(name="speed_mps", unit="m/s", low=0, high=70, meaning="Mean speed of the last 5 minutes."),
        Field(
            name="moving_share", unit="1", low=0, high=1, meaning="Share of pings in 15 minutes that moved."
        ),
        Field(name="stopped", unit="1", low=0, high=1, meaning="1 where it says that it can go no further."),
    ),
)
ZONE_TRAFFIC = View(
    name="zone_traffic",
    entity="zone_id",
    ttl=timedelta(hours=2),
    meaning="Speed of a zone against its free flow.",
    fields=(
        Field(name="jam", unit="1", low=-1, high=1, meaning="1 - speed / free flow, last message."),
        Field(name="jam_hour", unit="1", low=-1, high=1, meaning="The same, mean of the last hour."),
        Field(name="incidents", unit="1", low=0, high=10_000, meaning="Incidents reported."),
    ),
)
_WEATHER_FIELDS = (
    Field(name="temperature_c", unit="degC", low=-60, high=60, meaning="Air temperature."),
    Field(name="precipitation_mm", unit="mm/h", low=0, high=300, meaning="Precipitation of the hour."),
    Field(name="snow_cm", unit="cm/h", low=0, high=100, meaning="Snowfall of the hour."),
    Field(name="wind_mps", unit="m/s", low=0, high=110, meaning="Wind."),
)
WEATHER_NOW = View(
    name="weather_now",
    entity="area_id",
    ttl=timedelta(hours=6),
    meaning="Weather last observed in an area.",
    fields=_WEATHER_FIELDS,
)
WEATHER_THEN = View(
    name="weather_then",
    entity="area_valid_hour",
    ttl=timedelta(days=2),
    meaning="Weather of an area and hour as last forecast or observed.",
    fields=_WEATHER_FIELDS,
)
DEPOT_STATE = View(
    name="depot_state",
    entity="depot_id",
    ttl=timedelta(hours=12),
    meaning="How ready a depot is.",
    fields=(
        Field(name="ready_share", unit="1", low=0, high=1, meaning="Share of parcels sorted."),
        Field(name="sort_delay_s", unit="s", low=-14_400, high=86_400, meaning="Sorting against its plan."),
    ),
)

VIEWS: tuple[View, ...] = (
    *(mean.view for mean in ROLLING_MEANS),
    ROUTE_PROGRESS,
    VEHICLE_MOTION,
    ZONE_TRAFFIC,
    WEATHER_NOW,
    WEATHER_THEN,
    DEPOT_STATE,
)

#: How the row of a remaining stop finds its views. The keys are columns of the itinerary.
LOOKUPS: tuple[Lookup, ...] = (
    Lookup(alias="travel_by_pair_hour", view=TRAVEL_BY_PAIR_HOUR.view, key="pair_hour"),
    Lookup(alias="travel_by_pair", view=TRAVEL_BY_PAIR.view, key="pair"),
    Lookup(alias="travel_by_link", view=TRAVEL_BY_LINK.view, key="link"),
    Lookup(alias="travel_by_origin", view=TRAVEL_BY_ORIGIN.view, key="from_zone_id"),
    Lookup(alias="travel_by_target", view=TRAVEL_BY_TARGET.view, key="zone_id"),
    Lookup(alias="travel_by_area_hour", view=TRAVEL_BY_AREA_HOUR.view, key="area_hour"),
    Lookup(alias="travel_by_area", view=TRAVEL_BY_AREA.view, key="area_id"),
    Lookup(alias="travel_by_class", view=TRAVEL_BY_CLASS.view, key="service_class"),
    Lookup(alias="pace_by_courier", view=PACE_BY_COURIER.view, key="courier_id"),
    Lookup(alias="from_pace", view=PACE_BY_ZONE.view, key="from_zone_id"),
    Lookup(alias="to_pace", view=PACE_BY_ZONE.view, key="zone_id"),
    Lookup(alias="pace_by_area", view=PACE_BY_AREA.view, key="area_id"),
    Lookup(alias="pace_by_area_days", view=PACE_BY_AREA_DAYS.view, key="area_id"),
    Lookup(alias="pace_by_route", view=PACE_BY_ROUTE.view, key="route_id"),
    Lookup(alias="spread_by_origin", view=SPREAD_BY_ORIGIN.view, key="from_zone_id"),
    Lookup(alias="spread_by_target", view=SPREAD_BY_TARGET.view, key="zone_id"),
    Lookup(alias="service_by_site_hour", view=SERVICE_BY_SITE_HOUR.view, key="from_site_hour"),
    Lookup(alias="service_by_site", view=SERVICE_BY_SITE.view, key="from_site_id"),
    Lookup(alias="service_by_courier", view=SERVICE_BY_COURIER.view, key="courier_id"),
    Lookup(alias="service_by_area", view=SERVICE_BY_AREA.view, key="area_id"),
    Lookup(alias="service_by_route", view=SERVICE_BY_ROUTE.view, key="route_id"),
    Lookup(alias="departure_by_depot", view=DEPARTURE_BY_DEPOT.view, key="depot_id"),
    Lookup(alias="progress", view=ROUTE_PROGRESS, key="route_id"),
    Lookup(alias="motion", view=VEHICLE_MOTION, key="vehicle_id"),
    Lookup(alias="from_traffic", view=ZONE_TRAFFIC, key="from_zone_id"),
    Lookup(alias="to_traffic", view=ZONE_TRAFFIC, key="zone_id"),
    Lookup(alias="weather_now", view=WEATHER_NOW, key="area_id"),
    Lookup(alias="weather_then", view=WEATHER_THEN, key="area_valid_hour"),
    Lookup(alias="weather_before", view=WEATHER_THEN, key="area_hour_before"),
    Lookup(alias="depot_state", view=DEPOT_STATE, key="depot_id"),
)
