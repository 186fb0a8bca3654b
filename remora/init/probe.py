"""See that rules do what they say: connect as an application does, and as the sidecar does, and look where it arrives.

Stands in for the sidecar at its ports for the moment, so it is for before the sidecar runs. Nothing leaves this network
namespace while the rules hold; if they do not, a SYN goes to an address that documentation is written with (RFC 5737,
RFC 3849).
"""

import contextlib
import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from remora.init.back_end import CaptureError
from remora.init.loopback import has_ipv6_address
from remora.init.plan import NEVER_INBOUND, Capture
from remora.init.routes import interface_to
from remora.init.scalars import Network, Ports

TIMEOUT_S = 2.0

_SO_ORIGINAL_DST = 80
"""Of SOL_IP and of SOL_IPV6 (linux/netfilter_ipv4.h, linux/netfilter_ipv6/ip6_tables.h)."""
_NOWHERE = {4: "192.0.2.1", 6: "2001:db8::1"}
_USUAL_PORTS = (80, 443, 8080, 9080, 3306, 5432)
_NO_ROUTE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL}

Say = Callable[[str], None]
Target = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Probe:
    """Of one IP version."""

    capture: Capture
    version: int
    say: Say
    timeout_s: float = TIMEOUT_S

    def outbound(self) -> None:
        """As the application. Raises CaptureError where the connection does not arrive at the sidecar."""
        target = outbound_target(self.capture, self.version)
        if target is None:
            self.say(f"probe: IPv{self.version} outbound: nothing is to be captured")
            return
        interface = interface_to(target[0], self.version)
        if interface in self.capture.exclude_interfaces:
            self.say(f"probe: IPv{self.version} outbound: skipped, {shown(target)} is reached by excluded {interface}")
            return
        self._expect("outbound", target, self.capture.outbound_to, contextlib.nullcontext)

    def inbound(self) -> None:
        """As a client of this pod, which the sidecar itself may be. Raises CaptureError."""
        target = inbound_target(self.capture, self.version)
        if target is None:
            own = _own_address(self.version)
            why = "nothing is to be captured" if own else "there is no address of its own with a route"
            self.say(f"probe: IPv{self.version} inbound: {why}")
            return
        if not _may_be(self.capture.uid):
            self.say(f"probe: IPv{self.version} inbound: skipped, to connect as user {self.capture.uid} takes SETUID")
            return
        self._expect("inbound", target, self.capture.inbound_to, self._as_sidecar)

    def _expect(
        self, direction: str, target: Target, port: int, who: Callable[[], contextlib.AbstractContextManager[None]]
    ) -> None:
        what = f"IPv{self.version} {direction}: a connection to {shown(target)}"
        try:
            meant = self.arrives(target, port, who)
        except OSError as error:
            if error.errno in _NO_ROUTE:
                self.say(f"probe: {what}: skipped, there is no route")
                return
            raise CaptureError(
                f"probe: {what} does not arrive at port {port}: {error}; look for rules of others before ours "
                "(iptables-save -t nat), and for a policy that drops loopback"
            ) from error
        if meant != target:
            raise CaptureError(f"probe: {what} arrives as one to {shown(meant)}: rules of others change it before")
        self.say(f"probe: {what} arrives at port {port}")

    def arrives(
        self,
        target: Target,
        port: int,
        who: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> Target:
        """Where the kernel says that a connection to `target`, which came to `port`, was going.

        Raises OSError where it does not come, CaptureError where the port cannot be listened at.
        """
        with self._listening(port) as server:
            with who():
                client = socket.socket(self._family)
            with client:
                client.settimeout(self.timeout_s)
                client.connect(target)
                accepted, _ = server.accept()
            with accepted:
                return original_destination(accepted)

    @property
    def _family(self) -> socket.AddressFamily:
        return socket.AF_INET if self.version == 4 else socket.AF_INET6

    @contextlib.contextmanager
    def _listening(self, port: int) -> Iterator[socket.socket]:
        with socket.socket(self._family) as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if self.version == 6:
                server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            server.settimeout(self.timeout_s)
            try:
                server.bind(("0.0.0.0" if self.version == 4 else "::", port))  # noqa: S104 - where the sidecar does
            except OSError as error:
                raise CaptureError(
                    f"probe: port {port} cannot be had: {error.strerror}; probe before the sidecar starts"
                ) from error
            server.listen(1)
            yield server

    @contextlib.contextmanager
    def _as_sidecar(self) -> Iterator[None]:
        """What rules ask for is the user who made the socket."""
        before = os.geteuid()
        os.seteuid(self.capture.uid)
        try:
            yield
        finally:
            os.seteuid(before)


def _may_be(uid: int) -> bool:
    """Root may not, without the capability SETUID: an init container has it only if it is added."""
    before = os.geteuid()
    try:
        os.seteuid(uid)
    except PermissionError:
        return False
    os.seteuid(before)
    return True


def probe(capture: Capture, say: Say) -> None:
    """All that can be seen from here. Raises CaptureError at the first thing that is not as it should be."""
    for version in (4, 6) if has_ipv6_address() else (4,):
        one = Probe(capture, version, say)
        one.outbound()
        one.inbound()


def original_destination(accepted: socket.socket) -> Target:
    """Where the client of a redirected connection meant to go. Raises OSError."""
    if accepted.family == socket.AF_INET:
        raw = accepted.getsockopt(socket.SOL_IP, _SO_ORIGINAL_DST, 16)
        port, address = struct.unpack_from("!2xH4s", raw)
    else:
        raw = accepted.getsockopt(socket.IPPROTO_IPV6, _SO_ORIGINAL_DST, 28)
        port, address = struct.unpack_from("!2xH4x16s", raw)
    return str(ipaddress.ip_address(address)), port


def inbound_target(capture: Capture, version: int) -> Target | None:
    """A port of this pod that is to be captured; None where there is none, or no address with a route."""
    free = _outside((*_USUAL_PORTS, *_ends(capture.inbound_ports)), capture.exclude_inbound_ports)
    wanted = [each for each in free if each not in NEVER_INBOUND and _within(each, capture.inbound_ports)]
    own = _own_address(version)
    return (own, wanted[0]) if wanted and own is not None else None


def outbound_target(capture: Capture, version: int) -> Target | None:
    """A destination that is to be captured; None where none is found."""
    ranges = capture.outbound_ranges.of(version)
    excluded = capture.exclude_outbound_ranges.of(version).networks
    free = _outside((*_USUAL_PORTS, *_ends(capture.outbound_ports)), capture.exclude_outbound_ports)
    free = [port for port in free if capture.dns_to is None or port != 53]
    candidates = [_NOWHERE[version], *(str(_some_host(network)) for network in ranges.networks)]
    for address in candidates:
        parsed = ipaddress.ip_address(address)
        if any(parsed in network for network in excluded):
            continue
        wanted = ranges.all or any(parsed in network for network in ranges.networks)
        for port in free:
            if wanted or _within(port, capture.outbound_ports):
                return address, port
    return None


def _some_host(network: Network) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return network[1] if network.num_addresses > 2 else network[0]


def _outside(ports: tuple[int, ...], excluded: tuple[Ports, ...]) -> list[int]:
    return [port for port in ports if not _within(port, excluded)]


def _within(port: int, ports: tuple[Ports, ...]) -> bool:
    return any(port in each for each in ports)


def _ends(ports: tuple[Ports, ...]) -> list[int]:
    return [end for each in ports for end in (each.first, each.last)]


def _own_address(version: int) -> str | None:
    """The one that this network namespace would use towards others."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as asked:
        try:
            asked.connect((_NOWHERE[version], 9))  # sends nothing
        except OSError:
            return None
        return str(asked.getsockname()[0])


def shown(target: Target) -> str:
    """As URLs write it."""
    host, port = target
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
