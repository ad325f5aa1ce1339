"""At which instants a set's forecasts are made."""

from __future__ import annotations

from enum import StrEnum


class Instants(StrEnum):
    """When forecasts are made and judged."""

    AT_DEPARTURE = "at_departure"
    ALONG_ROUTE = "along_route"
    AT_EACH_ARRIVAL = "at_each_arrival"
    """Every later stop that is reached within three hours."""
    AT_EACH_STOP = "at_each_stop"
    """Every later stop, however late it is reached."""
    EACH_QUARTER = "each_quarter"
    """Those along a route that anybody could name beforehand: the evening before, and every quarter of an hour."""
