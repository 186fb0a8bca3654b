"""Whether a certificate is an authority's, as its builder says, and nothing but certificates is read."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.utils import CryptographyDeprecationWarning
from hypothesis import given
from hypothesis import strategies as st

from sidecar.net.certificate import UnreadableCertificate, is_authority
from tests.sidecar.net.authority import Authority, Leaf

AUTHORITY = Authority()
DER = AUTHORITY.build(Leaf())[0].public_bytes(serialization.Encoding.DER)
ROOT = AUTHORITY.certificate.public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize(
    ("leaf", "expected"),
    [
        pytest.param(Leaf(), False, id="a leaf"),
        pytest.param(Leaf(uris=()), False, id="a leaf without names"),
        pytest.param(Leaf(is_authority=True), True, id="an authority"),
        pytest.param(Leaf(unknown_critical=True), False, id="a leaf with an unknown extension"),
    ],
)
def test_what_basic_constraints_say(leaf: Leaf, expected: bool) -> None:
    certificate, _ = AUTHORITY.build(leaf)

    assert is_authority(certificate.public_bytes(serialization.Encoding.DER)) is expected


def test_a_root_is_an_authority() -> None:
    assert is_authority(ROOT)


@given(st.integers(0, len(DER) - 1))
def test_a_truncated_certificate_is_none(size: int) -> None:
    with pytest.raises(UnreadableCertificate):
        is_authority(DER[:size])


@given(st.binary(max_size=200))
def test_what_is_no_certificate_is_no_authority(junk: bytes) -> None:
    try:
        assert not is_authority(junk)
    except UnreadableCertificate:
        pass


@pytest.mark.parametrize("der", [DER, ROOT], ids=["a leaf", "an authority"])
@given(data=st.data())
def test_a_changed_byte_is_refused_or_read_as_the_library_reads_it(der: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(der) - 1))
    changed = der[:at] + bytes([data.draw(st.integers(0, 255))]) + der[at + 1 :]
    try:
        found = is_authority(changed)
    except UnreadableCertificate:
        return
    assert library_s(changed) in (found, None)


def library_s(der: bytes) -> bool | None:
    """What `cryptography` says; None: it does not read that."""
    try:
        return x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False
    except (ValueError, x509.DuplicateExtension, x509.InvalidVersion, x509.UnsupportedGeneralNameType):
        return None
    except CryptographyDeprecationWarning:  # a serial number that is not positive: it will not read that much longer
        return None
