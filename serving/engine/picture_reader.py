"""What API workers read of the picture in ``ops.db``; they never write it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from serving.storage.database import connect_to_read, statements

Found = list[dict[str, Any]]
#: West, south, east, north, in degrees.
Box = tuple[float, float, float, float]


class PictureReader:
    """Short reads over one connection; any number of threads may ask."""

    def __init__(self, path: Path) -> None:
        self._sql = statements("picture")
        self._connection = connect_to_read(path)
        self._lock = threading.Lock()

    def stops_in(self, box: Box | None, state: str, limit: int) -> tuple[list[tuple[Any, ...]], int]:
        """Stops in a box (everywhere, also where nobody knows, without one), those most likely to be late first.

        The second part of the answer counts them without the limit.
        """
        where = (*(box or (None, None, None, None)), state)
        rows = self._rows("stops_in", (*where, limit))
        return rows, len(rows) if len(rows) < limit else self._rows("count_in", where)[0][0]

    def vehicles_in(self, box: Box, limit: int, since_us: int) -> Found:
        """Vehicles in a box that were heard since an instant."""
        return self._dicts("vehicles_in", (*box, limit, since_us))

    def visits(self) -> list[tuple[str, str, str, int]]:
        """Visits of known customers that ended: customer, stop, how, and when the door was reached."""
        return self._rows("visits", ())

    def zone_places(self) -> list[tuple[str, float, float, int]]:
        """Middle of the stops of each zone, (zone, lat, lon, stops)."""
        return self._rows("zone_places", ())

    def zone_pairs(self) -> list[tuple[str, str, int]]:
        """Zones between which routes drive, and how often."""
        return self._rows("zone_pairs", ())

    def edges(self) -> Box | None:
        """The box of all stops, if any has a position."""
        south, north, west, east = self._rows("zone_edges", ())[0]
        return None if south is None or west is None else (west, south, east, north)

    def zones(self) -> Found:
        return self._dicts("zones", ())

    def depots(self) -> Found:
        return self._dicts("depots", ())

    def weather(self, from_us: int, to_us: int) -> Found:
        return self._dicts("weather", (from_us, to_us))

    def feeds(self) -> dict[str, int]:
        """When something of each feed was last received, microseconds."""
        return dict(self._rows("feeds", ()))

    def route(self, route_id: str) -> dict[str, Any] | None:
        return next(iter(self._dicts("route", (route_id,))), None)

    def stops_of_route(self, route_id: str) -> Found:
        return self._dicts("stops_of_route", (route_id,))

    def stop(self, stop_id: str) -> dict[str, Any] | None:
        return next(iter(self._dicts("stop", (stop_id,))), None)

    def timeline(self, *, route_id: str | None = None, stop_id: str | None = None, limit: int) -> Found:
        """What happened to a route or a stop, the newest first."""
        if route_id is not None:
            return self._dicts("timeline_of_route", (route_id, limit))
        return self._dicts("timeline_of_stop", (stop_id, limit))

    def service_days(self) -> list[tuple[str, str, int]]:
        """(time zone, service day, routes), those with the most routes first."""
        return self._rows("service_days", ())

    def day_counts(self, service_date: str) -> dict[str, Any]:
        return self._dicts("day_counts", (service_date,))[0]

    def window_outcomes(self, since_us: int) -> Found:
        return self._dicts("window_outcomes", (since_us,))

    def alert_outcomes(self, since_us: int) -> dict[str, Any]:
        return self._dicts("alert_outcomes", (since_us,))[0]

    def close(self) -> None:
        self._connection.close()

    def _rows(self, name: str, arguments: tuple[Any, ...]) -> list[Any]:
        with self._lock:
            return self._connection.execute(self._sql[name], arguments).fetchall()

    def _dicts(self, name: str, arguments: tuple[Any, ...]) -> Found:
        with self._lock:
            cursor = self._connection.execute(self._sql[name], arguments)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
