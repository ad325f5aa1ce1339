"""The canonical tables: one definition each, from which schemas, checks, wire events and docs are made.

Every row carries two times. ``occurred_at`` says when a thing happened, ``received_at`` when we knew it; what may
be used at an instant is what had been received by then. All timestamps are UTC with microseconds.
"""

from __future__ import annotations

from datetime import timedelta

from data_contracts.contract import (
    Column,
    Course,
    Dtype,
    Form,
    Membership,
    Order,
    Position,
    Reference,
    Table,
)

__all__ = [
    "TABLES",
    "Column",
    "Course",
    "Dtype",
    "Form",
    "Membership",
    "Order",
    "Position",
    "Reference",
    "Table",
]

STOP_EVENT_KINDS = ("departed_depot", "arrived", "completed", "failed", "skipped", "resequenced", "withdrawn")


def _text(name: str, meaning: str, **more: object) -> Column:
    return Column(name=name, dtype=Dtype.STRING, meaning=meaning, **more)  # type: ignore[arg-type]


def _number(name: str, unit: str, meaning: str, **more: object) -> Column:
    return Column(name=name, dtype=Dtype.NUMBER, unit=unit, meaning=meaning, **more)  # type: ignore[arg-type]


def _integer(name: str, unit: str, meaning: str, **more: object) -> Column:
    return Column(name=name, dtype=Dtype.INTEGER, unit=unit, meaning=meaning, **more)  # type: ignore[arg-type]


def _time(name: str, meaning: str, **more: object) -> Column:
    return Column(name=name, dtype=Dtype.TIMESTAMP, unit="UTC", meaning=meaning, **more)  # type: ignore[arg-type]


EVENT_COLUMNS = (
    _text("event_id", "Identifies the message; a second one with the same id is a duplicate.", required=True),
    _time("occurred_at", "When it happened.", required=True),
    _time("received_at", "When we knew it.", required=True),
)


def _position(required: bool = False) -> tuple[Column, ...]:
    return (
        _number("lat", "deg", "Latitude, WGS 84.", low=-90, high=90, required=required),
        _number("lon", "deg", "Longitude, WGS 84.", low=-180, high=180, required=required),
    )


_CLOCK_SKEW = timedelta(minutes=5)
_KNOWN_AFTER_IT_HAPPENED = Order(earlier="occurred_at", later="received_at", slack=_CLOCK_SKEW)

ROUTES = Table(
    name="routes",
    meaning="One courier's tour of a day: from a depot through an ordered list of stops.",
    required=True,
    key=("route_id", "received_at"),
    positions=(Position(lat="origin_lat", lon="origin_lon"),),
    columns=(
        *EVENT_COLUMNS,
        _text("route_id", "Identifies the route.", required=True),
        _text("vehicle_id", "The vehicle that drives it."),
        _text("courier_id", "The person who drives it."),
        _text("depot_id", "Where it starts."),
        _text("area_id", "The city or region that shares weather and traffic.", required=True),
        _text("origin_zone_id", "Zone of the starting point.", required=True),
        _number("origin_lat", "deg", "Latitude of the starting point, WGS 84.", low=-90, high=90),
        _number("origin_lon", "deg", "Longitude of the starting point, WGS 84.", low=-180, high=180),
        _text("vehicle_type", "Van, cargo bike, robot, taxi."),
        _text("timezone", "IANA time zone of the depot.", required=True, form=Form.TIMEZONE),
        _text("service_date", "Local calendar day of the route.", required=True, form=Form.DAY),
        _time("planned_departure_at", "When the plan leaves the depot."),
    ),
)

STOPS = Table(
    name="stops",
    meaning="One planned visit; a later row with a higher plan version replaces an earlier one.",
    required=True,
    key=("stop_id", "plan_version"),
    orders=(Order(earlier="promised_start_at", later="promised_end_at"),),
    positions=(Position(lat="lat", lon="lon", by="route_id"),),
    references=(Reference(column="route_id", table="routes"),),
    columns=(
        *EVENT_COLUMNS,
        _text("stop_id", "Identifies the visit.", required=True),
        _text("route_id", "The route that serves it.", required=True),
        _integer("plan_version", "1", "Rises with every change of the plan.", required=True, low=0),
        _integer("sequence", "1", "Place in the route, from 1.", required=True, low=1, high=10_000),
        _text("zone_id", "Delivery zone.", required=True),
        *_position(),
        _text("site_id", "Building or address; shared by visits to the same door."),
        _text("customer_id", "Pseudonymous customer."),
        _integer("parcels", "parcels", "How many parcels are handed over.", low=0, high=10_000),
        _text("product_type", "What is delivered."),
        _text("service_level", "What was sold: standard, express, white glove."),
        _number("value", "EUR", "Worth of the order.", low=0, high=10_000_000),
        _time("promised_start_at", "Start of the window first told to the customer."),
        _time("promised_end_at", "End of the window first told to the customer."),
        _time("planned_arrival_at", "When the plan arrives."),
        _number("planned_travel_s", "s", "Planned drive from the stop before.", low=0, high=172_800),
        _number(
            "planned_distance_m", "m", "Planned road distance from the stop before.", low=0, high=5_000_000
        ),
        _number("planned_service_s", "s", "Planned time at the door.", low=0, high=86_400),
    ),
)

