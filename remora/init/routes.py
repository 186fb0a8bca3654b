"""By which interface this network namespace sends to an address: from the kernel's tables of routes. Pure but for the
reading of them.

Tables beside the main one (ip-rule(8)) are not looked at; where they decide, the answer is the main one's.
"""

import ipaddress
import socket
from collections.abc import Iterator
from pathlib import Path

from remora.init.scalars import Network

TABLES = {4: Path("/proc/net/route"), 6: Path("/proc/net/ipv6_route")}
_REJECTED = 0x0200
"""RTF_REJECT of linux/route.h."""

Route = tuple[Network, int, str]
"""Destinations, metric, interface."""


def interface_to(address: str, version: int) -> str | None:
    """None: there is no route, or the table cannot be read."""
    try:
        text = TABLES[version].read_text("ascii", "replace")
    except OSError:
        return None
    return best(routes(text, version), address)


def best(known: Iterator[Route], address: str) -> str | None:
    """The interface of the longest prefix, of the lowest metric among those."""
    wanted = ipaddress.ip_address(address)
    fitting = [(-network.prefixlen, metric, name) for network, metric, name in known if wanted in network]
    return min(fitting)[2] if fitting else None


def routes(text: str, version: int) -> Iterator[Route]:
    """Of a table's text; lines that are none are passed by."""
    for line in text.splitlines():
        fields = line.split()
        try:
            found = _ipv4(fields) if version == 4 else _ipv6(fields)
        except (ValueError, IndexError):
            continue
        if found is not None:
            yield found


def _ipv4(fields: list[str]) -> Route | None:
    """Interface, destination, gateway, flags, two counters, metric, mask; addresses as the machine keeps them."""
    if int(fields[3], 16) & _REJECTED:
        return None
    destination, mask = (socket.ntohl(int(fields[at], 16)).to_bytes(4, "big") for at in (1, 7))
    network = ipaddress.IPv4Network((destination, int.from_bytes(mask, "big").bit_count()))
    return network, int(fields[6]), fields[0]


def _ipv6(fields: list[str]) -> Route | None:
    """Destination, its prefix' length, source and its, next hop, metric, two counters, flags, interface."""
    if int(fields[8], 16) & _REJECTED:
        return None
    network = ipaddress.IPv6Network((bytes.fromhex(fields[0]), int(fields[1], 16)))
    return network, int(fields[5], 16), fields[9]
