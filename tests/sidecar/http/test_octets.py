"""Which octets a text may hold, against what the RFCs say of each."""

import pytest

from sidecar.http.octets import FIELD_VALUE, LOWER_TOKEN, TOKEN, allowing, blank_at_an_end, made_of

_TCHAR = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@pytest.mark.parametrize(
    ("table", "allowed"),
    [
        pytest.param(allowing(b"az\xff"), {*b"az\xff"}, id="some"),
        pytest.param(allowing(()), set(), id="none"),
        pytest.param(FIELD_VALUE, set(range(256)) - {*range(9), *range(10, 32), 127}, id="a field's value"),
        pytest.param(TOKEN, {*_TCHAR}, id="a token"),
        pytest.param(LOWER_TOKEN, {*_TCHAR} - {*b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"}, id="a token in lower case"),
    ],
)
def test_every_octet_is_allowed_or_not_wherever_it_stands(table: bytes, allowed: set[int]) -> None:
    friend = bytes(sorted(allowed)[:1])
    for octet in range(256):
        for text in (bytes([octet]), friend + bytes([octet]), bytes([octet]) + friend):
            assert made_of(table, text) == (octet in allowed)
    assert made_of(table, b"")
    assert made_of(table, bytes(sorted(allowed)))


@pytest.mark.parametrize("text", [b" ", b"\t", b" a", b"\ta", b"a ", b"a\t", b" a "])
def test_a_blank_at_an_end_is_found(text: bytes) -> None:
    assert blank_at_an_end(text)


@pytest.mark.parametrize("text", [b"", b"a", b"a b", b"a\tb"])
def test_a_blank_between_is_none(text: bytes) -> None:
    assert not blank_at_an_end(text)
