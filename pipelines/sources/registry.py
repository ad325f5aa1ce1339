"""Every adapter there is; add a file, then a line here."""

from __future__ import annotations

from data_contracts.errors import SourceError
from pipelines.sources.canonical import Canonical
from pipelines.sources.delhivery import Delhivery
from pipelines.sources.kandy import Kandy
from pipelines.sources.lade import Lade
from pipelines.sources.nyc_taxi import NycTaxi
from pipelines.sources.onfleet import Onfleet
from pipelines.sources.open_meteo import OpenMeteo
from pipelines.sources.sendy import Sendy
from pipelines.sources.simulated import Simulated
from pipelines.sources.source import Feed, Source
from pipelines.sources.tomtom import TomTom
from pipelines.sources.traccar import Traccar

SOURCES: tuple[Source, ...] = (
    Simulated(),
    NycTaxi(),
    Sendy(),
    Kandy(),
    Delhivery(),
    Lade(),
    Canonical(),
)
FEEDS: tuple[Feed, ...] = (OpenMeteo(), TomTom(), Traccar(), Onfleet())


def source(name: str) -> Source:
    """The evaluation set of this name."""
    found = next((each for each in SOURCES if each.name == name), None)
    if found is None:
        what, known = f"source {name!r} is unknown", ", ".join(each.name for each in SOURCES)
        raise SourceError(what, next_step=f"known are {known}")
    return found


def feed(name: str) -> Feed:
    """The feed of this name."""
    found = next((each for each in FEEDS if each.name == name), None)
    if found is None:
        what, known = f"feed {name!r} is unknown", ", ".join(each.name for each in FEEDS)
        raise SourceError(what, next_step=f"known are {known}")
    return found
