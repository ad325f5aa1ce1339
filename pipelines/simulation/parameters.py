"""Every number of the city, read from ``city.toml`` and refused when a name is missing or unknown."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_contracts.errors import SourceError

_FILE = Path(__file__).with_name("city.toml")

Range = tuple[float, float]

ZONES_PER_DISTRICT = 4
_PERTURBED_SIZE = "demo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large the city is; ``vehicles`` counts them by type."""

    vehicles: dict[str, int]
    couriers: int
    depots: int
    grid: int
    zone_m: float
    sites: int
    van_stops: int
    days: int

    @property
    def routes(self) -> int:
        return sum(self.vehicles.values())

    @property
    def zones(self) -> int:
        return self.grid**2

    @property
    def districts(self) -> int:
        """Blocks of 4 x 4 zones, which share their traffic."""
        return (-(-self.grid // ZONES_PER_DISTRICT)) ** 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    timezone: str
    area_id: str
    lat: float
    lon: float
    depot_radius_share: float
    neighbourhood_sd: float
    site_weight_sd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class VehicleParameters:
    """What a type of vehicle carries and how it moves; ``speed_mps`` counts off the road only."""

    stops_share: float
    on_road: bool
    speed_mps: float
    service_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StreetParameters:
    free_flow_mps: Range
    peak_hours: Range
    peak_width_h: Range
    peak_depth: Range
    midday_depth: float
    weekend_depth_share: float
    detour: float
    access_m: float
    congestion_sd: float
    fastest_share: float
    congestion_memory_s: float
    congestion_shared: float
    leg_sd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PeopleParameters:
    pace_sd: float
    courier_service_sd: float
    away_share: float
    site_service_sd: float
    home_share: Range
    evening_home_gain: float
    failed_service_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceParameters:
    base_s: float
    per_parcel_s: float
    parcels_mean_more: float
    product_factor: dict[str, float]
    product_share: dict[str, float]
    noise_sd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DepotParameters:
    habit_s: Range
    habit_sd: float
    loading_s: float
    loading_sd: float
    sort_starts_h: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanParameters:
    """``booked_hours`` are (share, hours) of the windows that customers booked, lowest first."""

    told_h: float
    first_departure_h: float
    wave_s: float
    waves: int
    volume_sd: float
    beat_volume_sd: float
    weekend_volume: float
    speed_share: float
    service_share: float
    departure_share: float
    express_share: float
    express_width_share: float
    width_s: float
    width_per_hour_s: float
    booked_share: float
    booked_hours: tuple[Range, ...]
    promise_lead_share: float
    promise_grid_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchParameters:
    review_h: Range
    review_s: float
    added_share: float
    handover_behind_s: float
    helper_behind_s: float
    handover_stops: int
    routes_per_handover: int
    neighbours: int
    cancelled_share: float
    swapped_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WeatherParameters:
    temperature_c: float
    season_c: float
    daily_c: float
    memory: float
    temperature_memory: float
    wet_from: float
    rain_mm: float
    wind_mps: float
    storm_mm: Range
    storm_wind_mps: Range
    speed_per_mm: float
    speed_per_snow_cm: float
    speed_per_gale_mps: float
    service_per_mm: float
    service_per_snow_cm: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CauseParameters:
    """How often a cause strikes a subject in a day, when, for how long and how hard."""

    rate: float
    onset_h: Range
    hours: Range
    severity: Range


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageParameters:
    ping_s: float
    ping_sd_m: float
    pings_before_departure_s: float
    gap_s: float
    gap_share: float
    traffic_s: float
    traffic_sd: float
    traffic_gap_share: float
    traffic_hours: Range
    incident_known_s: float
    depot_s: float
    depot_from_h: float
    depot_sd_s: float
    delay_s: Range
    late_share: float
    late_mean_s: float
    duplicate_share: float
    forecast_every_h: int
    forecast_hours: int
    weather_delay_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """All parameters of a city; ``stream`` keeps the draws of a perturbed city apart from all others'."""

    stream: int
    size: Size
    place: Place
    vehicle: dict[str, VehicleParameters]
    streets: StreetParameters
    people: PeopleParameters
    service: ServiceParameters
    depot: DepotParameters
    plan: PlanParameters
    dispatch: DispatchParameters
    weather: WeatherParameters
    disruption: dict[str, CauseParameters]
    messages: MessageParameters

    @classmethod
    def load(cls, size: str) -> Parameters:
        """The parameters of ``city.toml`` for one of its sizes, or for a perturbed city by its name."""
        read = _read()
        perturbed = read["perturbed"]
        if size not in read["size"] | perturbed:
            known = ", ".join([*read["size"], *perturbed])
            raise SourceError(f"no city of size {size!r}", where="simulated", next_step=f"take {known}")
        changes = dict(perturbed.get(size, {"stream": 0}))
        read["size"] = read["size"][_PERTURBED_SIZE if size in perturbed else size]
        stream = changes.pop("stream")
        return cls.of(_overridden(read, changes), stream)

    @classmethod
    def of(cls, read: dict[str, Any], stream: int) -> Parameters:
        """Parameters from sections as they stand in the file."""
        sections = {name: _ranged(section) for name, section in read.items()}
        return cls(
            stream=stream,
            size=Size(**sections["size"]),
            place=Place(**sections["place"]),
            vehicle={name: VehicleParameters(**p) for name, p in read["vehicle"].items()},
            streets=StreetParameters(**sections["streets"]),
            people=PeopleParameters(**sections["people"]),
            service=ServiceParameters(**sections["service"]),
            depot=DepotParameters(**sections["depot"]),
            plan=PlanParameters(**sections["plan"]),
            dispatch=DispatchParameters(**sections["dispatch"]),
            weather=WeatherParameters(**sections["weather"]),
            disruption={name: CauseParameters(**_ranged(p)) for name, p in read["disruption"].items()},
            messages=MessageParameters(**sections["messages"]),
        )


def parameters_hash() -> str:
    """SHA-256 of the bytes of ``city.toml``."""
    return hashlib.sha256(_FILE.read_bytes()).hexdigest()


def perturbed_cities() -> tuple[str, ...]:
    """Names of the cities that are for judging only."""
    return tuple(_read()["perturbed"])


def bands() -> dict[str, Range]:
    """Published bands of plausibility by the name of the figure."""
    return _ranged(_read()["bands"])


def _read() -> dict[str, Any]:
    return tomllib.loads(_FILE.read_text(encoding="utf-8"))


def _overridden(section: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The section with some of its values replaced; a name that it does not have is refused."""
    if unknown := changes.keys() - section.keys():
        what = f"city.toml changes {', '.join(sorted(unknown))}, which does not exist"
        raise SourceError(what, where="simulated", next_step="correct the name")
    deeper = {
        name: _overridden(section[name], change) if isinstance(change, dict) else change
        for name, change in changes.items()
    }
    return section | deeper


def _ranged(section: dict[str, Any]) -> dict[str, Any]:
    return {name: _tupled(value) for name, value in section.items()}


def _tupled(value: Any) -> Any:
    return tuple(map(_tupled, value)) if isinstance(value, list) else value
