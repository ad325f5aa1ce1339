"""Runs, versions and aliases in MLflow, and the hand-over to serving. The only home of MLflow.

Serving never imports MLflow: ``promote`` exports a version to ``models/<version>/`` and renames ``champion.json``
into place, and what serves polls that file.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_contracts.errors import ModelError, WorkspaceError
from data_contracts.workspace import Workspace
from features.vectors import Vectors
from training.forecaster import DeliveryForecaster

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "eta"
MODEL = "punctual-eta"
CHAMPION, CHALLENGER = "champion", "challenger"
ARTIFACT = "forecaster"


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A registered version and the aliases that it carries."""

    version: str
    run_id: str
    aliases: tuple[str, ...]


class Registry:
    """The workspace's runs and versions."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        workspace.mlflow.mkdir(parents=True, exist_ok=True)
        self._client = _client(self.uri)
        if self._client.get_experiment_by_name(EXPERIMENT) is None:
            artifacts = (workspace.mlflow / "artifacts").resolve()
            self._client.create_experiment(EXPERIMENT, artifact_location=artifacts.as_uri())

    @property
    def uri(self) -> str:
        """The tracking address, for ``mlflow ui --backend-store-uri``."""
        return f"sqlite:///{(self._workspace.mlflow / 'mlflow.db').resolve()}"

    def register(
        self,
        forecaster: DeliveryForecaster,
        golden: Vectors,
        *,
        parameters: Mapping[str, Any],
        metrics: Mapping[str, float],
        documents: Mapping[str, Any],
    ) -> Version:
        """Log a run with its forecaster and register it as the challenger."""
        experiment = self._client.get_experiment_by_name(EXPERIMENT)
        assert experiment is not None
        run = self._client.create_run(experiment.experiment_id)
        run_id = run.info.run_id
        try:
            for name, value in parameters.items():
                self._client.log_param(run_id, name, value)
            for name, value in metrics.items():
                self._client.log_metric(run_id, name, value)
            for name, document in documents.items():
                self._client.log_dict(run_id, document, f"{name}.json")
            with tempfile.TemporaryDirectory() as folder:
                forecaster.save(Path(folder), golden)
                self._client.log_artifacts(run_id, folder, ARTIFACT)
        except BaseException:
            self._client.set_terminated(run_id, "FAILED")
            raise
        self._client.set_terminated(run_id)
        version = self._create_version(run_id, f"{run.info.artifact_uri}/{ARTIFACT}")
        self._client.set_registered_model_alias(MODEL, CHALLENGER, version)
        return Version(version=version, run_id=run_id, aliases=(CHALLENGER,))

    def _create_version(self, run_id: str, source: str) -> str:
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(MODEL)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        return str(self._client.create_model_version(MODEL, source, run_id).version)

    def promote(self, version: str) -> Path:
        """Export a version, hand it over and make it the champion; the one before is remembered."""
        folder = self._export(version)
        DeliveryForecaster.load(folder)
        previous = self.champion()
        self._client.set_registered_model_alias(MODEL, CHAMPION, version)
        hand_over(self._workspace, version, previous=None if previous == version else previous)
        return folder

    def rollback(self) -> str:
        """Make the champion before this one the champion again."""
        previous = _read_champion(self._workspace).get("previous")
        if previous is None:
            raise WorkspaceError(
                "there is no earlier champion to go back to",
                where=str(self._workspace.champion),
                next_step="promote a version with `punctual promote VERSION`",
            )
        self.promote(str(previous))
        return str(previous)

    def champion(self) -> str | None:
        """The version that is served; None before the first promotion."""
        return _read_champion(self._workspace).get("version")

    def versions(self) -> list[Version]:
        """Registered versions, the newest first."""
        found = self._client.search_model_versions(f"name = '{MODEL}'")
        named = self._client.get_registered_model(MODEL).aliases if found else {}
        return [
            Version(
                version=str(known.version),
                run_id=str(known.run_id),
                aliases=tuple(
                    alias for alias, version in named.items() if str(version) == str(known.version)
                ),
            )
            for known in found
        ]

    def _export(self, version: str) -> Path:
        """Copy a version's files to ``models/<version>/``; whole or not at all."""
        target = self._workspace.models / version
        if target.exists():
            return target
        found = [known for known in self.versions() if known.version == version]
        if not found:
            raise ModelError(
                f"there is no version {version}",
                where=self.uri,
                next_step="see `punctual models` for those that exist",
            )
        self._workspace.models.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._workspace.models, prefix=".staged-") as staged:
            copied = Path(self._client.download_artifacts(found[0].run_id, ARTIFACT, staged))
            shutil.move(copied, target)
        return target


def hand_over(workspace: Workspace, version: str, *, previous: str | None) -> None:
    """Name the version that is served; readers see the old file or the new one."""
    staged = workspace.champion.with_suffix(".json.tmp")
    staged.write_text(json.dumps({"version": version, "alias": CHAMPION, "previous": previous}))
    staged.replace(workspace.champion)


def _read_champion(workspace: Workspace) -> dict[str, Any]:
    return json.loads(workspace.champion.read_text()) if workspace.champion.exists() else {}


def _client(uri: str) -> MlflowClient:
    """A client that says nothing on its own: a command's output is its own."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from mlflow import MlflowClient
    from sqlalchemy.exc import SADeprecationWarning

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", category=SADeprecationWarning, module=r"mlflow\.")
    return MlflowClient(tracking_uri=uri, registry_uri=uri)
