"""What is ordered for a day: which doors, how much, and what was sold."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np

from pipelines.simulation.noise import Array, Noise
from pipelines.simulation.world import World

SERVICE_LEVELS = ("standard", "express", "white_glove")
EXPRESS, WHITE_GLOVE = 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """Each field is (stops,); ``booked_s`` is the width of the window that the customer booked, or nan."""

    site: Array
    customer: Array
    parcels: Array
    product: Array
    level: Array
    value_eur: Array
    usual_service_s: Array
    booked_s: Array


def is_weekend(day: date) -> bool:
    return day.weekday() >= 5


def sites_of_day(world: World, day: date, noise: Noise) -> tuple[Array, Array]:
    """Sites to visit in the order of each beat, and the route of each: drawn by weight (Gumbel top-k)."""
    size, p, routes = world.parameters.size, world.parameters.plan, world.parameters.size.routes
    volume = (p.weekend_volume if is_weekend(day) else 1.0) * (1 + p.volume_sd * noise.normal("volume", 1)[0])
    share = np.array([world.parameters.vehicle[name].stops_share for name in world.vehicle_type])
    wanted = size.van_stops * share * volume * (1 + p.beat_volume_sd * noise.normal("beat volume", routes))
    beat = world.beats.route
    wanted = np.clip(np.rint(wanted), 3, np.bincount(beat, minlength=routes)).astype(int)
    gumbel = -np.log(-np.log(noise.uniform("which sites", size.sites) + 1e-12))
    order = np.lexsort((-(np.log(world.site_weight) + gumbel), beat))
    place = np.arange(size.sites) - np.searchsorted(beat[order], np.arange(routes))[beat[order]]
    chosen = order[place < wanted[beat[order]]]
    chosen = chosen[np.argsort(world.beats.rank[chosen], kind="stable")]
    return chosen, beat[chosen]


def sites_added(world: World, noise: Noise, reviews: int) -> tuple[Array, Array]:
    """A site of its beat for every review and route, should an order come in then."""
    routes = world.parameters.size.routes
    by_beat = np.argsort(world.beats.route, kind="stable")
    first = np.searchsorted(world.beats.route[by_beat], np.arange(routes + 1))
    route = np.tile(np.arange(routes), reviews)
    drawn = noise.uniform("added site", reviews * routes) * np.diff(first)[route]
    return by_beat[first[route] + drawn.astype(int)], route


def make_orders(world: World, noise: Noise, site: Array) -> Orders:
    """What is ordered at some doors."""
    p, stops = world.parameters, len(site)
    share = np.cumsum(list(p.service.product_share.values()))
    product = np.searchsorted(share[:-1], noise.uniform("product", stops), side="right")
    more = -p.service.parcels_mean_more * np.log1p(-noise.uniform("parcels", stops))
    parcels = 1 + np.floor(more).astype(int)
    factor = np.array(list(p.service.product_factor.values()))[product]
    express = noise.uniform("express", stops) < p.plan.express_share
    furniture = product == list(p.service.product_share).index("furniture")
    booked = noise.uniform("booked", stops)
    upto, hours = zip(*p.plan.booked_hours, strict=True)
    booked_h = np.array(hours)[np.searchsorted(upto, np.minimum(booked / p.plan.booked_share, 1))]
    return Orders(
        site=site,
        customer=2 * site + (noise.uniform("customer", stops) < 0.35),
        parcels=parcels,
        product=product,
        level=np.where(furniture, WHITE_GLOVE, np.where(express, EXPRESS, 0)),
        value_eur=np.round(np.exp(3.4 + 0.8 * noise.normal("value", stops)) * factor**2, 2),
        usual_service_s=(p.service.base_s + p.service.per_parcel_s * parcels) * factor,
        booked_s=np.where(booked < p.plan.booked_share, booked_h * 3600, np.nan),
    )
