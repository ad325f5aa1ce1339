"""The real service with keys and a certificate: what it refuses, and what its output never holds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from data_contracts.errors import WorkspaceError
from data_contracts.workspace import Workspace
from pipelines.demo import free_port
from serving.client.punctual_client import Punctual
from serving.http.key_file import KeyFile
from serving.http.keys import Scope
from serving.supervisor import checked_tls, running_service
from serving.times import wall_now_us
from tests.running import PATIENCE, plan

pytestmark = pytest.mark.end_to_end


def certify(folder: Path) -> None:
    """A certificate for 127.0.0.1 that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "punctual")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (folder / "server.crt").write_bytes(certificate.public_bytes(pem))
    (folder / "server.key").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))


def with_tls(workspace: Workspace) -> None:
    tls = '[serving.tls]\ncertificate = "server.crt"\nprivate_key = "server.key"\n'
    workspace.settings.write_text(f'[serving]\nclock = "log"\n{tls}')


def test_over_tls_with_keys_and_no_secret_in_what_it_prints(workspace: Workspace, tmp_path: Path) -> None:
    import ssl

    certify(workspace.root)
    with_tls(workspace)
    _, admin = KeyFile(workspace.keys).create("admin", frozenset({Scope.ADMIN}), wall_now_us())
    _, theirs = KeyFile(tmp_path / "other" / "keys.json").create("k", frozenset({Scope.ADMIN}), wall_now_us())
    output = tmp_path / "service.log"
    trusting = ssl.create_default_context(cafile=str(workspace.root / "server.crt"))
    with (
        running_service(workspace, free_port(), patience=PATIENCE, output=output) as url,
        httpx.Client(base_url=url, verify=trusting, timeout=10.0) as client,
    ):
        assert url.startswith("https://")
        mine, wrong = {"authorization": f"Bearer {admin}"}, {"authorization": f"Bearer {theirs}"}
        assert client.get("/v1/summary").status_code == 401
        assert client.get("/v1/summary", headers=wrong).status_code == 401
        assert client.post("/v1/events", json=plan("R-1"), headers=wrong).status_code == 401
        assert client.get(f"/v1/summary?key={admin}").status_code == 401
        assert client.post("/v1/events", json=plan("R-1"), headers=mine).status_code == 202
        assert client.get("/v1/summary", headers=mine).json()["log"]["seq"] > 0
        with Punctual(url, admin, ca_file=str(workspace.root / "server.crt")) as punctual:
            assert punctual.send([]).rows == () and punctual.summary()["log"]["seq"] > 0
        assert client.get("/readyz").status_code == client.get("/livez").status_code == 200
        KeyFile(workspace.keys).revoke("admin", wall_now_us())
        assert client.get("/v1/summary", headers=mine).status_code == 401
    printed = output.read_text()
    assert "key_refused" in printed
    assert admin not in printed and theirs not in printed


def test_a_certificate_that_is_none_is_refused_before_anything_starts(workspace: Workspace) -> None:
    with_tls(workspace)
    for content in (None, b"", b"-----BEGIN CERTIFICATE-----\n"):
        if content is not None:
            (workspace.root / "server.crt").write_bytes(content)
        with pytest.raises(WorkspaceError, match=r"serving\.tls"):
            checked_tls(workspace)
