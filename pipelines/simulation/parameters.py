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


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large the city is."""

    vehicles: int
    couriers: int
    depots: int
    grid: int
    zone_m: float
    sites: int
    stops_per_route: int
    days: int

    @property
    def zones(self) -> int:
        return self.grid**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    timezone: str
    area_id: str
    lat: float
    lon: float


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
    site_service_sd: float
    home_share: Range
    evening_home_gain: float
    skip_share: float
    failed_service_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceParameters:
    base_s: float
    per_parcel_s: float
    product_factor: dict[str, float]
    product_share: dict[str, float]
    noise_sd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DepotParameters:
    radius_share: float
    habit_s: Range
    loading_s: float
    loading_sd: float
    sort_starts_h: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanParameters:
    told_h: float
    first_departure_h: float
    wave_s: float
    waves: int
    overlap_sectors: float
    volume_sd: float
    weekend_volume: float
    speed_share: float
    service_share: float
    departure_share: float
    express_share: float
    express_width_s: float
    standard_width_s: float
    promise_lead_share: float
    promise_grid_s: float


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
    """All parameters of a city of one size."""

    size: Size
    place: Place
    streets: StreetParameters
    people: PeopleParameters
    service: ServiceParameters
    depot: DepotParameters
    plan: PlanParameters
    weather: WeatherParameters
    disruption: dict[str, CauseParameters]
    messages: MessageParameters

    @classmethod
    def load(cls, size: str) -> Parameters:
        """The parameters of ``city.toml`` for one of its sizes."""
        read = tomllib.loads(_FILE.read_text(encoding="utf-8"))
        if size not in read["size"]:
            known = ", ".join(read["size"])
            raise SourceError(f"no city of size {size!r}", where="simulated", next_step=f"take {known}")
        return cls(
            size=Size(**read["size"][size]),
            place=Place(**read["place"]),
            streets=StreetParameters(**_ranged(read["streets"])),
            people=PeopleParameters(**_ranged(read["people"])),
            service=ServiceParameters(**read["service"]),
            depot=DepotParameters(**_ranged(read["depot"])),
            plan=PlanParameters(**read["plan"]),
            weather=WeatherParameters(**_ranged(read["weather"])),
            disruption={name: CauseParameters(**_ranged(p)) for name, p in read["disruption"].items()},
            messages=MessageParameters(**_ranged(read["messages"])),
        )


def parameters_hash() -> str:
    """SHA-256 of the bytes of ``city.toml``."""
    return hashlib.sha256(_FILE.read_bytes()).hexdigest()


def _ranged(section: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in section.items()}
