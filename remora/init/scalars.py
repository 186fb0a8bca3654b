"""Ports, ranges of addresses and interfaces as users write them. No I/O; what is wrong is a ValueError with the fix."""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

MAX_ENTRIES = 256
"""Of one list. Every entry is a rule that each new connection is compared with."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_PORTS = re.compile(r"([0-9]{1,5})(?:[-:]([0-9]{1,5}))?\Z")
_INTERFACE = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]{0,14}(?:@[A-Za-z0-9_.-]{0,15})?\Z")
"""None that begins like an option of iptables."""


@dataclass(frozen=True, slots=True, order=True)
class Ports:
    """From `first` to `last`, both within."""

    first: int
    last: int

    def __str__(self) -> str:
        """As iptables writes it."""
        return str(self.first) if self.first == self.last else f"{self.first}:{self.last}"

    def __contains__(self, port: int) -> bool:
        return self.first <= port <= self.last


@dataclass(frozen=True, slots=True)
class Ranges:
    """Destinations of one kind of address, or of both."""

    all: bool = False
    networks: tuple[Network, ...] = ()

    def of(self, version: int) -> "Ranges":
        """Of IP `version` 4 or 6 alone."""
        return Ranges(self.all, tuple(network for network in self.networks if network.version == version))


EVERYWHERE = Ranges(all=True)
NOWHERE = Ranges()


def split(text: str) -> list[str]:
    """`a, b` -> [a, b]; nothing of the empty text. Raises ValueError for an empty entry or too many."""
    if not text.strip():
        return []
    entries = [entry.strip() for entry in text.split(",")]
    if "" in entries:
        raise ValueError(f"{text!r} has an empty entry; write them with one comma between, e.g. 80,443")
    if len(entries) > MAX_ENTRIES:
        raise ValueError(f"has {len(entries)} entries; {MAX_ENTRIES} is the most (write ports that follow as a range)")
    return entries


def parse_ports(text: str) -> tuple[Ports, ...]:
    """`80,8000-8010` in order, ranges that touch or overlap as one. Raises ValueError."""
    return merged(_ports(entry) for entry in split(text))


def merged(ports: Iterable[Ports]) -> tuple[Ports, ...]:
    """In order, with no two that touch."""
    found: list[Ports] = []
    for each in sorted(ports):
        if found and each.first <= found[-1].last + 1:
            found[-1] = Ports(found[-1].first, max(found[-1].last, each.last))
        else:
            found.append(each)
    return tuple(found)


def _ports(entry: str) -> Ports:
    match = _PORTS.match(entry)
    if match is None:
        raise ValueError(f"{entry!r} is no port; write 1 to 65535, or a range such as 8000-8010")
    first = int(match[1])
    last = int(match[2]) if match[2] else first
    if not (1 <= first <= 65_535 and 1 <= last <= 65_535):
        raise ValueError(f"{entry!r} is no port; ports are 1 to 65535")
    if first > last:
        raise ValueError(f"{entry!r} ends before it begins; write {last}-{first}")
    return Ports(first, last)


def parse_port(text: str) -> int:
    """One port. Raises ValueError."""
    ports = _ports(text)
    if ports.first != ports.last:
        raise ValueError(f"{text!r} is a range; write one port")
    return ports.first


def parse_ranges(text: str) -> tuple[Network, ...]:
    """`10.0.0.0/8,fd00::/8`; an address alone is itself; bits behind the prefix do not count. Raises ValueError."""
    found: dict[Network, None] = {}
    for entry in split(text):
        found[_network(entry)] = None
    return tuple(found)


def _network(entry: str) -> Network:
    if entry == "*":
        raise ValueError("'*' stands for every address, alone; leave the others away")
    try:
        if "%" in entry:
            raise ValueError("an interface's name is no part of a range")
        if not entry.partition("/")[2].isascii() or "." in entry.partition("/")[2]:
            # Python takes 0.0.255.255 for the bits that do not count, iptables for those that do.
            raise ValueError("a mask is read in two ways, a length in one")
        network = ipaddress.ip_network(entry, strict=False)
    except ValueError as error:
        raise ValueError(f"{entry!r} is no range of addresses; write e.g. 10.0.0.0/8 or fd00::/8") from error
    # A bare /0 holds loopback addresses, too, but is not about them.
    if network.prefixlen and network.overlaps(LOOPBACK[network.version]):
        raise ValueError(f"{entry!r}: what goes to loopback addresses is never captured; leave it away")
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        raise ValueError(f"{entry!r} is an IPv4 address in IPv6's form; write it as IPv4")
    return network


LOOPBACK: dict[int, Network] = {4: ipaddress.ip_network("127.0.0.0/8"), 6: ipaddress.ip_network("::1/128")}
"""By IP version."""
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


def parse_captured_ranges(text: str) -> Ranges:
    """`*`, nothing, or ranges. Raises ValueError."""
    return EVERYWHERE if text.strip() == "*" else Ranges(networks=parse_ranges(text))


def parse_captured_ports(text: str) -> tuple[Ports, ...]:
    """`*`, nothing, or ports. Raises ValueError."""
    return ALL_PORTS if text.strip() == "*" else parse_ports(text)


ALL_PORTS = (Ports(1, 65_535),)


def parse_interfaces(text: str) -> tuple[str, ...]:
    """Names, each once. Raises ValueError; so it does for `lo`, whose rules are our own."""
    found: dict[str, None] = {}
    for entry in split(text):
        if not _INTERFACE.match(entry) or entry.partition("@")[0] in (".", ".."):
            raise ValueError(f"{entry!r} is no interface's name; write one as `ip link` shows it, e.g. net1")
        if entry.partition("@")[0] == "lo":
            raise ValueError("'lo': the loopback interface cannot be excluded, the sidecar needs its rules")
        # An `eth0@if5` of `ip link` is called eth0.
        found[entry.partition("@")[0]] = None
    return tuple(found)
