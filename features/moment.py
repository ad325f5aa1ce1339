"""Moment features: pure column functions of a remaining stop, its lookups and the clock.

A function's name is the feature, its parameters are columns: of the itinerary, of a lookup (``alias__field``,
``alias__age_s``), or of a feature before it. All columns are float64 (n,); the same function serves a million
training rows and sixty live stops.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.observations import EARTH_RADIUS_M, UNPLANNED_SERVICE_S
from features.priors import AREA_SHRINKAGE, COURIER_SHRINKAGE, PACE_SHRINKAGE, shrunk, zero_if_unknown

Float = NDArray[np.float64]
DAY_S = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One column of a vector."""

    name: str
    unit: str
    low: float
    high: float
    meaning: str
    inputs: tuple[str, ...]
    compute: Callable[..., Float]


def feature(*, unit: str, low: float, high: float) -> Callable[[Callable[..., Float]], Feature]:
    """Declare a column function as a feature; its docstring is its meaning."""

    def declare(compute: Callable[..., Float]) -> Feature:
        return Feature(
            name=compute.__name__,
            unit=unit,
            low=low,
            high=high,
            meaning=(compute.__doc__ or "").strip(),
            inputs=tuple(inspect.signature(compute).parameters),
            compute=compute,
        )

    return declare


def _shrunk_pace(mean: Float, weight: Float) -> Float:
    return shrunk(mean, weight, np.zeros_like(mean), PACE_SHRINKAGE)


@feature(unit="s", low=0, high=3 * DAY_S)
def prior_in_s(base_s: Float) -> Float:
    """Time to arrival by the causal prior: legs and doors still ahead, each at its own habit."""
    return base_s


@feature(unit="s", low=0, high=3 * DAY_S)
def prior_travel_s(travel_s: Float) -> Float:
    """Driving still ahead by the causal prior."""
    return travel_s


@feature(unit="s", low=0, high=3 * DAY_S)
def reference_travel_s(reference_ahead_us: Float) -> Float:
    """Driving to this stop by plan, else by distance, before any habit is known."""
    return reference_ahead_us / 1e6


@feature(unit="s", low=-DAY_S, high=3 * DAY_S)
def plan_in_s(planned_in_s: Float) -> Float:
    """Time to arrival by the plan as it stands."""
    return planned_in_s


@feature(unit="s", low=-2 * DAY_S, high=2 * DAY_S)
def plan_against_prior_s(planned_in_s: Float, base_s: Float) -> Float:
    """By how much the plan arrives later than the causal prior."""
    return planned_in_s - base_s


@feature(unit="1", low=1, high=10_000)
def stops_ahead(rank: Float) -> Float:
    """Place among the remaining stops; 1 is the next."""
    return rank


@feature(unit="1", low=1, high=10_000)
def stops_remaining(remaining: Float) -> Float:
    """Stops that the route has still to reach."""
    return remaining


@feature(unit="h", low=0, high=24)
def hour_of_day(local_hour: Float) -> Float:
    """Local hour of the planned arrival, or of now where there is no plan."""
    return local_hour


@feature(unit="1", low=0, high=6)
def day_of_week(weekday: Float) -> Float:
    """Local weekday, 0 is Monday."""
    return weekday


@feature(unit="ln", low=-6, high=6)
def leg_prior(leg_log_ratio: Float) -> Float:
    """Habit of this stop's own leg against its reference."""
    return leg_log_ratio


@feature(unit="ln", low=-6, high=6)
def pair_habit(travel_by_pair__mean: Float) -> Float:
    """Raw mean of drives between the two zones of the leg."""
    return travel_by_pair__mean


@feature(unit="1", low=0, high=1e9)
def pair_evidence(travel_by_pair__weight: Float) -> Float:
    """How many drives between the two zones the prior rests on."""
    return zero_if_unknown(travel_by_pair__weight)


@feature(unit="1", low=0, high=1e9)
def pair_hour_evidence(travel_by_pair_hour__weight: Float) -> Float:
    """How many drives between the two zones at this hour the prior rests on."""
    return zero_if_unknown(travel_by_pair_hour__weight)


