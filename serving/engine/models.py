"""Which model serves: the champion is polled, loaded aside and swapped in only if it loads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import orjson
import structlog

from data_contracts.errors import ModelError
from data_contracts.workspace import Workspace
from serving.engine.scoring import Forecaster

log = structlog.get_logger(__name__)

Load = Callable[[Path], Forecaster]


def load_forecaster(folder: Path) -> Forecaster:
    """A model from its folder; raises ``ModelError`` for one that must not serve."""
    from training.forecaster import DeliveryForecaster

    return DeliveryForecaster.load(folder)


class ModelShelf:
    """Models of a workspace by version; the last one loaded is kept."""

    def __init__(self, workspace: Workspace, load: Load = load_forecaster) -> None:
        self._folder, self._load = workspace.models, load
        self._loaded: tuple[str, Forecaster] | None = None

    def get(self, version: str) -> Forecaster | None:
        """The model of a version, or None, said in the log, where it must not serve."""
        if self._loaded is not None and self._loaded[0] == version:
            return self._loaded[1]
        try:
            model = self._load(self._folder / version)
        except ModelError as error:
            log.error("model_load_failed", version=version, error=str(error))
            return None
        self._loaded = (version, model)
        return model


class ChampionWatcher:
    """Follows ``champion.json``; whatever is wrong with a new champion, the previous one goes on serving."""

    def __init__(self, workspace: Workspace, shelf: ModelShelf) -> None:
        self._path, self._shelf = workspace.champion, shelf
        self._seen: tuple[int, int] | None = None
        self.version: str | None = None
        self.model: Forecaster | None = None

    def poll(self) -> bool:
        """Look at the file again; True if another model serves from now on."""
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            return False
        if (seen := (stat.st_mtime_ns, stat.st_ino)) == self._seen:
            return False
        self._seen = seen
        version = self._named()
        if version is None or version == self.version:
            return False
        model = self._shelf.get(version)
        if model is None:
            return False
        self.version, self.model = version, model
        log.info("champion_loaded", version=version, name=model.name)
        return True

    def _named(self) -> str | None:
        try:
            return str(orjson.loads(self._path.read_bytes())["version"])
        except (orjson.JSONDecodeError, KeyError, TypeError, OSError) as error:
            log.error("champion_unreadable", path=self._path.name, error=str(error))
            return None
