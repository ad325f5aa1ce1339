"""Runs, versions and aliases in MLflow, and the hand-over to serving. The only home of MLflow.

Serving never imports MLflow: ``promote`` exports a version to ``models/<version>/`` and renames ``champion.json``
into place, and what serves polls that file. A version that did not pass the gate is promoted only past it, by
somebody who says so. Aliases moved in MLflow itself reach serving by ``reconcile``.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_contracts.errors import ModelError, WorkspaceError
from data_contracts.workspace import Workspace
from features.vectors import FEATURE_NAMES, Vectors
from training.forecaster import DeliveryForecaster
from training.quantiles import QUANTILE_LEVELS

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "eta"
MODEL = "punctual-eta"
CHAMPION, CHALLENGER = "champion", "challenger"
ARTIFACT = "forecaster"
#: Tag of a version: what the gate said of it.
GATE = "gate"
PASSED = "passed"
REPORT = "report.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A registered version and the aliases that it carries."""

    version: str
    run_id: str
    aliases: tuple[str, ...]
    gate: str = ""


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
        gate: str,
        report: str | None = None,
    ) -> Version:
        """Log a run with its forecaster and register it as the challenger.

        gate : ``PASSED``, or why the version did not pass
        report : HTML with the plots of its evaluation
        """
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
            if report is not None:
                self._client.log_text(run_id, report, REPORT)
            with tempfile.TemporaryDirectory() as folder:
                forecaster.save(Path(folder), golden)
                _describe(Path(folder), run_id)
                self._client.log_artifacts(run_id, folder, ARTIFACT)
        except BaseException:
            self._client.set_terminated(run_id, "FAILED")
            raise
        self._client.set_terminated(run_id)
        version = self._create_version(run_id, f"{run.info.artifact_uri}/{ARTIFACT}")
        self._client.set_model_version_tag(MODEL, version, GATE, gate)
        self._client.set_registered_model_alias(MODEL, CHALLENGER, version)
        return Version(version=version, run_id=run_id, aliases=(CHALLENGER,), gate=gate)

    def _create_version(self, run_id: str, source: str) -> str:
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(MODEL)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        return str(self._client.create_model_version(MODEL, source, run_id).version)

    def promote(self, version: str, *, past_the_gate: bool = False) -> Path:
        """Export a version, hand it over and make it the champion; those before are remembered.

        Raises
        ------
        ModelError
            when there is no such version, it did not pass the gate, or its files are not what was saved
        """
        known = self._known(version)
        if known.gate != PASSED and not past_the_gate:
            raise ModelError(
                f"version {version} did not pass the gate: {known.gate or 'it was never judged'}",
                where=self.uri,
                next_step=f"train again, or answer for it: `punctual promote {version} --past-the-gate`",
            )
        earlier = [*_earlier(self._workspace), self.champion()]
        return self._make_champion(known, [one for one in earlier if one not in (None, version)])

    def rollback(self) -> str:
        """Make the champion before this one the champion again; done twice, the one before that."""
        earlier = _earlier(self._workspace)
        if not earlier:
            raise WorkspaceError(
                "there is no earlier champion to go back to",
                where=str(self._workspace.champion),
                next_step="promote a version with `punctual promote VERSION`",
            )
        *older, version = earlier
        self._make_champion(self._known(version), older)
        return version

    def reconcile(self) -> str | None:
        """Hand over the version that MLflow's alias names, if another one serves; None if they agree.

        The gate holds here too: an alias that was moved to a version that did not pass is refused.
        """
        named = [known.version for known in self.versions() if CHAMPION in known.aliases]
        if not named or named[0] == self.champion():
            return None
        self.promote(named[0])
        return named[0]

    def _make_champion(self, known: Version, earlier: list[str]) -> Path:
        folder = self._export(known)
        DeliveryForecaster.load(folder)
        self._client.set_registered_model_alias(MODEL, CHAMPION, known.version)
        hand_over(self._workspace, known.version, earlier)
        return folder

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
                gate=str(known.tags.get(GATE, "")),
            )
            for known in found
        ]

    def _known(self, version: str) -> Version:
        for known in self.versions():
            if known.version == version:
                return known
        raise ModelError(
            f"there is no version {version}",
            where=self.uri,
            next_step="see `punctual models` for those that exist",
        )

    def _export(self, known: Version) -> Path:
        """Copy a version's files to ``models/<version>/``; whole or not at all."""
        target = self._workspace.models / known.version
        if target.exists():
            return target
        self._workspace.models.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._workspace.models, prefix=".staged-") as staged:
            copied = Path(self._client.download_artifacts(known.run_id, ARTIFACT, staged))
            shutil.move(copied, target)
        return target


def hand_over(workspace: Workspace, version: str, earlier: Sequence[str]) -> None:
    """Name the version that is served and the champions before it, oldest first; readers see one file or the other."""
    staged = workspace.champion.with_suffix(".json.tmp")
    staged.write_text(json.dumps({"version": version, "alias": CHAMPION, "earlier": list(earlier)}))
    staged.replace(workspace.champion)


def _describe(folder: Path, run_id: str) -> None:
    """MLflow's own description of the model: its signature, and nothing that would execute code at load."""
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    inputs = [ColSpec(DataType.float, name) for name in FEATURE_NAMES]
    inputs += [ColSpec(DataType.double, "base_s"), ColSpec(DataType.string, "zone_id", required=False)]
    outputs = [ColSpec(DataType.double, f"p{level * 100:02.0f}_s") for level in QUANTILE_LEVELS]
    signature = ModelSignature(Schema([*inputs]), Schema([*outputs, ColSpec(DataType.double, "mean_s")]))
    Model(artifact_path=ARTIFACT, run_id=run_id, signature=signature).save(str(folder / "MLmodel"))


def _read_champion(workspace: Workspace) -> dict[str, Any]:
    return json.loads(workspace.champion.read_text()) if workspace.champion.exists() else {}


def _earlier(workspace: Workspace) -> list[str]:
    return list(_read_champion(workspace).get("earlier", []))


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
