"""What a certificate carries, and which requests get none."""

import base64
import json
import os
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from control.ca.authority import SIGNING_RATE, Applicant
from control.ca.errors import AuditUnavailable, LifetimeTooLong, RateExceeded, RefusedRequest, SignerExpired
from control.ca.on_disk import DiskAuthority
from control.ca.template import DEFAULT_LIFETIMES
from mesh.spiffe import SpiffeId
from tests.control.ca.conftest import TurnedClock
from tests.control.ca.requests import REVIEWS, X400_NAME, csr, ec_key, uri


async def issue(authority: DiskAuthority, applicant: Applicant, pem: str, wish_s: float = 0) -> x509.Certificate:
    leaf, root = await authority.issue(applicant, pem, wish_s)
    assert root == authority.root_file.read_text()
    return x509.load_pem_x509_certificate(leaf.encode())


def names(certificate: x509.Certificate) -> list[x509.GeneralName]:
    return list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)


async def test_a_leaf_names_the_proven_identity_and_nothing_else(
    authority: DiskAuthority, applicant: Applicant
) -> None:
    leaf = await issue(authority, applicant, csr(names=[uri(REVIEWS)], subject="admin"))
    assert names(leaf) == [uri(REVIEWS)]
    assert leaf.subject == x509.Name([])
    assert leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical
    assert leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    leaf.verify_directly_issued_by(authority.roots.signer.certificate)


async def test_a_leaf_lives_a_day_and_began_a_minute_ago(
    authority: DiskAuthority, applicant: Applicant, clock: TurnedClock
) -> None:
    leaf = await issue(authority, applicant, csr())
    assert leaf.not_valid_after_utc.timestamp() == clock.wall + 24 * 3600
    assert leaf.not_valid_before_utc.timestamp() == clock.wall - 60


async def test_a_shorter_life_is_given_when_asked_for(
    authority: DiskAuthority, applicant: Applicant, clock: TurnedClock
) -> None:
    leaf = await issue(authority, applicant, csr(), 90)
    assert leaf.not_valid_after_utc.timestamp() == clock.wall + 90


async def test_a_longer_life_is_an_error(authority: DiskAuthority, applicant: Applicant) -> None:
    with pytest.raises(LifetimeTooLong, match="the most is 86400 s"):
        await authority.issue(applicant, csr(), 86_401)


async def test_a_leaf_never_outlives_its_signer(
    authority: DiskAuthority, applicant: Applicant, clock: TurnedClock
) -> None:
    end = authority.roots.signer.certificate.not_valid_after_utc
    clock.wall = end.timestamp() - 600
    leaf = await issue(authority, applicant, csr())
    assert leaf.not_valid_after_utc == end
    clock.pass_s(601)
    with pytest.raises(SignerExpired):
        await authority.issue(applicant, csr(), 0)


async def test_serial_numbers_are_large_and_differ(authority: DiskAuthority, applicant: Applicant) -> None:
    serials = {(await issue(authority, applicant, csr())).serial_number for _ in range(3)}
    assert len(serials) == 3
    assert min(serials).bit_length() > 64


@pytest.mark.parametrize(
    ("account", "expected"),
    [
        ("remora-control", {"remora-control.remora-system.svc", "localhost", "127.0.0.1"}),
        ("remora-collector", {"remora-collector.remora-system.svc"}),
    ],
)
async def test_a_component_is_also_named_as_its_clients_dial_it(
    authority: DiskAuthority, account: str, expected: set[str]
) -> None:
    component = Applicant(SpiffeId("cluster.local", "remora-system", account), "token", "ipv4:127.0.0.1:1")
    leaf = await issue(authority, component, csr())
    assert {str(name.value) for name in names(leaf)} == expected | {str(component.identity)}


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(ec.generate_private_key(ec.SECP384R1()), id="P-384"),
        pytest.param(rsa.generate_private_key(65537, 2048), id="RSA 2048 as Istio's agent makes it"),
    ],
)
async def test_keys_that_existing_agents_use_are_certified(
    authority: DiskAuthority, applicant: Applicant, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
) -> None:
    leaf = await issue(authority, applicant, csr(key))
    assert leaf.public_key() == key.public_key()


def tampered() -> str:
    """A request whose last signature byte is another."""
    body = "".join(csr().splitlines()[1:-1])
    der = bytearray(base64.b64decode(body))
    der[-1] ^= 1
    return pem_of(bytes(der))


def of_version(version: int) -> str:
    der = bytearray(base64.b64decode("".join(csr().splitlines()[1:-1])))
    at = der.index(b"\x02\x01\x00")
    der[at + 2] = version
    return pem_of(bytes(der))


def pem_of(der: bytes) -> str:
    body = base64.encodebytes(der).decode()
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{body}-----END CERTIFICATE REQUEST-----\n"


def authority_usage() -> x509.KeyUsage:
    return x509.KeyUsage(True, False, False, False, False, True, False, False, False)


