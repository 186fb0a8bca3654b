"""Signing requests, and answers that must not be used."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from mesh.spiffe import SpiffeId
from sidecar.agent.certificates import Issued, SigningRequest, UnusableCertificate, check_roots
from sidecar.agent.renewal import is_expired, is_expiring, renew_at
from tests.sidecar.xds.authority import TestAuthority, new_key

IDENTITY = SpiffeId("cluster.local", "default", "reviews")
URI = str(IDENTITY)
NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def authority() -> TestAuthority:
    return TestAuthority(now=NOW)


def public_key(request: SigningRequest) -> ec.EllipticCurvePublicKey:
    key = x509.load_pem_x509_csr(request.pem.encode()).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key


def test_a_request_asks_for_one_uri_name_with_a_p256_key_that_signed_it() -> None:
    csr = x509.load_pem_x509_csr(SigningRequest(IDENTITY).pem.encode())
    assert csr.is_signature_valid
    assert isinstance(csr.public_key(), ec.EllipticCurvePublicKey)
    assert csr.public_key().curve.name == "secp256r1"  # type: ignore[union-attr]
    names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [URI]
    assert list(csr.subject) == []


def test_two_requests_have_two_keys() -> None:
    assert public_key(SigningRequest(IDENTITY)) != public_key(SigningRequest(IDENTITY))


def test_an_answer_is_kept_without_its_root(authority: TestAuthority) -> None:
    request = SigningRequest(IDENTITY)
    leaf = authority.issue(public_key(request), (URI,))
    issued = request.accept((leaf, authority.pem), authority.pem, NOW.timestamp())
    assert issued.chain_pem == leaf
    assert issued.key_pem.startswith("-----BEGIN PRIVATE KEY-----")
    assert issued.not_after - issued.not_before == 3600
    assert "PRIVATE KEY" not in repr(issued)


def test_either_of_two_roots_may_have_signed(authority: TestAuthority) -> None:
    request = SigningRequest(IDENTITY)
    leaf = authority.issue(public_key(request), (URI,))
    request.accept((leaf,), TestAuthority("old").pem + authority.pem, NOW.timestamp())


@pytest.mark.parametrize(
    ("uris", "options", "why"),
    [
        pytest.param(("spiffe://cluster.local/ns/default/sa/other",), {}, "not for", id="for someone else"),
        pytest.param((URI, "spiffe://cluster.local/ns/a/sa/b"), {}, "not for", id="for two"),
        pytest.param((), {}, "names nobody", id="for nobody"),
        pytest.param((URI,), {"starts": timedelta(hours=1)}, "is this machine's clock right?", id="for the future"),
        pytest.param((URI,), {"starts": timedelta(hours=-2)}, "is this machine's clock right?", id="of the past"),
    ],
)
def test_a_certificate_that_is_not_ours_or_not_now_is_refused(
    uris: tuple[str, ...], options: dict[str, timedelta], why: str, authority: TestAuthority
) -> None:
    request = SigningRequest(IDENTITY)
    leaf = authority.issue(public_key(request), uris, **options)
    with pytest.raises(UnusableCertificate, match=why):
        request.accept((leaf, authority.pem), authority.pem, NOW.timestamp())


def test_a_start_a_few_seconds_ahead_is_another_clock_and_fine(authority: TestAuthority) -> None:
    request = SigningRequest(IDENTITY)
    leaf = authority.issue(public_key(request), (URI,), starts=timedelta(seconds=20))
    request.accept((leaf,), authority.pem, NOW.timestamp())


def test_a_certificate_for_another_key_is_refused(authority: TestAuthority) -> None:
    leaf = authority.issue(new_key().public_key(), (URI,))
    with pytest.raises(UnusableCertificate, match="another key"):
        SigningRequest(IDENTITY).accept((leaf,), authority.pem, NOW.timestamp())


def test_a_certificate_that_no_trusted_root_signed_is_refused(authority: TestAuthority) -> None:
    request = SigningRequest(IDENTITY)
    leaf = TestAuthority("root", now=NOW).issue(public_key(request), (URI,))
    with pytest.raises(UnusableCertificate, match="no trusted root"):
        request.accept((leaf,), authority.pem, NOW.timestamp())


@pytest.mark.parametrize("chain", [(), ("nonsense",), ("",)], ids=["nothing", "no PEM", "empty text"])
def test_an_answer_without_certificates_is_refused(chain: tuple[str, ...], authority: TestAuthority) -> None:
    with pytest.raises(UnusableCertificate):
        SigningRequest(IDENTITY).accept(chain, authority.pem, NOW.timestamp())


def test_roots_must_be_certificates(authority: TestAuthority) -> None:
    assert check_roots(authority.pem) == authority.pem
    with pytest.raises(UnusableCertificate):
        check_roots("hello")


def issued(not_before: float, not_after: float) -> Issued:
    return Issued("chain", "key", not_before, not_after, "1")


def test_renewal_is_at_half_of_what_is_left_give_or_take_a_tenth() -> None:
    rng = random.Random(7)
    times = [renew_at(issued(-300, 1000), 0, rng) for _ in range(1000)]
    assert 400 <= min(times) < 420
    assert 580 < max(times) <= 600


def test_the_alarm_is_on_in_the_last_quarter() -> None:
    certificate = issued(0, 1000)
    assert [is_expiring(certificate, now) for now in (0, 700, 749, 751, 2000)] == [False, False, False, True, True]
    assert [is_expired(certificate, now) for now in (999, 1000)] == [False, True]
