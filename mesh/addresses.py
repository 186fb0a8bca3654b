"""Addresses as text: where a process listens, and whom it calls. No look-up: names stay names."""

import ipaddress

MAX_PORT = 65_535


def parse_host_port(text: str) -> tuple[str, int]:
    """`HOST:PORT` or `[V6]:PORT` as its parts, the brackets gone; port 0 is one. Raises ValueError, which says why."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not is_number(port, MAX_PORT):
        raise ValueError(f"{text!r} is not HOST:PORT")
    if host.startswith("[") and host.endswith("]"):
        host = str(ipaddress.IPv6Address(host[1:-1]))
    elif ":" in host:
        raise ValueError(f"{text!r}: write an IPv6 address in brackets, [::1]:PORT")
    return host, int(port)


def is_number(text: str, most: int) -> bool:
    """Digits of ASCII and nothing else, of a number from 0 to `most`."""
    return text.isascii() and text.isdigit() and len(text) <= len(str(most)) and int(text) <= most


def is_loopback(host: str) -> bool:
    """A loopback IP address, or the name `localhost`: what is sent there stays on this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
