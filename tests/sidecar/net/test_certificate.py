"""Whether a certificate is an authority's, as its builder says, and nothing but certificates is read."""

import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from sidecar.net.certificate import UnreadableCertificate, is_authority
from tests.sidecar.net.authority import Authority, Leaf

AUTHORITY = Authority()


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
    assert is_authority(AUTHORITY.certificate.public_bytes(serialization.Encoding.DER))


DER = AUTHORITY.build(Leaf())[0].public_bytes(serialization.Encoding.DER)


@given(st.integers(0, len(DER) - 1))
def test_a_truncated_certificate_is_none(size: int) -> None:
    with pytest.raises(UnreadableCertificate):
        is_authority(DER[:size])


@given(st.binary(max_size=200))
def test_anything_at_all_is_read_or_refused(junk: bytes) -> None:
    try:
        is_authority(junk)
    except UnreadableCertificate:
        pass


@given(st.integers(0, len(DER) - 1), st.integers(0, 255))
def test_a_changed_byte_is_read_or_refused(at: int, byte: int) -> None:
    changed = DER[:at] + bytes([byte]) + DER[at + 1 :]
    try:
        is_authority(changed)
    except UnreadableCertificate:
        pass
