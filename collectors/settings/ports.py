"""Addresses that settings listen on: taken twice within the file or by the flags, or in use on this machine."""

import errno
import ipaddress
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from collectors.receivers.listeners import Address
from collectors.settings.document import Steps, spell
from collectors.settings.surroundings import Surroundings, addresses_in_use
from collectors.settings.walk import Found


@dataclass(frozen=True, slots=True)
class _Place:
    steps: Steps
    """Empty: of a flag."""
    shown: str
    address: Address
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address
    udp: bool


def judge_ports(found: Iterable[Found], around: Surroundings) -> Iterator[tuple[Steps, str]]:
    """What is wrong with the addresses among `found`."""
    running = frozenset[str]() if around.ports_are_free else addresses_in_use(around.state)
    taken = [place for flag, host, port in around.flags if (place := _place((), flag, Address(host, port), udp=False))]
    for one in found:
        if not isinstance(one.value, Address):
            continue
        place = _place(one.steps, "", one.value, udp=bool(getattr(one.owner, "udp_heartbeat", False)))
        if place is None:
            yield one.steps, f"names a host that is not found: {one.value.host}; write an address of this machine"
            continue
        other = next((each for each in taken if _collide(each, place)), None)
        taken.append(place)
        if other is not None:
            yield one.steps, _twice(place, other)
        elif not around.ports_are_free and str(place.address) not in running and (why := _cannot_listen(place)):
            yield one.steps, why


def _twice(place: _Place, other: _Place) -> str:
    what = other.shown or spell(other.steps)
    same = "has this port too" if other.address == place.address else f"has this port too, on {other.address}"
    return f"is {place.address}, and {what} {same}; choose another port"


def _place(steps: Steps, shown: str, address: Address, *, udp: bool) -> _Place | None:
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        ip = ipaddress.ip_address(str(found[0][4][0]).partition("%")[0])
    except (OSError, ValueError):
        return None
    return _Place(steps, shown, address, ip, udp)


def _collide(one: _Place, other: _Place) -> bool:
    if not one.address.port or one.address.port != other.address.port:
        return False
    if one.ip == other.ip:
        return True
    for wide, narrow in ((one.ip, other.ip), (other.ip, one.ip)):
        # [::] takes connections to addresses of version 4 as well.
        if wide.is_unspecified and (wide.version == 6 or narrow.version == 4):
            return True
    return False


def _cannot_listen(place: _Place) -> str:
    """Why, or nothing. Nothing stays bound; as the receivers, without waiting for old connections' TIME_WAIT."""
    if not place.address.port:
        return ""
    family = socket.AF_INET6 if place.ip.version == 6 else socket.AF_INET
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM) if place.udp else (socket.SOCK_STREAM,):
        with socket.socket(family, kind) as sock:
            try:
                if kind is socket.SOCK_STREAM:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind((str(place.ip), place.address.port))
            except OSError as error:
                return _explained(place, error)
    return ""


def _explained(place: _Place, error: OSError) -> str:
    address, port = place.address, place.address.port
    if error.errno == errno.EADDRINUSE:
        return (
            f"is {address}, which is in use (by whom says: ss -lntup 'sport = :{port}'); end that process, choose "
            "another port, or, where it is the collector that these settings are for, name its --state DIR"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return f"is {address}, and this machine has no such address; write one that it has, or 0.0.0.0 for all"
    if error.errno == errno.EACCES:
        return f"is {address}, and this user may not listen there; choose a port above 1023"
    return f"is {address}, where nobody can listen: {error.strerror}"