@pytest.mark.parametrize(
    ("pem", "why"),
    [
        pytest.param("not a request", "not a PKCS #10", id="text"),
        pytest.param("", "not a PKCS #10", id="nothing"),
        pytest.param("x" * 20_000, "20000 bytes", id="too large"),
        pytest.param(of_version(1), "not a PKCS #10", id="another version"),
        pytest.param(csr(extensions=[X400_NAME]), "malformed", id="a kind of name that nobody has"),
        pytest.param("\ud800", "not a PKCS #10", id="a lone surrogate"),
        pytest.param(tampered(), "signature", id="a bad signature"),
        pytest.param(csr(rsa.generate_private_key(65537, 1024)), "1024 bits", id="a short RSA key"),
        pytest.param(csr(ec.generate_private_key(ec.SECP521R1())), "secp521r1", id="an unusual curve"),
        pytest.param(csr(ec.generate_private_key(ec.SECP256K1())), "secp256k1", id="a curve for money"),
        pytest.param(csr(ed25519.Ed25519PrivateKey.generate()), "neither", id="Ed25519"),
        pytest.param(csr(extensions=[x509.BasicConstraints(True, None)]), "CA:TRUE", id="CA:TRUE"),
        pytest.param(csr(extensions=[authority_usage()]), "keyCertSign", id="keyCertSign"),
        pytest.param(csr(names=[uri(REVIEWS + "x")]), "has not proven", id="another URI"),
        pytest.param(csr(names=[uri(REVIEWS), uri("spiffe://a/ns/b/sa/c")]), "has not proven", id="a second URI"),
        pytest.param(csr(names=[x509.DNSName("reviews")]), "has not proven", id="a DNS name"),
        pytest.param(csr(names=[x509.RFC822Name("a@b.c")]), "has not proven", id="a mail address"),
    ],
)
async def test_a_bad_request_gets_no_certificate_and_leaves_no_record(
    authority: DiskAuthority, applicant: Applicant, tmp_path: Path, pem: str, why: str
) -> None:
    with pytest.raises(RefusedRequest, match=why):
        await authority.issue(applicant, pem, 0)
    assert not (tmp_path / "ca" / "audit.jsonl").exists()


async def test_a_request_over_sha1_is_refused(authority: DiskAuthority, applicant: Applicant) -> None:
    # The library no longer makes such a request; the bytes of the algorithm's identifier are put in their place.
    der = bytearray(base64.b64decode("".join(csr().splitlines()[1:-1])))
    sha256, sha1 = bytes.fromhex("06082a8648ce3d040302"), bytes.fromhex("06072a8648ce3d0401")
    at = der.rfind(sha256)
    der[at : at + len(sha256)] = sha1
    der[at - 1] -= 1
    # Outer length: the sequence is one byte shorter.
    assert der[1] == 0x81 or der[1] < 0x80
    der[2 if der[1] == 0x81 else 1] -= 1
    with pytest.raises(RefusedRequest, match="signature"):
        await authority.issue(applicant, pem_of(bytes(der)), 0)


async def test_other_extensions_are_ignored(authority: DiskAuthority, applicant: Applicant) -> None:
    wish = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    leaf = await issue(authority, applicant, csr(extensions=[wish, x509.ExtendedKeyUsage([wish.oid])]))
    assert wish.oid not in {extension.oid for extension in leaf.extensions}
    assert wish.oid not in set(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


async def test_the_record_is_on_disk_before_the_certificate_leaves(
    authority: DiskAuthority, applicant: Applicant, tmp_path: Path
) -> None:
    leaf = await issue(authority, applicant, csr())
    [line] = (tmp_path / "ca" / "audit.jsonl").read_text().splitlines()
    record = json.loads(line)
    assert record["serial"] == f"{leaf.serial_number:x}"
    assert (record["identity"], record["workload"], record["proof"]) == (REVIEWS, "default/reviews-v1", "token")
    assert os.stat(tmp_path / "ca" / "audit.jsonl").st_mode & 0o777 == 0o600


async def test_a_full_disk_means_no_certificate_and_a_freed_one_means_certificates_again(
    authority: DiskAuthority, applicant: Applicant, tmp_path: Path
) -> None:
    (tmp_path / "ca" / "audit.jsonl").symlink_to("/dev/full")
    with pytest.raises(AuditUnavailable, match="No space left"):
        await authority.issue(applicant, csr(), 0)
    (tmp_path / "ca" / "audit.jsonl").unlink()
    assert await authority.issue(applicant, csr(), 0)


async def test_a_flood_is_limited_to_its_peer(
    authority: DiskAuthority, applicant: Applicant, clock: TurnedClock
) -> None:
    pem = csr(ec_key())
    for _ in range(int(SIGNING_RATE.burst)):
        await authority.issue(applicant, pem, 0)
    with pytest.raises(RateExceeded):
        await authority.issue(applicant, pem, 0)
    other = Applicant(applicant.identity, "token", applicant.peer, "default/reviews-v2")
    assert await authority.issue(other, pem, 0)
    clock.pass_s(1 / SIGNING_RATE.per_s)
    assert await authority.issue(applicant, pem, 0)


def test_a_day_is_the_default() -> None:
    assert DEFAULT_LIFETIMES.leaf_s == 86_400