@feature(unit="ln", low=-6, high=6)
def link_habit(travel_by_link__mean: Float) -> Float:
    """Raw mean of drives between the two zones of the leg, either way."""
    return travel_by_link__mean


@feature(unit="1", low=0, high=1e9)
def link_evidence(travel_by_link__weight: Float) -> Float:
    """How many drives between the two zones are known, either way."""
    return zero_if_unknown(travel_by_link__weight)


@feature(unit="ln", low=-6, high=6)
def origin_habit(travel_by_origin__mean: Float) -> Float:
    """Mean of drives that start where the leg starts."""
    return travel_by_origin__mean


@feature(unit="ln", low=-6, high=6)
def target_habit(travel_by_target__mean: Float) -> Float:
    """Mean of drives that end where the leg ends."""
    return travel_by_target__mean


@feature(unit="1", low=0, high=1e9)
def target_evidence(travel_by_target__weight: Float) -> Float:
    """How many drives into the zone are known."""
    return zero_if_unknown(travel_by_target__weight)


@feature(unit="ln", low=-6, high=6)
def hour_habit(travel_by_area_hour__mean: Float, travel_by_area__mean: Float) -> Float:
    """What this hour of the week adds to the area's drives."""
    return travel_by_area_hour__mean - travel_by_area__mean


@feature(unit="ln", low=-6, high=6)
def class_habit(travel_by_class__mean: Float, travel_by_area__mean: Float) -> Float:
    """What this kind of visit adds to the area's drives."""
    return travel_by_class__mean - travel_by_area__mean


@feature(unit="ln", low=-6, high=6)
def courier_habit(courier_log_ratio: Float) -> Float:
    """What this courier adds to the priors of drives."""
    return courier_log_ratio


@feature(unit="1", low=0, high=1e9)
def courier_evidence(pace_by_courier__weight: Float) -> Float:
    """How many drives of the courier are known."""
    return zero_if_unknown(pace_by_courier__weight)


@feature(unit="ln", low=-6, high=6)
def origin_pace(from_pace__mean: Float, from_pace__weight: Float) -> Float:
    """How much slower than their priors drives just ended where the leg starts."""
    return _shrunk_pace(from_pace__mean, from_pace__weight)


@feature(unit="ln", low=-6, high=6)
def target_pace(to_pace__mean: Float, to_pace__weight: Float) -> Float:
    """How much slower than their priors drives just ended where the leg ends."""
    return _shrunk_pace(to_pace__mean, to_pace__weight)


@feature(unit="ln", low=-6, high=6)
def area_pace(pace_by_area__mean: Float, pace_by_area__weight: Float) -> Float:
    """How much slower than their priors drives just ended in the area."""
    return _shrunk_pace(pace_by_area__mean, pace_by_area__weight)


@feature(unit="ln", low=-6, high=6)
def area_pace_days(pace_by_area_days__mean: Float, pace_by_area_days__weight: Float) -> Float:
    """How much slower than their priors the area's drives of the last days were."""
    return _shrunk_pace(pace_by_area_days__mean, pace_by_area_days__weight)


@feature(unit="s", low=-3 * DAY_S, high=3 * DAY_S)
def pace_ahead_s(pace_us: Float) -> Float:
    """What drives just ended in the zones ahead add to the driving to this stop."""
    return pace_us / 1e6


@feature(unit="s", low=-600, high=DAY_S)
def area_pace_age_s(pace_by_area__age_s: Float) -> Float:
    """How long ago a drive last ended in the area."""
    return pace_by_area__age_s


@feature(unit="ln", low=0, high=12)
def origin_spread(spread_by_origin__mean: Float) -> Float:
    """How far drives that start where the leg starts end from their priors."""
    return spread_by_origin__mean


@feature(unit="ln", low=0, high=12)
def target_spread(spread_by_target__mean: Float) -> Float:
    """How far drives that end where the leg ends end from their priors."""
    return spread_by_target__mean


@feature(unit="ln", low=-6, high=6)
def route_pace(pace_by_route__mean: Float, pace_by_route__weight: Float) -> Float:
    """How much slower than their priors the route's own drives of today were."""
    return shrunk(
        pace_by_route__mean, pace_by_route__weight, np.zeros_like(pace_by_route__mean), AREA_SHRINKAGE
    )


