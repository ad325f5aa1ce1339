"""Addresses that webhooks may reach: checked where the connection is made, whatever a name says before."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from serving.times import wall_now_us
from serving.webhooks.guard import AddressGuard, Resolve, Resolver
from serving.webhooks.policy import Answer, Outcome, SendingPolicy
from serving.webhooks.post import WebhookPost
from serving.webhooks.signing import Generation, Secrets
from serving.webhooks.store import DueMessage, Webhook, WebhookState
from tests.receivers import receiving

HERE = SendingPolicy(allowed_networks=("127.0.0.1/32",), timeout_s=3.0)


class Names:
    """A resolver that answers what it is told to, one answer a question, and counts the questions."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers, self.asked = list(answers), list[str]()

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


def message(url: str) -> DueMessage:
    webhook = Webhook(
        webhook_id="w-1",
        url=url,
        channel=None,
        description="",
        types=frozenset(),
        state=WebhookState.ACTIVE,
        reason=None,
        created_us=0,
        changed_us=0,
        after_position=0,
    )
    return DueMessage(webhook=webhook, event_id="e-1", tries=0, payload=b"{}")


def attempt(
    *urls: str,
    policy: SendingPolicy = HERE,
    resolve: Resolve | None = None,
    tls: ssl.SSLContext | None = None,
) -> list[Answer]:
    """What comes of an attempt at each URL, one after the other, through one pool of connections."""

    async def attempts() -> list[Answer]:
        post = WebhookPost(Secrets(b"k" * 32), policy, resolve=resolve, ssl_context=tls)
        try:
            return [await post(message(url), [Generation(1)], wall_now_us()) for url in urls]
        finally:
            await post.close()

    return asyncio.run(attempts())


FORBIDDEN = (
    "127.0.0.1 127.8.8.8 0.0.0.0 10.0.0.1 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 "
    "100.100.100.200 168.63.129.16 192.0.0.192 224.0.0.1 239.1.1.1 255.255.255.255 198.18.0.1 "
    "::1 :: fe80::1 fe80::1%eth0 fc00::1 fd00:ec2::254 ff02::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 "
    "::127.0.0.1 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 2002:7f00:1:: 2002:0a00:1:: "
    "2001:0:7f00:1::1 ::ffff:169.254.169.254 "
)


@pytest.mark.parametrize("address", FORBIDDEN.split())
def test_what_is_not_public_is_refused(address: str) -> None:
    assert AddressGuard().refusal(address) is not None


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700:4700::1111", "64:ff9b::808:808"])
def test_what_is_public_passes(address: str) -> None:
    assert AddressGuard().refusal(address) is None


def test_a_network_that_an_operator_names_passes_and_nothing_beside_it() -> None:
    guard = AddressGuard(["10.1.0.0/16", "fd00:1::/32"])
    assert guard.refusal("10.1.2.3") is None and guard.refusal("::ffff:10.1.2.3") is None
    assert guard.refusal("fd00:1::5") is None
    assert guard.refusal("10.2.0.1") is not None and guard.refusal("127.0.0.1") is not None


@given(st.ip_addresses())
def test_nothing_private_ever_passes(address: object) -> None:
    if AddressGuard().refusal(str(address)) is None:
        assert ip_address(str(address)).is_global and not ip_address(str(address)).is_multicast


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "2130706433", "0x7f.1", "[::1]", "127.1"])
def test_this_host_is_not_reached_by_any_of_its_names(host: str) -> None:
    with receiving() as receiver:
        (answer,) = attempt(f"http://{host}:{receiver.port}/", policy=SendingPolicy(timeout_s=3.0))
        assert answer.outcome in (Outcome.FORBIDDEN_ADDRESS, Outcome.UNREACHABLE), answer
        assert not receiver.received


