"""How the city's stops, doors and windows compare with a day of the Amazon Last Mile challenge.

Only quantiles leave this module; the rows are for evaluation inside the team.
Run: python -m pipelines.simulation.amazon FOLDER [SIZE]
"""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from pipelines.simulation.city import City
from pipelines.simulation.noise import Array
from pipelines.simulation.parameters import Parameters
from pipelines.simulation.world import World

LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
_M_PER_DEG = 111_320.0
_SEED, _DAY = 3, date(2026, 1, 5)
_VAN = "van"

#: Stops of a day: route, x_m, y_m, service_s, parcels, window_h (nan where none was booked), zone.
Stops = pl.DataFrame


def amazon_stops(folder: Path) -> Stops:
    """Stops of the Amazon day: the packages of a route that share its stop id."""
    rows = pl.read_csv(folder / "customers.csv", infer_schema_length=None).filter(
        pl.col("stop_id").is_not_null()
    )
    opens, closes = (pl.col(f"dropoff_tw_{end}").str.to_datetime() for end in ("start", "end"))
    stops = rows.group_by("vehicle_id", "stop_id", maintain_order=True).agg(
        pl.col("dropoff_lat").first(),
        pl.col("dropoff_long").first(),
        pl.col("service_duration").sum().alias("service_s"),
        pl.len().alias("parcels"),
        ((closes.max() - opens.min()).dt.total_seconds() / 3600).cast(pl.Float64).alias("window_h"),
        pl.col("dropoff_zone_id").first().alias("zone"),
    )
    east_m = _M_PER_DEG * np.cos(np.radians(stops["dropoff_lat"].to_numpy().mean()))
    return stops.select(
        pl.col("vehicle_id").alias("route"),
        (pl.col("dropoff_long") * east_m).alias("x_m"),
        (pl.col("dropoff_lat") * _M_PER_DEG).alias("y_m"),
        "service_s",
        "parcels",
        "window_h",
        "zone",
    )


def city_stops(size: str) -> Stops:
    """Stops of the vans of one day of the city, with the seconds that the visits truly took."""
    world = World.draw(Parameters.load(size), _SEED)
    city = City.day(world, _DAY, _SEED)
    city.finish()
    plan, stop = city.plan, np.flatnonzero(np.isfinite(city.arrived_s[: city.plan.planned]))
    stop = stop[np.array(world.vehicle_type)[plan.place_route[stop]] == _VAN]
    return pl.DataFrame(
        {
            "route": plan.place_route[stop],
            "x_m": plan.place_x_m[stop],
            "y_m": plan.place_y_m[stop],
            "service_s": city.done_s[stop] - city.arrived_s[stop],
            "parcels": plan.orders.parcels[stop],
            "window_h": plan.orders.booked_s[stop] / 3600,
            "zone": plan.place_zone[stop],
        }
    )


def figures(stops: Stops) -> dict[str, Array]:
    """Quantiles by figure; a share stands alone."""
    parts = stops.partition_by("route", maintain_order=True)
    places = [part.select("x_m", "y_m").to_numpy().T for part in parts]
    window_h = stops["window_h"].fill_null(np.nan).to_numpy()
    booked = np.isfinite(window_h)
    return {
        "stops per van": _quantiles([len(part) for part in parts]),
        "zones per van": _quantiles([part["zone"].n_unique() for part in parts]),
        "stops per km2 of a route": _quantiles([_density_km2(xy_m) for xy_m in places]),
        "metres to the nearest stop of the route": _quantiles(
            np.concatenate([_nearest_m(xy_m) for xy_m in places])
        ),
        "metres from stop to stop, nearest first": _quantiles(
            np.concatenate([_tour_m(xy_m) for xy_m in places])
        ),
        "service seconds": _quantiles(stops["service_s"].to_numpy()),
        "service hours per van": _quantiles(
            [float(part["service_s"].to_numpy().sum()) / 3600 for part in parts]
        ),
        "parcels per stop": _quantiles(stops["parcels"].to_numpy()),
        "hours of a booked window": _quantiles(window_h[booked]),
        "share with a booked window": np.array([booked.mean()]),
    }


def comparison(folder: Path, size: str) -> str:
    """A Markdown table of the quantiles side by side, Amazon above, the city below."""
    lines = ["| figure | of | " + " | ".join(f"{level:.0%}" for level in LEVELS) + " |", "|---" * 9 + "|"]
    theirs, ours = figures(amazon_stops(folder)), figures(city_stops(size))
    for name in theirs:
        for of, values in (("Amazon day", theirs[name]), (f"`{size}`", ours[name])):
            cells = [f"{value:.3g}" for value in values] + [""] * (len(LEVELS) - len(values))
            lines.append(f"| {name} | {of} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _quantiles(values: Array | list[float]) -> Array:
    return np.quantile(np.asarray(values, float), LEVELS)


def _density_km2(xy_m: Array) -> float:
    """Stops per square kilometre of the ellipse of two standard deviations."""
    return float(xy_m.shape[1] / (4 * np.pi * np.sqrt(np.linalg.det(np.cov(xy_m))) / 1e6))


def _nearest_m(xy_m: Array) -> Array:
    away_m = np.hypot(*(xy_m[:, :, None] - xy_m[:, None, :]))
    np.fill_diagonal(away_m, np.inf)
    return away_m.min(axis=1)


def _tour_m(xy_m: Array) -> Array:
    """Legs of a tour that starts at the first stop and always goes on to the nearest one left."""
    left, here, legs = np.ones(xy_m.shape[1], bool), 0, []
    for _ in range(xy_m.shape[1] - 1):
        left[here] = False
        away_m = np.where(left, np.hypot(*(xy_m - xy_m[:, [here]])), np.inf)
        here = int(away_m.argmin())
        legs.append(float(away_m[here]))
    return np.array(legs)


if __name__ == "__main__":
    print(comparison(Path(sys.argv[1]), (sys.argv[2:] or ["reference"])[0]))
