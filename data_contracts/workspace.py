"""Where the files of one workspace lie. One workspace is one tenant."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

#: The environment's name for the folder of a workspace.
WORKSPACE_VARIABLE = "PUNCTUAL_WORKSPACE"


@dataclass(frozen=True, slots=True)
class Workspace:
    """Paths only; nothing is created until somebody writes."""

    root: Path

    @property
    def settings(self) -> Path:
        return self.root / "punctual.toml"

    @property
    def landed(self) -> Path:
        """Accepted rows: ``landed/<table>/<batch>.parquet``."""
        return self.root / "landed"

    @property
    def quarantine(self) -> Path:
        """Refused rows with their reasons: ``quarantine/<table>/<batch>.parquet``."""
        return self.root / "quarantine"

    @property
    def features(self) -> Path:
        """Feature versions: ``features/<view>.parquet``."""
        return self.root / "features"

    @property
    def state(self) -> Path:
        """Feature state after the landed history, from which the engine goes on."""
        return self.features / "state.parquet"

    @property
    def registry(self) -> Path:
        return self.root / "feast" / "registry.db"

    @property
    def repo_file(self) -> Path:
        """Feast's configuration, for its own command."""
        return self.root / "feature_store.yaml"

    @property
    def online(self) -> Path:
        return self.root / "feast" / "online.db"

    @property
    def mlflow(self) -> Path:
        return self.root / "mlflow"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def champion(self) -> Path:
        return self.models / "champion.json"

    @property
    def log(self) -> Path:
        return self.root / "log.db"

    @property
    def ops(self) -> Path:
        return self.root / "ops.db"

    @property
    def keys(self) -> Path:
        """Hashes of the API keys that open this workspace."""
        return self.root / "keys.json"

    @property
    def archive(self) -> Path:
        """Records that the log dropped: ``archive/<first>-<last>/<table>.parquet``."""
        return self.root / "archive"

    @property
    def snapshots(self) -> Path:
        """The engine's state as of records of the log: ``snapshots/<seq>.db``."""
        return self.root / "snapshots"

    @property
    def signing(self) -> Path:
        """The secret behind sessions and customers' links."""
        return self.root / "signing.key"

    @property
    def run(self) -> Path:
        """What counts only while a service runs; may be removed while none does."""
        return self.root / "run"

    @property
    def heartbeat(self) -> Path:
        """The engine's sign of life."""
        return self.run / "engine.beat"

    @property
    def metrics(self) -> Path:
        """What the processes of a running service count."""
        return self.run / "metrics"

    @property
    def sender(self) -> Path:
        """Who subscribed to events, what is on its way to them, and every attempt."""
        return self.root / "sender.db"

    @property
    def webhook_key(self) -> Path:
        """What the secrets of webhooks are derived from; keep it apart from copies of ``sender.db``."""
        return self.root / "webhook.key"

    @property
    def served(self) -> Path:
        """What API workers served, a file a worker and hour: ``served/<token>.db``."""
        return self.root / "served"

    @property
    def customers(self) -> Path:
        """Everything personal, in one table that can be erased."""
        return self.root / "customers.db"

    @property
    def reports(self) -> Path:
        return self.root / "reports"

    @property
    def data_docs(self) -> Path:
        """Great Expectations' pages of a landed batch: ``reports/data-docs/<batch>/index.html``."""
        return self.reports / "data-docs"
