"""Requests from outside: the gateway that the installation describes, its ports from Gateway and VirtualService, its
certificates from Secrets, its address in the Gateway's status."""

import datetime
import os
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from remora.install.names import GATEWAY
from tests.e2e.cluster import SYSTEM, until
from tests.e2e.control import LeastPrivileged
from tests.e2e.ingress import SECRET, Ingress, tls_secret, trusting
from tests.e2e.scene import Scene

Json = dict[str, Any]
SHOP, PRIVATE = "shop.example.com", "private.example.com"


class Authority:
    """Signs for names."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "edge")])
        extension = x509.BasicConstraints(ca=True, path_length=0)
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        identifier = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        self._own = (
            self._builder(self._name, self._key)
            .add_extension(extension, critical=True)
            .add_extension(usage, critical=True)
            .add_extension(identifier, critical=False)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def pem(self) -> bytes:
        return self._own.public_bytes(serialization.Encoding.PEM)

    def pair(self, *names: str) -> tuple[bytes, bytes]:
        """Certificate and key."""
        key = ec.generate_private_key(ec.SECP256R1())
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        certificate = (
            self._builder(x509.Name([]), key)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(each) for each in names]), critical=True)
            .add_extension(identifier, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return certificate.public_bytes(pem), private

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        return builder.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(
            now + datetime.timedelta(days=1)
        )


def server(number: int, protocol: str, host: str, **tls: str) -> Json:
    name = f"{protocol.lower()}-{host.partition('.')[0]}"
    found: Json = {"port": {"number": number, "name": name, "protocol": protocol}, "hosts": [host]}
    return found | ({"tls": tls} if tls else {})


GATEWAY_RULE: Json = {
    "apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": {"name": "edge", "namespace": "default"},
    "spec": {
        "selector": {"istio": "ingressgateway"},
        "servers": [
            server(80, "HTTP", SHOP),
            server(443, "HTTPS", SHOP, mode="SIMPLE", credentialName=SECRET),
            server(443, "HTTPS", PRIVATE, mode="MUTUAL", credentialName=SECRET),
        ],
    },
}  # fmt: skip
ROUTES: Json = {
    "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
    "metadata": {"name": "shop", "namespace": "default"},
    "spec": {
        "hosts": [SHOP, PRIVATE], "gateways": ["edge"],
        "http": [{"route": [{"destination": {"host": "reviews"}}]}],
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def ingress(scene: Scene, authority: Authority) -> Iterator[Ingress]:
    """With a certificate, and rules that lead to `reviews`."""
    made = Ingress(scene.pods)
    made.start()
    scene.pods.endpoints("reviews", scene.addresses["one"])
    for each in (tls_secret(SECRET, *authority.pair(SHOP, PRIVATE), authority.pem), GATEWAY_RULE, ROUTES):
        made.cluster.apply(each)
    yield made
    made.cluster.delete("VirtualService", "shop", "default")
    made.cluster.delete("Gateway", "edge", "default")


def status(ingress: Ingress) -> tuple[dict[str, tuple[str, str]], list[str]]:
    """The Gateway's conditions, and its addresses."""
    found = ingress.cluster.get("Gateway", "edge", "default").get("status", {})
    conditions = {each["type"]: (each["status"], each["message"]) for each in found.get("conditions", ())}
    return conditions, [each["value"] for each in found.get("addresses", ())]


def asked(ingress: Ingress, host: str, tls: ssl.SSLContext | None = None) -> object:
    """Its status and who answered, or what went wrong."""
    try:
        answered, body = ingress.ask(host, tls)
    except OSError as error:
        return type(error)
    return answered, '"server": "one"' in body


def test_a_request_by_http_or_https_reaches_an_application(ingress: Ingress, authority: Authority) -> None:
    until(lambda: asked(ingress, SHOP) == (200, True), f"HTTP, not {asked(ingress, SHOP)}", within=10)
    tls = trusting(authority.pem)
    until(lambda: asked(ingress, SHOP, tls) == (200, True), f"HTTPS, not {asked(ingress, SHOP, tls)}", within=10)
    assert asked(ingress, "other.example.com") == (404, False)


def test_a_client_without_a_certificate_is_let_in_nowhere_where_one_is_wanted(
    ingress: Ingress, authority: Authority, tmp_path: Path
) -> None:
    shown = trusting(authority.pem, tmp_path, *authority.pair("client"))
    until(lambda: asked(ingress, PRIVATE, shown) == (200, True), f"with one, not {asked(ingress, PRIVATE, shown)}")
    with pytest.raises(OSError, match=r"(?i)certificate.required|reset|EOF|without an answer"):
        ingress.ask(PRIVATE, trusting(authority.pem))


def test_a_secret_that_changes_is_shown_without_a_restart_and_a_bad_one_leaves_the_last_good_one(
    ingress: Ingress, authority: Authority, control: LeastPrivileged
) -> None:
    tls = trusting(authority.pem)
    until(lambda: asked(ingress, SHOP, tls) == (200, True), "HTTPS")
    until(lambda: status(ingress)[0].get("ResolvedRefs", ("",))[0] == "True", f"it is said, not {status(ingress)}")
    before = ingress.certificate(SHOP, tls)
    ingress.cluster.apply(tls_secret(SECRET, *authority.pair(SHOP, PRIVATE), authority.pem))
    until(lambda: ingress.certificate(SHOP, tls) != before, "the new certificate is shown")
    good = ingress.certificate(SHOP, tls)
    chain, _ = authority.pair(SHOP)
    _, key = authority.pair(SHOP)
    ingress.cluster.apply(tls_secret(SECRET, chain, key, authority.pem))
    until(lambda: status(ingress)[0].get("ResolvedRefs", ("",))[0] == "False", f"it is said, not {status(ingress)}")
    assert "tls.key is not the key of tls.crt; the last good version goes on" in status(ingress)[0]["ResolvedRefs"][1]
    assert ingress.certificate(SHOP, tls) == good
    ingress.cluster.apply(tls_secret(SECRET, *authority.pair(SHOP, PRIVATE), authority.pem))
    until(lambda: status(ingress)[0]["ResolvedRefs"][0] == "True", "it is good again")
    assert ingress.there.processes[-1].poll() is None
    assert os.path.exists(f"/proc/{ingress.pid}")
    assert "PRIVATE KEY" not in control.said() + ingress.pods.log_of(ingress.name)
    assert "forbidden" not in control.said().partition("shop-tls")[2], "the installation's role is enough"


def test_the_status_tells_the_load_balancers_address(ingress: Ingress) -> None:
    until(lambda: "Programmed" in status(ingress)[0], "it is told")
    assert "no address outside the cluster" in status(ingress)[0]["Programmed"][1]
    given = {"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}]}}
    ingress.cluster.set_status("Service", GATEWAY, SYSTEM, given)
    until(lambda: status(ingress)[1] == ["203.0.113.7"], f"the address, not {status(ingress)}")
    until(lambda: status(ingress)[0]["Programmed"] == ("True", ""), f"it serves, not {status(ingress)}")