STOP_EVENTS = Table(
    name="stop_events",
    meaning=(
        "What happened on a route: it left the depot, a stop was reached, served, failed, skipped or moved; "
        "withdrawn takes back what was told of a stop before, so that what is told next counts."
    ),
    required=True,
    key=("event_id",),
    orders=(_KNOWN_AFTER_IT_HAPPENED,),
    courses=(Course(kind="kind", first="arrived", then="completed", by="stop_id", slack=_CLOCK_SKEW),),
    references=(Reference(column="route_id", table="routes"), Reference(column="stop_id", table="stops")),
    memberships=(Membership(column="stop_id", within="route_id", table="stops"),),
    freshness=timedelta(hours=4),
    columns=(
        *EVENT_COLUMNS,
        _text("route_id", "The route.", required=True),
        _text("stop_id", "The stop; absent when the depot was left."),
        _text("kind", "What happened.", required=True, allowed=STOP_EVENT_KINDS),
        _integer("sequence", "1", "New place in the route, for a resequenced stop.", low=1, high=10_000),
    ),
)

PINGS = Table(
    name="pings",
    meaning="Where a vehicle is and how fast it goes.",
    key=("event_id",),
    orders=(_KNOWN_AFTER_IT_HAPPENED,),
    positions=(Position(lat="lat", lon="lon", by="vehicle_id", daily=True),),
    allowed_lateness=timedelta(minutes=30),
    freshness=timedelta(minutes=5),
    columns=(
        *EVENT_COLUMNS,
        _text("vehicle_id", "The vehicle.", required=True),
        _text("route_id", "The route it is on."),
        *_position(required=True),
        _number("speed_mps", "m/s", "Ground speed.", low=0, high=70),
        _text("status", "What the vehicle says of itself."),
    ),
)

TRAFFIC = Table(
    name="traffic",
    meaning="Speed of a zone or corridor against its free flow.",
    key=("event_id",),
    orders=(_KNOWN_AFTER_IT_HAPPENED,),
    allowed_lateness=timedelta(minutes=30),
    freshness=timedelta(minutes=15),
    columns=(
        *EVENT_COLUMNS,
        _text("zone_id", "The zone.", required=True),
        _number("speed_mps", "m/s", "Mean speed now.", required=True, low=0, high=70),
        _number("free_flow_mps", "m/s", "Mean speed of an empty road.", required=True, low=0.1, high=70),
        _integer("incidents", "1", "Incidents reported in the zone.", low=0, high=10_000),
    ),
)

WEATHER = Table(
    name="weather",
    meaning="Weather of an area, observed or forecast: for which hour, and issued when.",
    key=("event_id",),
    orders=(
        Order(earlier="issued_at", later="received_at", slack=_CLOCK_SKEW),
        Order(earlier="valid_at", later="received_at", slack=_CLOCK_SKEW, only=("kind", "observed")),
    ),
    allowed_lateness=timedelta(hours=6),
    freshness=timedelta(hours=3),
    columns=(
        *EVENT_COLUMNS,
        _text("area_id", "The area.", required=True),
        _text("kind", "Observed, or forecast.", required=True, allowed=("observed", "forecast")),
        _time("valid_at", "Start of the hour that it speaks of.", required=True),
        _time("issued_at", "When it was issued.", required=True),
        _number("temperature_c", "degC", "Air temperature at 2 m.", low=-60, high=60),
        _number("precipitation_mm", "mm/h", "Precipitation of the hour.", low=0, high=300),
        _number("snow_cm", "cm/h", "Snowfall of the hour.", low=0, high=100),
        _number("wind_mps", "m/s", "Wind at 10 m.", low=0, high=110),
        _number("cloud_share", "1", "Share of the sky that is covered.", low=0, high=1),
    ),
)

CUSTOMERS = Table(
    name="customers",
    meaning="What a customer prefers, with the history of it.",
    key=("customer_id", "received_at"),
    columns=(
        *EVENT_COLUMNS,
        _text("customer_id", "Pseudonymous customer.", required=True),
        _text("channel", "How to tell the customer.", allowed=("email", "sms", "push", "none")),
        _integer("notice_minutes", "min", "How early the customer wants to know.", low=0, high=1440),
        _integer("quiet_from_hour", "h", "Start of the quiet hours, local.", low=0, high=23),
        _integer("quiet_to_hour", "h", "End of the quiet hours, local.", low=0, high=23),
        _text("safe_place", "Where a parcel may be left."),
        _number("home_share", "1", "Share of past visits that found somebody home.", low=0, high=1),
    ),
)

DEPOTS = Table(
    name="depots",
    meaning="How ready a depot is: parcels sorted and docks free.",
    key=("event_id",),
    orders=(_KNOWN_AFTER_IT_HAPPENED,),
    freshness=timedelta(hours=1),
    columns=(
        *EVENT_COLUMNS,
        _text("depot_id", "The depot.", required=True),
        _number("parcels_ready_share", "1", "Share of the day's parcels that are sorted.", low=0, high=1),
        _number("sort_delay_s", "s", "How far sorting is behind its plan.", low=-14_400, high=86_400),
        _number("inventory_share", "1", "Share of ordered items in stock.", low=0, high=1),
    ),
)

PROMISES = Table(
    name="promises",
    meaning="What the customer was told, and when.",
    key=("stop_id", "promise_version"),
    orders=(Order(earlier="promised_start_at", later="promised_end_at"),),
    references=(Reference(column="stop_id", table="stops"),),
    columns=(
        *EVENT_COLUMNS,
        _text("stop_id", "The stop.", required=True),
        _integer("promise_version", "1", "1 is the first that was told.", required=True, low=1),
        _time("promised_start_at", "Start of the window told.", required=True),
        _time("promised_end_at", "End of the window told.", required=True),
    ),
)

#: In an order in which every reference points to an earlier table.
TABLES: dict[str, Table] = {
    table.name: table
    for table in (ROUTES, STOPS, STOP_EVENTS, PINGS, TRAFFIC, WEATHER, CUSTOMERS, DEPOTS, PROMISES)
}
