"""Which rules capture a pod's traffic. Pure: from what is wanted to the text of rules; nothing is read or run here.

The chains and their order follow those of Istio's sidecars, and differ where there an exclusion can be passed by:
docs/capture.md says where and why.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from socket import AF_INET, AF_INET6, inet_ntop

from remora.init.scalars import ALL_PORTS, EVERYWHERE, LOOPBACK, NOWHERE, Network, Ports, Ranges

PREFIX = "REMORA_"
"""Chains that begin so are ours, whichever version made them."""
INBOUND = "REMORA_INBOUND"
IN_REDIRECT = "REMORA_IN_REDIRECT"
OUTPUT = "REMORA_OUTPUT"
REDIRECT = "REMORA_REDIRECT"

NEVER_INBOUND = (15_000, 15_008, 15_020, 15_021, 15_090)
"""Ports of the sidecar itself: administration, tunnels, metrics, readiness. Who asks there wants the sidecar."""

FORWARDED_FROM = {4: "127.0.0.6/32", 6: "::6/128"}
"""By IP version: what the sidecar binds to when it hands on to its own application, so that this is not captured."""

DNS_PORT = 53
SIDECAR_DNS_PORT = 15_053
"""Where the sidecar answers DNS, if it was told to (sidecar.agent.pod_environment)."""


@dataclass(frozen=True, slots=True)
class Capture:
    """What is to be captured. Exclusions go before inclusions."""

    inbound_ports: tuple[Ports, ...] = ALL_PORTS
    """Ports of the application. Empty: nothing that comes in is captured."""
    exclude_inbound_ports: tuple[Ports, ...] = ()
    outbound_ports: tuple[Ports, ...] = ()
    """Captured whichever address they are of."""
    exclude_outbound_ports: tuple[Ports, ...] = ()
    outbound_ranges: Ranges = EVERYWHERE
    """Destinations to capture."""
    exclude_outbound_ranges: Ranges = NOWHERE
    exclude_interfaces: tuple[str, ...] = ()
    """What comes in or goes out there is left alone."""
    inbound_to: int = 15_006
    """Port where the sidecar takes what comes in."""
    outbound_to: int = 15_001
    """Port where the sidecar takes what the application sends."""
    dns_to: int | None = None
    """Port of a DNS server on loopback addresses that is to be asked instead of any other; None: DNS is left alone."""
    uid: int = 1337
    """The sidecar's user: what it sends is not captured."""
    gid: int = 1337


@dataclass(frozen=True, slots=True)
class Table:
    """Our share of one `nat` table. A rule's text is what stands behind `-A CHAIN` in iptables-save, word for word."""

    chains: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Names of our own chains with their rules."""
    jumps: tuple[tuple[str, str], ...] = ()
    """Names of the kernel's chains, each with a rule that leads to one of ours."""

    def lines(self) -> list[str]:
        """As iptables-save shows them: chains, jumps, rules."""
        return [
            *(f":{name} - [0:0]" for name, _ in self.chains),
            *(f"-A {chain} {rule}" for chain, rule in self.jumps),
            *(f"-A {name} {rule}" for name, rules in self.chains for rule in rules),
        ]


@dataclass(frozen=True, slots=True)
class Rules:
    """Both tables."""

    ipv4: Table
    ipv6: Table

    def of(self, version: int) -> Table:
        """Of IP `version` 4 or 6."""
        return self.ipv4 if version == 4 else self.ipv6


def plan(capture: Capture) -> Rules:
    """The rules that capture just that."""
    return Rules(ipv4=_table(capture, 4), ipv6=_table(capture, 6))


def _table(capture: Capture, version: int) -> Table:
    chains = (
        (INBOUND, tuple(_inbound(capture))),
        (IN_REDIRECT, (f"-p tcp -j REDIRECT --to-ports {capture.inbound_to}",)),
        (OUTPUT, tuple(_output(capture, version))),
        (REDIRECT, (f"-p tcp -j REDIRECT --to-ports {capture.outbound_to}",)),
    )
    jumps = [("PREROUTING", f"-p tcp -j {INBOUND}"), ("OUTPUT", f"-p tcp -j {OUTPUT}")]
    if capture.dns_to is not None:
        jumps.append(("OUTPUT", f"-p udp -m udp --dport {DNS_PORT} -j {OUTPUT}"))
    return Table(chains, tuple(jumps))


def _inbound(capture: Capture) -> Iterable[str]:
    """Of connections to this pod. Also of those that the sidecar makes to its own pod, where no interface comes in."""
    # RETURN within our chain: rules of others, behind ours, get to see what we leave alone.
    for interface in capture.exclude_interfaces:
        yield f"-i {interface} -j RETURN"
    for port in NEVER_INBOUND:
        yield _tcp(Ports(port, port), "RETURN")
    for ports in capture.exclude_inbound_ports:
        yield _tcp(ports, "RETURN")
    if capture.inbound_ports == ALL_PORTS:
        yield f"-p tcp -j {IN_REDIRECT}"
    else:
        for ports in capture.inbound_ports:
            yield _tcp(ports, IN_REDIRECT)


def _output(capture: Capture, version: int) -> Iterable[str]:
    """Of what processes here send, by whom and to where."""
    for interface in capture.exclude_interfaces:
        yield f"-o {interface} -j RETURN"
    # What the sidecar hands on to its application has been captured on its way in.
    yield f"-s {FORWARDED_FROM[version]} -o lo -j RETURN"
    loopback = LOOPBACK[version]
    for owner in _owners(capture):
        # An application that calls its own service: its sidecar, as a client, has chosen this very pod. It arrives as
        # from any other client, under the same policies, at the ports that are captured.
        yield f"! -d {loopback} -o lo -p tcp {owner} -j {INBOUND}"
    for owner in _owners(capture):
        yield f"{owner} -j RETURN"
    if capture.dns_to is not None:
        # Before loopback is left alone: a server of names may well be there, and the sidecar's own questions have
        # been let through above.
        for protocol in ("udp", "tcp"):
            yield f"-p {protocol} -m {protocol} --dport {DNS_PORT} -j REDIRECT --to-ports {capture.dns_to}"
    # The application's own affair: containers of a pod that talk to each other.
    yield "-o lo -j RETURN"
    yield f"-d {loopback} -j RETURN"
    for ports in capture.exclude_outbound_ports:
        yield _tcp(ports, "RETURN")
    for network in capture.exclude_outbound_ranges.of(version).networks:
        yield f"{_destination(network)}-j RETURN"
    for ports in capture.outbound_ports:
        yield _tcp(ports, REDIRECT)
    wanted = capture.outbound_ranges.of(version)
    if wanted.all:
        yield f"-j {REDIRECT}"
    for network in wanted.networks:
        yield f"{_destination(network)}-j {REDIRECT}"


def _owners(capture: Capture) -> tuple[str, str]:
    return (f"-m owner --uid-owner {capture.uid}", f"-m owner --gid-owner {capture.gid}")


def _tcp(ports: Ports, target: str) -> str:
    return f"-p tcp -m tcp --dport {ports} -j {target}"


def _destination(network: Network) -> str:
    if not network.prefixlen:
        return ""  # iptables-save leaves a /0 away
    # As iptables spells it, by the C library: Python's own ::1:0 is ::0.1.0.0 there.
    family = AF_INET if network.version == 4 else AF_INET6
    return f"-d {inet_ntop(family, network.network_address.packed)}/{network.prefixlen} "
