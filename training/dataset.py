"""Training and test rows: which forecasts are made, what could be known then, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import polars as pl
from numpy.typing import NDArray

from features.feast_repo import historical
from features.itinerary import Itinerary, ItineraryBuilder
from features.messages import messages
from features.route_book import RouteBook
from features.vectors import FEATURE_NAMES, Vectors, combine
from features.views import LOOKUPS
from training.instants import Instants

if TYPE_CHECKING:
    from feast import FeatureStore

Float = NDArray[np.float64]
MINUTE_US = 60_000_000
QUARTER_US = 15 * MINUTE_US
NEVER_US = 2**62
LONGEST_MIN = 180
#: Asked about at each arrival, not once in each horizon bin.
EACH = (Instants.AT_EACH_ARRIVAL, Instants.AT_EACH_STOP)
#: Upper edges of the horizon bins in minutes; "before departure" comes first and stands apart.
HORIZON_EDGES_MIN = (15, 30, 60, 120, 240)
HORIZON_NAMES = ("0-15", "15-30", "30-60", "60-120", "120-240", "over 240")
BEFORE_DEPARTURE = "before departure"


@dataclass(frozen=True, slots=True)
class Dataset:
    """Forecast rows with their outcomes.

    vectors : n rows
    rows : (n) frame: what the baselines and the groups of the evaluation need
    arrival_s : (n,) seconds from ``as_of`` to the arrival; NaN for a stop that failed or was skipped
    outcome_known_us : (n,) when the outcome was received
    """

    vectors: Vectors
    rows: pl.DataFrame
    arrival_s: Float
    outcome_known_us: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.vectors)

    @classmethod
    def concat(cls, parts: Sequence[Dataset]) -> Dataset:
        """Rows of several sets, one after the other."""
        return cls(
            Vectors.concat([part.vectors for part in parts]),
            pl.concat([part.rows for part in parts]),
            np.concatenate([part.arrival_s for part in parts]),
            np.concatenate([part.outcome_known_us for part in parts]),
        )

    def take(self, rows: NDArray[np.int64]) -> Dataset:
        return Dataset(
            self.vectors.take(rows), self.rows[rows], self.arrival_s[rows], self.outcome_known_us[rows]
        )

    def where(self, keep: NDArray[np.bool_]) -> Dataset:
        return self.take(np.flatnonzero(keep))

    @property
    def completion_s(self) -> Float:
        """(n,) seconds from ``as_of`` to the completion; NaN where none is told."""
        if "closed_us" not in self.rows.columns:
            return np.full(len(self), np.nan)
        closed_s = ((self.rows["closed_us"] - self.rows["as_of_us"]) / 1e6).cast(pl.Float64).to_numpy()
        return np.where(np.isfinite(self.arrival_s), closed_s, np.nan)

    def to_pandas(self) -> pd.DataFrame:
        """Features, the prior ``base_s`` and the outcome ``arrival_s`` by name, indexed by stop and instant."""
        frame = pd.DataFrame(self.vectors.matrix, columns=list(FEATURE_NAMES))
        frame["base_s"], frame["arrival_s"] = self.vectors.base_s, self.arrival_s
        as_of = pd.to_datetime(self.vectors.as_of_us, unit="us", utc=True)
        frame.index = pd.MultiIndex.from_arrays([self.vectors.stop_ids, as_of], names=("stop_id", "as_of"))
        return frame

    @property
    def clusters(self) -> NDArray[np.str_]:
        """(n,) what fails together: the service day, or a rider or trip where a set has no calendar."""
        return self.rows["cluster"].to_numpy().astype(str)

    @property
    def days(self) -> NDArray[np.str_]:
        """(n,) service day of each row."""
        return self.rows["service_date"].to_numpy().astype(str)


def outcomes(ordered: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """What became of each stop: when it was reached and closed, and the end of its first promise."""
    events = _standing(ordered["stop_events"].filter(pl.col("stop_id").is_not_null()).sort("seq"))
    arrived = (
        events.filter(pl.col("kind") == "arrived")
        .group_by("stop_id")
        .agg(arrived_us=pl.col("occurred_at").first(), arrived_known_us=pl.col("received_at").first())
    )
    closed = (
        events.filter(pl.col("kind").is_in(["completed", "failed", "skipped"]))
        .group_by("stop_id")
        .agg(
            closed=pl.col("kind").first(),
            closed_us=pl.col("occurred_at").first(),
            closed_known_us=pl.col("received_at").first(),
        )
    )
    first_plan = (
        ordered["stops"]
        .sort("seq")
        .group_by("stop_id", maintain_order=True)
        .agg(
            pl.col("route_id").last(),
            pl.col("received_at").first().alias("stop_planned_us"),
            pl.col("promised_end_at").first().alias("promise_end_us"),
        )
        .join(ordered["routes"].group_by("route_id").agg(pl.col("received_at").min()), on="route_id")
        .with_columns(planned_us=pl.max_horizontal("stop_planned_us", "received_at"))
        .drop("stop_planned_us", "received_at")
    )
    return first_plan.join(arrived, on="stop_id", how="left").join(closed, on="stop_id", how="left")


def _standing(events: pl.DataFrame) -> pl.DataFrame:
    """Events that no later one of their stop has withdrawn."""
    withdrawn = (
        events.filter(pl.col("kind") == "withdrawn").group_by("stop_id").agg(withdrawn=pl.col("seq").max())
    )
    if withdrawn.is_empty():
        return events
    known = events.join(withdrawn, on="stop_id", how="left", maintain_order="left")
    return known.filter(pl.col("withdrawn").is_null() | (pl.col("seq") > pl.col("withdrawn"))).drop(
        "withdrawn"
    )


def instants(
    ordered: Mapping[str, pl.DataFrame], policy: Instants, *, seed: int, per_route: int | None = None
) -> pl.DataFrame:
    """The forecasts to make: ``stop_id``, ``route_id``, ``as_of_us``, ``horizon``.

    Along a route: one seeded instant per stop and horizon bin. At each arrival: every later stop within three hours.
    ``per_route`` bounds at how many instants a route is looked at.
    """
    departures = (
        ordered["stop_events"]
        .filter(pl.col("kind") == "departed_depot")
        .group_by("route_id")
        .agg(departed_us=pl.col("received_at").min())
    )
    known = outcomes(ordered).join(departures, on="route_id", how="left")
    candidates = _candidates(ordered, policy, departures, known)
    if per_route is not None:
        order = pl.struct("route_id", "as_of_us").hash(seed)
        candidates = candidates.filter(order.rank("ordinal").over("route_id") <= per_route)
    pairs = (
        known.join(candidates, on="route_id")
        .with_columns(
            in_min=(pl.col("arrived_us") - pl.col("as_of_us")) / MINUTE_US,
            settled_us=pl.min_horizontal("arrived_known_us", "closed_known_us").fill_null(NEVER_US),
        )
        .filter(
            (pl.col("as_of_us") >= pl.col("planned_us"))
            & (pl.col("as_of_us") < pl.col("settled_us"))
            & ((pl.col("in_min") > 0) | pl.col("in_min").is_null())
            & (pl.col("settled_us") < NEVER_US)
        )
    )
    left = pl.col("as_of_us") >= pl.col("departed_us")
    edges = pl.Series(HORIZON_EDGES_MIN, dtype=pl.Float64)
    bins = edges.search_sorted(pairs["in_min"].fill_null(0.0), side="right")
    names = bins.replace_strict(range(len(HORIZON_NAMES)), HORIZON_NAMES, return_dtype=pl.String)
    pairs = pairs.with_columns(horizon=pl.when(left).then(names).otherwise(pl.lit(BEFORE_DEPARTURE)))
    if policy in EACH:
        within = (pl.col("in_min") < LONGEST_MIN).fill_null(True) | (policy is Instants.AT_EACH_STOP)
        chosen = pairs.filter(within).select("stop_id", "route_id", "as_of_us", "horizon")
        return chosen.sort("as_of_us", "route_id", "stop_id")
    return (
        pairs.with_columns(draw=pl.struct("stop_id", "horizon", "as_of_us").hash(seed))
        .sort("draw", "as_of_us")
        .unique(["stop_id", "horizon"], keep="first", maintain_order=True)
        .select("stop_id", "route_id", "as_of_us", "horizon")
        .sort("as_of_us", "route_id", "stop_id")
    )


def _candidates(
    ordered: Mapping[str, pl.DataFrame], policy: Instants, departures: pl.DataFrame, known: pl.DataFrame
) -> pl.DataFrame:
    """Instants at which a route may be asked about: ``route_id``, ``as_of_us``."""
    if policy is Instants.AT_DEPARTURE:
        return departures.select("route_id", as_of_us="departed_us")
    if policy in EACH:
        return known.select("route_id", as_of_us="arrived_known_us").drop_nulls().unique(maintain_order=True)
    candidates = _beforehand(departures, known)
    if policy is Instants.EACH_QUARTER:
        return candidates
    return pl.concat([candidates, _as_it_goes(ordered, departures)]).unique(maintain_order=True)


def _beforehand(departures: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """The evening before, and every 15 minutes until the last stop."""
    evening = known.group_by("route_id").agg(as_of_us=pl.col("planned_us").max())
    spans = departures.join(known.group_by("route_id").agg(last_us=pl.col("arrived_us").max()), on="route_id")
    quarters = (
        spans.filter(pl.col("last_us") > pl.col("departed_us"))
        .with_columns(
            as_of_us=pl.int_ranges(
                (pl.col("departed_us") // QUARTER_US + 1) * QUARTER_US, pl.col("last_us"), QUARTER_US
            )
        )
        .explode("as_of_us")
        .select("route_id", "as_of_us")
        .drop_nulls()
    )
    return pl.concat([evening, quarters])


def _as_it_goes(ordered: Mapping[str, pl.DataFrame], departures: pl.DataFrame) -> pl.DataFrame:
    """At departure and at each completion."""
    left = departures.select("route_id", as_of_us="departed_us")
    completed = (
        ordered["stop_events"]
        .filter(pl.col("kind").is_in(["completed", "failed"]))
        .select("route_id", as_of_us="received_at")
    )
    return pl.concat([left, completed])


def build(
    store: FeatureStore,
    ordered: Mapping[str, pl.DataFrame],
    asked: pl.DataFrame,
    progress: Callable[[str], None] | None = None,
    *,
    cluster: str = "service_date",
) -> Dataset:
    """Fold the history to each instant, retrieve features point in time, and join the outcomes."""
    say = progress or (lambda _: None)
    say("routes as they stood")
    itinerary = itineraries(ordered, asked)
    say("point-in-time features")
    found = historical(store, entity_frame(itinerary))
    lookups = {name: found[name].to_numpy() for name in found.columns if "__" in name}
    vectors = combine(itinerary, lookups)
    say("outcomes")
    frame = _rows(itinerary, lookups).with_row_index("row")
    known = outcomes(ordered)
    routes = ordered["routes"].select("route_id", "service_date", cluster=pl.col(cluster).fill_null(""))
    routes = routes.unique("route_id", keep="last")
    chosen = (
        asked.join(frame, on=["stop_id", "as_of_us"], how="inner", maintain_order="left")
        .join(known.drop("route_id"), on="stop_id", how="left", maintain_order="left")
        .join(routes, on="route_id", how="left", maintain_order="left")
    )
    arrival_s = (chosen["arrived_us"] - chosen["as_of_us"]) / 1e6
    attempted = pl.Series(chosen["closed"] == "completed").fill_null(False)
    return Dataset(
        vectors.take(chosen["row"].to_numpy().astype(np.int64)),
        chosen.drop("row"),
        np.where(attempted.to_numpy(), arrival_s.to_numpy(), np.nan),
        chosen.select(pl.max_horizontal("arrived_known_us", "closed_known_us")).to_series().to_numpy(),
    )


def itineraries(ordered: Mapping[str, pl.DataFrame], asked: pl.DataFrame) -> Itinerary:
    """Remaining stops of every route and instant asked for, by the records received until then."""
    moments = asked.select("as_of_us", "route_id").unique(maintain_order=True).sort("as_of_us", "route_id")
    book, builder = RouteBook(), ItineraryBuilder()
    history = messages(ordered)
    waiting = next(history, None)
    for as_of_us, route_id in moments.iter_rows():
        while waiting is not None and waiting.received_us <= as_of_us:
            book.hear(waiting)
            waiting = next(history, None)
        route = book.route(route_id)
        if route is not None:
            builder.add(route, as_of_us)
    return builder.build()


def entity_frame(itinerary: Itinerary) -> pd.DataFrame:
    """The itinerary's keys and instants, as Feast asks for them."""
    keys = {lookup.key: itinerary.keys[lookup.key] for lookup in LOOKUPS}
    stamps = pd.to_datetime(itinerary.as_of_us, unit="us", utc=True).astype("datetime64[us, UTC]")
    return pd.DataFrame({"event_timestamp": stamps, **keys})