def test_the_address_that_was_checked_is_the_one_that_is_connected_to() -> None:
    """A name first leads to an allowed address; asked again, it would lead to one that is not."""
    with receiving() as allowed, receiving(host="127.0.0.2", port=allowed.port) as other:
        names = Names(["127.0.0.1"], ["127.0.0.2"])
        url = f"http://hooks.example.test:{allowed.port}/hook"
        first, second = attempt(url, url, resolve=names)
        assert (first.outcome, second.outcome) == (Outcome.ACCEPTED, Outcome.FORBIDDEN_ADDRESS)
        assert "127.0.0.2 (loopback)" in second.detail
        assert (len(allowed.received), len(other.received)) == (1, 0)
        assert names.asked == ["hooks.example.test"] * 2
    assert allowed.received[0].headers["host"] == f"hooks.example.test:{allowed.port}"


def test_of_several_addresses_only_allowed_ones_are_tried() -> None:
    with receiving() as allowed, receiving(host="127.0.0.2", port=allowed.port) as other:
        names = Names(["127.0.0.2", "10.0.0.1", "127.0.0.1"])
        (answer,) = attempt(f"http://hooks.example.test:{allowed.port}/", resolve=names)
        assert (answer.outcome, len(other.received)) == (Outcome.ACCEPTED, 0)


def test_a_redirect_to_a_forbidden_place_is_not_followed() -> None:
    from tests.receivers import answering

    with receiving(host="127.0.0.2") as inner:
        moved = answering(302, Location=inner.url)
        with receiving(moved) as outer:
            (answer,) = attempt(outer.url)
        assert (answer.outcome, answer.status, inner.received) == (Outcome.REDIRECTED, 302, [])


def test_a_name_that_leads_nowhere_is_told() -> None:
    async def unknown(host: str, port: int) -> Sequence[str]:
        raise OSError(-2, "Name or service not known")

    (answer,) = attempt("http://nowhere.example.test/", resolve=unknown)
    assert answer.outcome is Outcome.UNREACHABLE and "cannot be resolved" in answer.detail
    (answer,) = attempt("http://empty.example.test/", resolve=Names([]))
    assert answer.outcome is Outcome.UNREACHABLE


def test_a_resolver_that_hangs_ends_with_the_attempt() -> None:
    async def hanging(host: str, port: int) -> Sequence[str]:
        await asyncio.sleep(60)
        raise AssertionError

    policy = SendingPolicy(timeout_s=0.2)
    (answer,) = attempt("http://slow.example.test/", policy=policy, resolve=hanging)
    assert answer.outcome is Outcome.TIMED_OUT


def test_the_systems_resolver_gives_each_address_once() -> None:
    found = asyncio.run(Resolver()("localhost", 80))
    assert len(found) == len(set(found)) and "127.0.0.1" in found


# --- TLS --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A certificate for hooks.example.test that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hooks.example.test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hooks.example.test")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "hooks.pem"
    pem = serialization.Encoding.PEM
    path.write_bytes(
        made.public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    yield path


def test_tls_names_and_proves_the_host_and_not_its_address(certificate: Path) -> None:
    asked: list[str | None] = []
    serves = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serves.load_cert_chain(certificate)
    serves.sni_callback = lambda _, name, __: asked.append(name)
    trusts = ssl.create_default_context(cafile=str(certificate))
    with receiving(tls=serves) as receiver:
        url = f"https://hooks.example.test:{receiver.port}/hook"
        wrong = f"https://other.example.test:{receiver.port}/hook"
        right, refused = attempt(url, wrong, resolve=Names(["127.0.0.1"]), tls=trusts)
        assert (right.outcome, refused.outcome) == (Outcome.ACCEPTED, Outcome.UNREACHABLE)
        assert asked == ["hooks.example.test", "other.example.test"]
        assert [each.headers["host"] for each in receiver.received] == [f"hooks.example.test:{receiver.port}"]
        (stranger,) = attempt(url, resolve=Names(["127.0.0.1"]), tls=ssl.create_default_context())
        assert stranger.outcome is Outcome.UNREACHABLE and "certificate" in stranger.detail.lower()