@feature(unit="s", low=-3 * DAY_S, high=3 * DAY_S)
def route_pace_s(route_pace: Float, travel_s: Float) -> Float:
    """What the route's own pace would add to the driving still ahead."""
    return route_pace * travel_s


@feature(unit="1", low=0, high=20)
def route_service_pace(service_by_route__mean: Float, service_by_route__weight: Float) -> Float:
    """How the route's own doors of today compare with their plan."""
    return shrunk(
        service_by_route__mean,
        service_by_route__weight,
        np.ones_like(service_by_route__mean),
        AREA_SHRINKAGE,
    )


@feature(unit="s", low=0, high=3 * DAY_S)
def prior_service_s(service_s: Float) -> Float:
    """Time at doors before this stop, by the causal prior."""
    return service_s


@feature(unit="stops", low=0, high=10_000)
def stops_visited(progress__visited: Float) -> Float:
    """Stops that the route has reached so far."""
    return np.nan_to_num(progress__visited)


@feature(unit="1", low=0, high=20)
def door_habit(
    service_by_area__mean: Float,
    service_by_area__weight: Float,
    service_by_courier__mean: Float,
    service_by_courier__weight: Float,
) -> Float:
    """How the doors of the area and courier compare with their plan, over weeks."""
    as_planned = np.ones_like(service_by_area__mean)
    area = shrunk(service_by_area__mean, service_by_area__weight, as_planned, AREA_SHRINKAGE)
    return shrunk(service_by_courier__mean, service_by_courier__weight, area, COURIER_SHRINKAGE)


@feature(unit="1", low=0, high=2)
def phase(progress__phase: Float) -> Float:
    """0 before departure, 1 driving, 2 at a stop."""
    return zero_if_unknown(progress__phase)


@feature(unit="s", low=-600, high=DAY_S)
def time_in_phase_s(in_phase_s: Float) -> Float:
    """How long the route has been driving or standing at a stop."""
    return in_phase_s


@feature(unit="s", low=-600, high=14 * DAY_S)
def time_since_planned_s(plan_age_s: Float) -> Float:
    """How long ago the stop was planned, or last given another place in its route."""
    return plan_age_s


@feature(unit="s", low=-DAY_S, high=3 * DAY_S)
def departs_in_s(departure_in_s: Float) -> Float:
    """Time to the planned departure; 0 once left."""
    return departure_in_s


@feature(unit="s", low=-DAY_S, high=DAY_S)
def depot_slip_s(progress__depot_slip_s: Float) -> Float:
    """How late the route left the depot."""
    return progress__depot_slip_s


@feature(unit="s", low=-DAY_S, high=DAY_S)
def travel_slip_s(progress__travel_slip_s: Float) -> Float:
    """How far driving so far is behind its plan."""
    return progress__travel_slip_s


@feature(unit="s", low=-DAY_S, high=DAY_S)
def service_slip_s(progress__service_slip_s: Float) -> Float:
    """How far time at doors so far is behind its plan."""
    return progress__service_slip_s


@feature(unit="s", low=0, high=DAY_S)
def halt_slip_s(progress__halt_s: Float) -> Float:
    """What the route has lost in drives and doors too long to be either: a vehicle that stood."""
    return progress__halt_s


@feature(unit="s", low=-600, high=2 * DAY_S)
def progress_age_s(progress__age_s: Float) -> Float:
    """How long ago the route was last heard of by a stop event."""
    return progress__age_s


@feature(unit="s", low=-DAY_S, high=DAY_S)
def depot_habit_s(departure_by_depot__mean: Float) -> Float:
    """How late routes have left this depot of late."""
    return departure_by_depot__mean


@feature(unit="1", low=0, high=1)
def depot_ready_share(depot_state__ready_share: Float) -> Float:
    """Share of the day's parcels that the depot has sorted."""
    return depot_state__ready_share