def _rows(itinerary: Itinerary, lookups: Mapping[str, NDArray[np.generic]]) -> pl.DataFrame:
    """Raw columns of each remaining stop, as they stood: what baselines and evaluation groups are made of."""
    starts = np.flatnonzero(np.diff(itinerary.group, prepend=-1))
    first = np.repeat(starts, np.diff(starts, append=len(itinerary)))
    here = [itinerary.keys["from_zone_id"][i] for i in first]
    numbers = itinerary.numbers
    return pl.DataFrame(
        {
            "stop_id": itinerary.stop_ids,
            "as_of_us": itinerary.as_of_us,
            "here_zone_id": here,
            "zone_id": itinerary.keys["zone_id"],
            "courier_id": itinerary.keys["courier_id"],
            "service_class": itinerary.keys["service_class"],
            "local_hour": numbers["local_hour"],
            "weekday": numbers["weekday"],
            "rank": numbers["rank"],
            "planned_in_s": numbers["planned_in_s"],
            "leg_distance_m": numbers["leg_distance_m"],
            "parcels": numbers["parcels"],
            "temperature_c": lookups["weather_now__temperature_c"].astype(np.float64),
            "precipitation_mm": lookups["weather_now__precipitation_mm"].astype(np.float64),
        },
        schema_overrides={"here_zone_id": pl.String, "zone_id": pl.String, "courier_id": pl.String},
        nan_to_null=True,
    )
