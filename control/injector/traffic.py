"""What of a pod's traffic is captured: ports, address ranges and interfaces, as Istio's annotations write them.

Each reader gives the canonical text, which is what remora-init is started with: nothing else of an annotation gets
there.
"""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator

from control.api.model import wrong
from control.api.scalars import Str, shorten

MAX_ITEMS = 256
"""Of one list, as remora-init takes. Each is a rule that every new connection is compared with."""

_PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?\Z")
_INTERFACE = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]{0,14}\Z")
_PORTS_FORM = "write ports with commas between them, such as 8080,9090-9099"
_RANGES_FORM = "write address ranges with commas between them, such as 10.0.0.0/8,fd00::/8"
_INTERFACES_FORM = "write interfaces' names with commas between them, such as net1,net2"
_LOOPBACK = {4: ipaddress.ip_network("127.0.0.0/8"), 6: ipaddress.ip_network("::1/128")}
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


def ports(text: str) -> str:
    """`8080, 9090-9099` as `8080,9090-9099`: in order, each once. Raises ValueError with what would be right."""
    found: set[tuple[int, int]] = set()
    for item in _items(text, _PORTS_FORM):
        match = _PORTS.match(item) if item.isascii() else None
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= first <= last <= 65_535:
            raise ValueError(f"is {shorten(text)}, of which {shorten(item)} is no port; {_PORTS_FORM}")
        found.add((first, last))
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in sorted(found))


def all_or_ports(text: str) -> str:
    """The same, or `*` for every port."""
    return _all_or(ports, text, "every port")


def ranges(text: str) -> str:
    """`10.0.0.0/8, 192.0.2.1` as `10.0.0.0/8,192.0.2.1/32`. Raises ValueError with what would be right."""
    found: dict[str, None] = {}
    for item in _items(text, _RANGES_FORM):
        try:
            network = ipaddress.ip_network(item)
        except ValueError:
            raise ValueError(f"is {shorten(text)}, {_why_no_range(item)}; {_RANGES_FORM}") from None
        if (
            "%" in item
            or "." in item.partition("/")[2]
            or (isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED))
        ):
            raise ValueError(f"is {shorten(text)}, of which {shorten(item)} is no plain address range; {_RANGES_FORM}")
        if network.prefixlen and network.overlaps(_LOOPBACK[network.version]):
            raise ValueError(
                f"is {shorten(text)}, of which {item} is loopback's, which is never captured; leave it out"
            )
        found[str(network)] = None
    return ",".join(found)


def all_or_ranges(text: str) -> str:
    """The same, or `*` for everywhere."""
    return _all_or(ranges, text, "everywhere")


def interfaces(text: str) -> str:
    """`net1, net2` as `net1,net2`. Raises ValueError with what would be right."""
    found: dict[str, None] = {}
    for item in _items(text, _INTERFACES_FORM):
        if not _INTERFACE.match(item) or item in (".", "..", "lo"):
            raise ValueError(f"is {shorten(text)}, of which {shorten(item)} cannot be excluded; {_INTERFACES_FORM}")
        found[item] = None
    return ",".join(found)


def _all_or(read: Callable[[str], str], text: str, what: str) -> str:
    try:
        return "*" if text.strip() == "*" else read(text)
    except ValueError as error:
        raise ValueError(f"{error}, or * for {what}") from None


def _why_no_range(item: str) -> str:
    try:
        network = ipaddress.ip_network(item, strict=False)
    except ValueError:
        return f"of which {shorten(item)} is no address range"
    return f"of which {shorten(item)} has bits beyond its length (the range around it is {network})"


def _items(text: str, form: str) -> list[str]:
    if not text.strip():
        return []
    items = [item.strip() for item in text.split(",")]
    if len(items) > MAX_ITEMS:
        raise ValueError(f"has {len(items)} items; it has at most {MAX_ITEMS}")
    if "" in items:
        raise ValueError(f"is {shorten(text)}, which has nothing between two commas; {form}")
    return items


def _checked(read: Callable[[str], str]) -> AfterValidator:
    def check(value: str) -> str:
        try:
            return read(value)
        except ValueError as error:
            raise wrong(str(error)) from None

    return AfterValidator(check)


Ports = Annotated[Str, _checked(ports)]
AllOrPorts = Annotated[Str, _checked(all_or_ports)]
Ranges = Annotated[Str, _checked(ranges)]
AllOrRanges = Annotated[Str, _checked(all_or_ranges)]
Interfaces = Annotated[Str, _checked(interfaces)]


@dataclass(frozen=True, slots=True)
class Field:
    """One of the annotations, without its prefix; the flag of remora-init; and what reads it."""

    annotation: str
    flag: str
    read: Callable[[str], str]


FIELDS = {
    "include_inbound_ports": Field("includeInboundPorts", "include-inbound-ports", all_or_ports),
    "exclude_inbound_ports": Field("excludeInboundPorts", "exclude-inbound-ports", ports),
    "include_outbound_ip_ranges": Field("includeOutboundIPRanges", "include-outbound-ip-ranges", all_or_ranges),
    "exclude_outbound_ip_ranges": Field("excludeOutboundIPRanges", "exclude-outbound-ip-ranges", ranges),
    "include_outbound_ports": Field("includeOutboundPorts", "include-outbound-ports", all_or_ports),
    "exclude_outbound_ports": Field("excludeOutboundPorts", "exclude-outbound-ports", ports),
    "exclude_interfaces": Field("excludeInterfaces", "exclude-interfaces", interfaces),
}
"""By the name of the setting."""
