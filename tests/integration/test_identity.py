"""Under STRICT nothing but a workload of the mesh gets in, and no key of a workload is ever on disk."""

import socket
import ssl
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.integration import rules
from tests.integration.debian import program
from tests.integration.mesh import RunningMesh, until

pytestmark = pytest.mark.mesh

SPIFFE = "spiffe://cluster.local/ns/default/sa/bookinfo-reviews"


@pytest.fixture
def strict(mesh: RunningMesh) -> Iterator[RunningMesh]:
    with mesh.applied(rules.peer_authentication("STRICT")):
        yield mesh


def _inbound(mesh: RunningMesh, workload: str) -> tuple[str, int]:
    host, port = mesh.info["workloads"][workload]["inbound"].split(":")
    return host, int(port)


def _plaintext_is_refused(address: tuple[str, int]) -> bool:
    with socket.create_connection(address, timeout=10) as sock:
        try:
            sock.sendall(b"GET /reviews/0 HTTP/1.1\r\nhost: reviews:9080\r\n\r\n")
            return sock.recv(1000) == b""
        except ConnectionError:
            return True


def test_plaintext_is_refused_under_strict_and_served_when_permissive(mesh: RunningMesh) -> None:
    address = _inbound(mesh, "reviews-v1")
    assert not _plaintext_is_refused(address)
    with mesh.applied(rules.peer_authentication("STRICT")):
        until(lambda: _plaintext_is_refused(address), "plaintext is refused")
        assert mesh.get("/productpage").status_code == 200, "the mesh itself goes on"
    until(lambda: not _plaintext_is_refused(address), "plaintext is served again")


def _foreign(directory: Path) -> tuple[Path, Path]:
    """A certificate with the right name of an authority that is not the mesh's."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "cluster.local")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(SPIFFE)]), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    chain, key_file = directory / "cert.pem", directory / "key.pem"
    chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return chain, key_file


@pytest.mark.parametrize("with_certificate", [True, False], ids=["a foreign certificate", "no certificate"])
def test_tls_without_a_certificate_of_the_mesh_is_refused(
    strict: RunningMesh, tmp_path: Path, with_certificate: bool
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if with_certificate:
        context.load_cert_chain(*_foreign(tmp_path))
    assert not _answers_tls(context, _inbound(strict, "reviews-v1"))


def _answers_tls(context: ssl.SSLContext, address: tuple[str, int]) -> bool:
    """In TLS 1.3 the client is done before the server has seen its certificate: a refusal comes with the answer."""
    with socket.create_connection(address, timeout=10) as sock:
        try:
            with context.wrap_socket(sock) as tls:
                tls.sendall(b"GET /reviews/0 HTTP/1.1\r\nhost: reviews:9080\r\n\r\n")
                return tls.recv(1000) != b""
        except (ssl.SSLError, ConnectionError):
            return False


def test_openssl_sees_tls_1_3_and_the_workloads_spiffe_uri(strict: RunningMesh) -> None:
    host, port = _inbound(strict, "reviews-v1")
    connect = [program("openssl"), "s_client", "-connect", f"{host}:{port}"]
    trust = ["-showcerts", "-CAfile", str(strict.state / "ca/root.pem")]
    result = subprocess.run([*connect, *trust], input=b"", capture_output=True, timeout=30, check=False)
    output = result.stdout.decode()
    assert "TLSv1.3" in output
    pem = output[output.index("-----BEGIN CERTIFICATE-----") :]
    served = x509.load_pem_x509_certificate(pem.encode())
    names = served.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [SPIFFE]
    lifetime = served.not_valid_after_utc - served.not_valid_before_utc
    assert lifetime <= timedelta(hours=25)
    for version in ("-tls1_2", "-tls1_1"):
        older = subprocess.run([*connect, version], input=b"", capture_output=True, timeout=30, check=False)
        assert older.returncode != 0, f"{version} was accepted"


def test_no_private_key_but_the_authoritys_is_on_disk(mesh: RunningMesh) -> None:
    found = []
    for path in mesh.state.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            if b"PRIVATE KEY" in content:
                found.append(str(path.relative_to(mesh.state)))
    assert found == ["ca/root.key"]
    assert (mesh.state / "ca/root.key").stat().st_mode & 0o777 == 0o600


def test_secrets_are_private(mesh: RunningMesh) -> None:
    assert mesh.state.stat().st_mode & 0o777 == 0o700
    for name in ("admin.token", "mesh.json", "control.json"):
        assert (mesh.state / name).stat().st_mode & 0o077 == 0, name
    for token in (mesh.state / "run").iterdir():
        assert token.stat().st_mode & 0o077 == 0, token


def test_the_rest_interface_wants_its_token(mesh: RunningMesh) -> None:
    import json

    import httpx

    rest = json.loads((mesh.state / "control.json").read_text())["rest"]
    trust = ssl.create_default_context(cafile=str(mesh.state / "ca/root.pem"))
    with httpx.Client(trust_env=False, verify=trust) as client:
        assert client.get(f"{rest}/healthz").status_code == 200
        assert client.get(f"{rest}/v1/status").status_code == 401
        assert client.get(f"{rest}/v1/status", headers={"authorization": "Bearer x"}).status_code == 401
