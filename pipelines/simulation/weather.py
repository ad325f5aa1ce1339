"""The sky over the city, hour by hour, and what it does to driving and to service."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import date

import numpy as np

from pipelines.simulation.disruptions import HOUR_S, Cause, Upsets
from pipelines.simulation.noise import Array, autoregressive, between
from pipelines.simulation.parameters import WeatherParameters

HOURS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """Each field is (days, hours): the weather of the hour that begins then."""

    temperature_c: Array
    precipitation_mm: Array
    snow_cm: Array
    wind_mps: Array
    cloud_share: Array

    def then(self, later: Weather) -> Weather:
        """This weather, followed by another day's."""
        names = [field.name for field in fields(self)]
        return Weather(**{n: np.concatenate([getattr(self, n), getattr(later, n)], axis=1) for n in names})

    def speed_factor(self, p: WeatherParameters) -> Array:
        """By how much the weather of each hour slows driving, at most 1."""
        gale_mps = np.maximum(0, self.wind_mps - 10)
        slower = p.speed_per_mm * np.minimum(self.precipitation_mm, 12)
        slower += p.speed_per_snow_cm * np.minimum(self.snow_cm, 4) + p.speed_per_gale_mps * gale_mps
        return 1 / (1 + slower)

    def service_rate(self, p: WeatherParameters) -> Array:
        """Seconds of work done at a door in a second, at most 1."""
        slower = p.service_per_mm * np.minimum(self.precipitation_mm, 12)
        return 1 / (1 + slower + p.service_per_snow_cm * np.minimum(self.snow_cm, 4))


def sky(p: WeatherParameters, day: date, normal: Array, upsets: Upsets) -> Weather:
    """The weather of a date from (days, 3, 24) normal draws: wetness, wind and temperature."""
    wet, wind = (autoregressive(normal[:, row], p.memory) for row in (0, 1))
    warm = autoregressive(normal[:, 2], p.temperature_memory)
    hours = np.arange(HOURS)
    season = -np.cos(2 * np.pi * (day.timetuple().tm_yday - 20) / 365.25)
    temperature_c = p.temperature_c + p.season_c * season + 2.5 * warm
    temperature_c = temperature_c - p.daily_c * np.cos(2 * np.pi * (hours - 3) / 24)
    precipitation_mm = p.rain_mm * np.maximum(0, wet - p.wet_from)
    wind_mps = p.wind_mps * np.exp(0.4 * wind)
    cloud_share = 1 / (1 + np.exp(-1.3 * wet - 0.4))
    storms = upsets.of(Cause.STORM)
    for day_number, onset_s, end_s, severity in zip(
        storms.day, storms.onset_s, storms.end_s, storms.severity, strict=True
    ):
        under = (hours >= onset_s / HOUR_S) & (hours < end_s / HOUR_S)
        precipitation_mm[day_number] += under * between(severity, p.storm_mm)
        wind_mps[day_number] += under * between(severity, p.storm_wind_mps)
        cloud_share[day_number, under] = 1.0
    return Weather(
        temperature_c=temperature_c,
        precipitation_mm=precipitation_mm,
        snow_cm=np.where(temperature_c < 0.5, precipitation_mm, 0.0),
        wind_mps=wind_mps,
        cloud_share=cloud_share,
    )
