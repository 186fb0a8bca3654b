"""What a ClientHello says, from whole ones of OpenSSL, pieces of them, and bytes that are none."""

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.listeners.client_hello import MAX_HELLO_BYTES, ClientHello, NotClientHello, parse


def of_openssl(name: str | None = "a.example", protocols: list[str] | None = None) -> bytes:
    """What Python's OpenSSL sends first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    if protocols:
        context.set_alpn_protocols(protocols)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


def split(hello: bytes, size: int) -> bytes:
    """The same message in records of `size` bytes."""
    message = hello[5:]
    pieces = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(hello[:3] + len(piece).to_bytes(2, "big") + piece for piece in pieces)


def test_name_and_protocols_are_read() -> None:
    assert parse(of_openssl("A.Example", ["h2", "http/1.1"])) == ClientHello("a.example", ("h2", "http/1.1"))
    assert parse(of_openssl(None)) == ClientHello()


@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_message_may_be_in_many_records(size: int) -> None:
    assert parse(split(of_openssl(), size)) == ClientHello("a.example")


def test_what_follows_is_not_looked_at() -> None:
    assert parse(of_openssl() + b"anything") == ClientHello("a.example")


@pytest.mark.parametrize("whole", [of_openssl(), split(of_openssl(), 7)], ids=["one record", "many records"])
def test_a_piece_says_how_much_is_needed_and_gets_it(whole: bytes) -> None:
    have = 0
    for _ in range(len(whole)):
        found = parse(whole[:have])
        if isinstance(found, ClientHello):
            break
        assert have < found <= len(whole)
        have = found
    assert parse(whole[:have]) == ClientHello("a.example")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x16\x02\x00\x00\x05hello", "no TLS handshake"),
        (b"\x17\x03\x01\x00\x05hello", "no TLS handshake"),
        (b"\x16\x03\x01\x00\x00", "of 0 bytes"),
        (b"\x16\x03\x01\xff\xff", "of 65535 bytes"),
        (b"\x16\x03\x01\x00\x04\x02\x00\x00\x00", "no ClientHello"),
        (b"\x16\x03\x01\x00\x04\x01\xff\xff\xff", "more than"),
        (b"\x16\x03\x01\x00\x06\x01\x00\x00\x02\x03\x03", "longer than the ClientHello"),
    ],
)
def test_what_can_not_be_one_is_refused_at_once(data: bytes, why: str) -> None:
    with pytest.raises(NotClientHello, match=why):
        parse(data)


def with_extensions(extensions: bytes) -> bytes:
    body = b"\x03\x03" + bytes(32) + b"\x00" + b"\x00\x02\x13\x01" + b"\x01\x00" + len(extensions).to_bytes(2, "big")
    message = b"\x01" + (len(body) + len(extensions)).to_bytes(3, "big") + body + extensions
    return b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message


def server_name(name: bytes) -> bytes:
    entry = b"\x00" + len(name).to_bytes(2, "big") + name
    content = len(entry).to_bytes(2, "big") + entry
    return b"\x00\x00" + len(content).to_bytes(2, "big") + content


@pytest.mark.parametrize("name", [b"", b"a\x00b", b"a b", "ä".encode(), b"a" * 256])
def test_a_name_that_is_none_is_refused(name: bytes) -> None:
    with pytest.raises(NotClientHello):
        parse(with_extensions(server_name(name)))


def test_two_names_are_refused() -> None:
    with pytest.raises(NotClientHello, match="twice"):
        parse(with_extensions(server_name(b"a") + server_name(b"b")))


def test_a_trailing_dot_is_no_part_of_the_name() -> None:
    assert parse(with_extensions(server_name(b"a.example."))) == ClientHello("a.example")


@given(st.binary(max_size=200), st.integers(0, 500))
def test_any_bytes_are_a_hello_a_number_or_refused(tail: bytes, cut: int) -> None:
    for data in (tail, of_openssl()[:cut] + tail, b"\x16\x03\x01" + tail):
        try:
            found = parse(data)
        except NotClientHello:
            continue
        assert isinstance(found, ClientHello) or len(data) < found <= MAX_HELLO_BYTES + 5