@feature(unit="s", low=-14_400, high=DAY_S)
def depot_sort_delay_s(depot_state__sort_delay_s: Float) -> Float:
    """How far sorting at the depot is behind its plan."""
    return depot_state__sort_delay_s


@feature(unit="m", low=0, high=2e6)
def distance_to_stop_m(motion__lat: Float, motion__lon: Float, lat: Float, lon: Float) -> Float:
    """Metres from the vehicle's last position to the stop."""
    north = np.radians(lat - motion__lat)
    east = np.radians(lon - motion__lon) * np.cos(np.radians(lat))
    return EARTH_RADIUS_M * np.sqrt(north * north + east * east)


@feature(unit="m", low=0, high=2e6)
def leg_m(leg_distance_m: Float) -> Float:
    """Metres of this stop's own leg."""
    return leg_distance_m


@feature(unit="stops/km", low=0, high=50)
def density_ahead(rank: Float, metres_ahead: Float) -> Float:
    """How densely the stops up to this one lie along the way, at most 50 a kilometre."""
    return np.where(np.isnan(metres_ahead), np.nan, 1000.0 * rank / np.maximum(metres_ahead, 1.0))


def _metres_north(lat: Float) -> Float:
    return np.radians(lat - np.rint(lat)) * EARTH_RADIUS_M


def _metres_east(lat: Float, lon: Float) -> Float:
    return np.radians(lon - np.rint(lon)) * np.cos(np.radians(lat)) * EARTH_RADIUS_M


@feature(unit="m", low=-60_000, high=60_000)
def target_north_m(lat: Float) -> Float:
    """Metres of the stop north of the nearest whole degree: where in its region it lies."""
    return _metres_north(lat)


@feature(unit="m", low=-60_000, high=60_000)
def target_east_m(lat: Float, lon: Float) -> Float:
    """Metres of the stop east of the nearest whole degree."""
    return _metres_east(lat, lon)


@feature(unit="m", low=-60_000, high=60_000)
def origin_north_m(from_lat: Float) -> Float:
    """Metres north of the nearest whole degree where the leg starts."""
    return _metres_north(from_lat)


@feature(unit="m", low=-60_000, high=60_000)
def origin_east_m(from_lat: Float, from_lon: Float) -> Float:
    """Metres east of the nearest whole degree where the leg starts."""
    return _metres_east(from_lat, from_lon)


@feature(unit="m/s", low=0, high=70)
def vehicle_speed_mps(motion__speed_mps: Float) -> Float:
    """Mean speed of the vehicle in its last five minutes."""
    return motion__speed_mps


@feature(unit="1", low=0, high=1)
def vehicle_moving_share(motion__moving_share: Float) -> Float:
    """Share of the vehicle's last messages in which it moved."""
    return motion__moving_share


@feature(unit="1", low=0, high=1)
def vehicle_stopped(motion__stopped: Float) -> Float:
    """1 where the vehicle says that it can go no further."""
    return motion__stopped


@feature(unit="s", low=-600, high=DAY_S)
def telemetry_age_s(motion__age_s: Float, motion__lag_s: Float) -> Float:
    """Age of the vehicle's last known position."""
    return motion__age_s + motion__lag_s


@feature(unit="1", low=-1, high=1)
def origin_jam(from_traffic__jam: Float) -> Float:
    """How far below free flow the zone is where the leg starts."""
    return from_traffic__jam


@feature(unit="1", low=-1, high=1)
def target_jam(to_traffic__jam: Float) -> Float:
    """How far below free flow the zone of the stop is."""
    return to_traffic__jam


@feature(unit="1", low=-2, high=2)
def target_jam_trend(to_traffic__jam: Float, to_traffic__jam_hour: Float) -> Float:
    """Whether the zone of the stop is getting slower, against its last hour."""
    return to_traffic__jam - to_traffic__jam_hour


@feature(unit="1", low=-1, high=1)
def path_jam(mean_jam: Float) -> Float:
    """Mean jam of the zones on the way to the stop."""
    return mean_jam


@feature(unit="1", low=0, high=10_000)
def target_incidents(to_traffic__incidents: Float) -> Float:
    """Incidents reported in the zone of the stop."""
    return to_traffic__incidents


