"""The late risks of a history, instant by instant, as an engine would have forecast them."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import attrgetter
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from numpy.typing import NDArray

from data_contracts.record import Record
from features.backfill import backfill
from features.itinerary import Itinerary
from features.live import LiveFeatures
from features.vectors import assemble
from serving.rehearsals.alert_evaluation import StopOutcome
from serving.rehearsals.alert_thresholds import RiskPath
from serving.rehearsals.rehearsal import Risks
from training.dataset import outcomes
from training.forecaster import DeliveryForecaster
from training.instants import Instants

Float = NDArray[np.float64]
Frames = Mapping[str, pl.DataFrame]
GRID_S = 300.0
#: Events after which a route is asked about, where there is no grid.
TRIGGERS = ("departed_depot", "arrived")
#: How many records are folded at once, where nothing is asked in between.
AT_ONCE = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What is forecast at one instant.

    here_zone_ids, zone_ids, hours : (n,) where each route is, where each stop is, and the local hour
    """

    risks: Risks
    live_route_ids: list[str]
    here_zone_ids: list[str | None]
    zone_ids: list[str | None]
    hours: NDArray[np.int64]


@dataclass(slots=True, kw_only=True)
class AlertStream:
    """Folds a history and asks a forecaster about the remaining stops of the days asked for.

    promise_end_us : end of the first promise of every stop that has one
    days : service days that are asked about
    ahead_s : on a grid, from how long before its planned departure a route is asked about; all of its day if None
    """

    ordered: Frames
    forecaster: DeliveryForecaster
    promise_end_us: Mapping[str, int]
    days: frozenset[str]
    instants: Instants
    grid_s: float = GRID_S
    ahead_s: float | None = None
    features: LiveFeatures = field(default_factory=LiveFeatures)
    _zones: dict[str, ZoneInfo] = field(default_factory=dict)

    def moments(self) -> Iterator[Moment]:
        """Every instant in order; ``features`` stand as they did then."""
        first_us = self._first_us()
        before = {
            name: frame.filter(pl.col("received_at") < first_us) for name, frame in self.ordered.items()
        }
        backfill({name: frame for name, frame in before.items() if len(frame)}, self.features)
        after = {
            name: frame.filter(pl.col("received_at") >= first_us) for name, frame in self.ordered.items()
        }
        if self.instants is Instants.ALONG_ROUTE:
            yield from self._on_grid(records(after))
        else:
            yield from self._on_events(records(after))

    def _on_grid(self, told: Iterator[Record]) -> Iterator[Moment]:
        step_us, due_us, waiting = int(self.grid_s * 1e6), 0, list[Record]()
        for record in told:
            due_us = due_us or (record.received_us // step_us + 1) * step_us
            while record.received_us > due_us:
                if waiting:
                    self.features.advance(waiting)
                    waiting = []
                if (moment := self._ask(self._live(due_us), due_us)) is not None:
                    yield moment
                due_us += step_us
                if not self._is_asked(due_us, record.received_us):
                    due_us = (record.received_us // step_us + 1) * step_us
            waiting.append(record)

    def _on_events(self, told: Iterator[Record]) -> Iterator[Moment]:
        waiting = list[Record]()
        for record in told:
            waiting.append(record)
            asks = record.type == "stop_events" and record.body["kind"] in TRIGGERS
            if not asks and len(waiting) < AT_ONCE:
                continue
            self.features.advance(waiting)
            waiting = []
            route_id = record.body["route_id"] if asks else ""
            if asks and self._service_date(route_id) in self.days:
                moment = self._ask([route_id], record.received_us)
                if moment is not None:
                    yield moment

    def _is_asked(self, due_us: int, next_us: int) -> bool:
        """Whether it is worth stepping through the gap to the next record."""
        return next_us - due_us < 3_600_000_000

    def _live(self, at_us: int) -> list[str]:
        """Routes of the day with a stop left to reach."""
        book, found = self.features.book, []
        for route_id in book.route_ids():
            route = book.route(route_id)
            if route is None or route.service_date not in self.days:
                continue
            zone = self._zones.setdefault(route.timezone, ZoneInfo(route.timezone))
            today = datetime.fromtimestamp(at_us / 1e6, tz=UTC).astimezone(zone).date().isoformat()
            departs_us = route.planned_departure_us
            is_near = self.ahead_s is None or departs_us is None or at_us >= departs_us - self.ahead_s * 1e6
            if today == route.service_date and is_near:
                found.append(route_id)
        return sorted(found)

    def _ask(self, route_ids: list[str], at_us: int) -> Moment | None:
        if not route_ids:
            return None
        itinerary = self.features.book.itinerary(route_ids, at_us)
        promised = [stop_id in self.promise_end_us for stop_id in itinerary.stop_ids]
        rows = np.flatnonzero(promised)
        if not len(rows):
            return None
        vectors = assemble(itinerary, self.features.read, at_us, rows)
        end_us = np.array([self.promise_end_us[stop_id] for stop_id in vectors.stop_ids], np.int64)
        forecast, deadline_s = self.forecaster.forecast(vectors), (end_us - at_us) / 1e6
        here, zones = _zones_of(itinerary)
        return Moment(
            risks=Risks(
                as_of_us=at_us,
                stop_ids=vectors.stop_ids,
                route_ids=[route_id or "" for route_id in vectors.route_ids],
                late_probability=forecast.late_probability(deadline_s),
                expected_late_s=forecast.expected_late_s(deadline_s),
                promise_end_us=end_us,
            ),
            live_route_ids=route_ids,
            here_zone_ids=[here[row] for row in rows],
            zone_ids=[zones[row] for row in rows],
            hours=itinerary.numbers["local_hour"][rows].astype(np.int64),
        )

    def _service_date(self, route_id: str) -> str:
        route = self.features.book.route(route_id)
        return route.service_date if route else ""

    def _first_us(self) -> int:
        routes = self.ordered["routes"].filter(pl.col("service_date").is_in(sorted(self.days)))
        return min(routes["received_at"].to_list(), default=0)


def records(ordered: Frames) -> Iterator[Record]:
    """All rows of a history as a live log would give them."""
    tables = [_of_table(name, frame) for name, frame in ordered.items() if len(frame)]
    yield from heapq.merge(*tables, key=attrgetter("seq"))


def outcomes_of(
    ordered: Frames, promise_end_us: Mapping[str, int], days: frozenset[str]
) -> dict[str, StopOutcome]:
    """What became of each promised stop of some service days."""
    dates = ordered["routes"].select("route_id", "service_date").unique("route_id", keep="last")
    known = outcomes(ordered).join(dates, on="route_id").filter(pl.col("service_date").is_in(sorted(days)))
    return {
        stop_id: StopOutcome(
            stop_id=stop_id, promise_end_us=promise_end_us[stop_id], reached_us=arrived_us, day=day
        )
        for stop_id, arrived_us, day in known.select("stop_id", "arrived_us", "service_date").iter_rows()
        if stop_id in promise_end_us
    }


@dataclass(slots=True)
class PathMaker:
    """Gathers the risks of each stop; ``of`` says by whom."""

    of: Callable[[Moment], Float]
    _at_us: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    _late: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, moment: Moment) -> None:
        risks = moment.risks
        for stop_id, late in zip(risks.stop_ids, self.of(moment).tolist(), strict=True):
            self._at_us[stop_id].append(risks.as_of_us)
            self._late[stop_id].append(late)

    @property
    def asked(self) -> Collection[str]:
        return self._at_us.keys()

    def paths(self) -> dict[str, RiskPath]:
        return {
            stop_id: RiskPath(np.array(at_us, np.int64), np.array(self._late[stop_id]))
            for stop_id, at_us in self._at_us.items()
        }


def _of_table(name: str, frame: pl.DataFrame) -> Iterator[Record]:
    for row in frame.sort("seq").iter_rows(named=True):
        body = {column: value for column, value in row.items() if value is not None}
        yield Record(row["seq"], row["received_at"], name, body)


def _zones_of(itinerary: Itinerary) -> tuple[list[str | None], list[str | None]]:
    """Where each row's route is now, and where its stop is."""
    starts = np.flatnonzero(np.diff(itinerary.group, prepend=-1))
    first = np.repeat(starts, np.diff(starts, append=len(itinerary)))
    origin = itinerary.keys["from_zone_id"]
    return [origin[row] for row in first], itinerary.keys["zone_id"]
