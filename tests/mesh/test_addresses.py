"""HOST:PORT as flags and settings write it."""

import pytest

from mesh.addresses import is_loopback, is_number, parse_host_port


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("collector.mesh:24224", ("collector.mesh", 24224)),
        ("[::1]:0", ("::1", 0)),
        ("[2001:DB8:0::1]:65535", ("2001:db8::1", 65535)),
    ],
)
def test_a_host_and_a_port_are_told_apart(text: str, parts: tuple[str, int]) -> None:
    assert parse_host_port(text) == parts


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param("80", "is not HOST:PORT", id="a port alone"),
        pytest.param(":80", "is not HOST:PORT", id="no host"),
        pytest.param("localhost", "is not HOST:PORT", id="no port"),
        pytest.param("localhost:", "is not HOST:PORT", id="an empty port"),
        pytest.param("localhost:65536", "is not HOST:PORT", id="a port too large"),
        pytest.param("localhost:-1", "is not HOST:PORT", id="a negative port"),
        pytest.param("localhost:+1", "is not HOST:PORT", id="a sign"),
        pytest.param("localhost:²", "is not HOST:PORT", id="a digit that is not of ASCII"),
        pytest.param("localhost:" + "0" * 5000 + "1", "is not HOST:PORT", id="a port of 5001 digits"),
        pytest.param("::1:80", r"in brackets, \[::1\]:PORT", id="bare IPv6"),
        pytest.param("[localhost]:80", "At least 3 parts", id="a name in brackets"),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_host_port(text)


@pytest.mark.parametrize("text", ["0", "9", "10", "010"])
def test_a_number_is_digits_up_to_a_most(text: str) -> None:
    assert is_number(text, 10) == (text != "010")


@pytest.mark.parametrize(
    ("host", "stays_here"),
    [
        ("127.0.0.1", True),
        ("127.255.0.3", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("127.0.0.1.example", False),
        ("localhost.example", False),
        ("", False),
    ],
)
def test_only_loopback_addresses_and_localhost_stay_on_this_machine(host: str, stays_here: bool) -> None:
    assert is_loopback(host) == stays_here