@feature(unit="s", low=-600, high=DAY_S)
def traffic_age_s(to_traffic__age_s: Float) -> Float:
    """Age of the traffic message of the zone of the stop."""
    return to_traffic__age_s


@feature(unit="degC", low=-60, high=60)
def temperature_c(weather_now__temperature_c: Float) -> Float:
    """Air temperature last observed."""
    return weather_now__temperature_c


@feature(unit="mm/h", low=0, high=300)
def rain_now_mm(weather_now__precipitation_mm: Float) -> Float:
    """Precipitation last observed."""
    return weather_now__precipitation_mm


@feature(unit="cm/h", low=0, high=100)
def snow_now_cm(weather_now__snow_cm: Float) -> Float:
    """Snowfall last observed."""
    return weather_now__snow_cm


@feature(unit="m/s", low=0, high=110)
def wind_now_mps(weather_now__wind_mps: Float) -> Float:
    """Wind last observed."""
    return weather_now__wind_mps


@feature(unit="mm/h", low=0, high=300)
def rain_then_mm(weather_then__precipitation_mm: Float) -> Float:
    """Precipitation forecast for the hour of the planned arrival, as last issued."""
    return weather_then__precipitation_mm


@feature(unit="mm/h", low=0, high=300)
def rain_before_mm(weather_before__precipitation_mm: Float) -> Float:
    """Precipitation of two hours ago."""
    return weather_before__precipitation_mm


@feature(unit="m/s", low=0, high=110)
def wind_then_mps(weather_then__wind_mps: Float) -> Float:
    """Wind forecast for the hour of the planned arrival, as last issued."""
    return weather_then__wind_mps


@feature(unit="s", low=-600, high=DAY_S)
def weather_age_s(weather_now__age_s: Float) -> Float:
    """Age of the last observed weather."""
    return weather_now__age_s


@feature(unit="parcels", low=0, high=10_000)
def parcels_here(parcels: Float) -> Float:
    """Parcels handed over at the stop."""
    return parcels


@feature(unit="s", low=0, high=DAY_S)
def door_prior_s(planned_service_s: Float, door_habit: Float) -> Float:
    """Time at the door of the stop itself: its plan at the habit of its area and courier."""
    return np.where(planned_service_s > 0, planned_service_s, UNPLANNED_SERVICE_S) * door_habit


#: The feature set, in the order of a vector's columns.
FEATURES: tuple[Feature, ...] = (
    prior_in_s,
    prior_travel_s,
    prior_service_s,
    stops_visited,
    door_habit,
    reference_travel_s,
    plan_in_s,
    plan_against_prior_s,
    stops_ahead,
    stops_remaining,
    hour_of_day,
    day_of_week,
    leg_prior,
    pair_habit,
    pair_evidence,
    pair_hour_evidence,
    link_habit,
    link_evidence,
    origin_habit,
    target_habit,
    target_evidence,
    hour_habit,
    class_habit,
    courier_habit,
    courier_evidence,
    origin_pace,
    target_pace,
    area_pace,
    area_pace_days,
    pace_ahead_s,
    area_pace_age_s,
    origin_spread,
    target_spread,
    route_pace,
    route_pace_s,
    route_service_pace,
    phase,
    time_in_phase_s,
    time_since_planned_s,
    departs_in_s,
    depot_slip_s,
    travel_slip_s,
    service_slip_s,
    halt_slip_s,
    progress_age_s,
    depot_habit_s,
    depot_ready_share,
    depot_sort_delay_s,
    distance_to_stop_m,
    leg_m,
    density_ahead,
    target_north_m,
    target_east_m,
    origin_north_m,
    origin_east_m,
    vehicle_speed_mps,
    vehicle_moving_share,
    vehicle_stopped,
    telemetry_age_s,
    origin_jam,
    target_jam,
    target_jam_trend,
    path_jam,
    target_incidents,
    traffic_age_s,
    temperature_c,
    rain_now_mm,
    snow_now_cm,
    wind_now_mps,
    rain_then_mm,
    rain_before_mm,
    wind_then_mps,
    weather_age_s,
    parcels_here,
    door_prior_s,
)
