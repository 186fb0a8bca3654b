"""Which filter chain takes a connection. Pure; Envoy's rules, as far as their conditions are supported.

Condition by condition, in this order: destination port, destination address, server name, transport, application
protocols. Each leaves only the chains that name the connection's value most precisely, or those without that condition;
there is no way back to a wider chain when a later condition fails. Whatever no chain takes is the default chain's.
https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/listener/v3/listener_components.proto#config-listener-v3-filterchainmatch
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from sidecar.config.endpoint import Address
from sidecar.config.listener import FilterChain, Listener, TransportMatch


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a connection before anything of it is answered."""

    tls: bool = False
    server_name: str | None = None
    protocols: tuple[str, ...] = ()
    """ALPN as offered, or what plaintext begins with."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a listener must find out to choose; nothing, where it has one chain for all."""

    transport: bool = False
    hello: bool = False
    """Server name and ALPN of TLS."""
    http: bool = False
    """Whether plaintext is HTTP."""


PATIENCE_S = 15.0
"""Envoy's own time-out for listener filters: how long a client that has to speak first may take."""

NOTHING = Wanted()
PLAINTEXT = Facts()
TLS = Facts(tls=True)

T = TypeVar("T")


class Candidates(Generic[T]):
    """The chains that are left when the destination has been looked at, what there is to find out for them, and how
    long that may take."""

    __slots__ = ("chains", "timeout_s", "wanted")

    def __init__(self, config: Listener, chains: Sequence[tuple[FilterChain, T]]) -> None:
        self.chains = chains
        self.wanted = wanted(config, [chain for chain, _ in chains])
        silent = choose(PLAINTEXT, [(chain, chain) for chain, _ in chains], config.default_chain)
        # Silence says something only where the server may be the first to speak; else the client is just late.
        patient = config.serve_undetected and (silent is None or silent.tcp is None)
        self.timeout_s = max(config.detect_timeout_s, PATIENCE_S) if patient else config.detect_timeout_s


class Destinations(Generic[T]):
    """A listener's chains by where connections were going."""

    def __init__(self, config: Listener, chains: Sequence[tuple[FilterChain, T]]) -> None:
        ports: dict[int | None, list[tuple[FilterChain, T]]] = {None: []}
        for each in chains:
            ports.setdefault(each[0].destination_port, []).append(each)
        self._ports = {port: _Ranges(config, found) for port, found in ports.items()}
        self._any = self._ports[None]
        apart = len(self._ports) > 1 or self._any.ranges or self._any.exact
        self.only = None if apart else self._any.plain
        """Where no chain asks for a destination: all of them."""

    def of(self, destination: Address) -> Candidates[T]:
        """Those of the destination's port or, where no chain names that one, those that name none."""
        ranges = self._ports.get(destination.port, self._any)
        exactly = ranges.exact.get(destination.host)
        if exactly is not None:
            return exactly
        if ranges.ranges:
            address = ipaddress.ip_address(destination.host)
            for network, candidates in ranges.ranges:
                if address in network:
                    return candidates
        return ranges.plain


class _Ranges(Generic[T]):
    """The chains of one port: by single address, of which there may be thousands; by range, the narrowest first; and
    those without."""

    __slots__ = ("exact", "plain", "ranges")

    def __init__(self, config: Listener, chains: Sequence[tuple[FilterChain, T]]) -> None:
        found: dict[str, list[tuple[FilterChain, T]]] = {}
        for each in chains:
            for text in each[0].destinations:
                found.setdefault(text, []).append(each)
        made: dict[tuple[int, ...], Candidates[T]] = {}  # most ranges are of one chain, and so all alike
        self.exact: dict[str, Candidates[T]] = {}
        ranges: list[tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, Candidates[T]]] = []
        for text, among in found.items():
            key = tuple(id(chain) for chain, _ in among)
            candidates = made.get(key)
            if candidates is None:
                candidates = made[key] = Candidates(config, among)
            network = ipaddress.ip_network(text)
            if network.num_addresses == 1:
                self.exact[str(network.network_address)] = candidates
            else:
                ranges.append((network, candidates))
        self.ranges = sorted(ranges, key=lambda each: -each[0].prefixlen)
        self.plain = Candidates(config, [each for each in chains if not each[0].destinations])


def wanted(config: Listener, chains: Sequence[FilterChain] | None = None) -> Wanted:
    """Only what makes a difference between the chains, by default all of the listener's, is looked for."""
    if chains is None:
        chains = config.filter_chains
    by_hello = config.detect_tls and any(
        chain.server_names or (chain.application_protocols and chain.transport is not TransportMatch.RAW)
        for chain in chains
    )
    by_http = config.detect_http and any(
        chain.application_protocols and chain.transport is not TransportMatch.TLS for chain in chains
    )
    transport = any(chain.transport is not TransportMatch.ANY for chain in chains)
    if not (by_hello or by_http or transport):
        return NOTHING
    return Wanted(True, by_hello, by_http)


def choose(facts: Facts, chains: Sequence[tuple[FilterChain, T]], default: T | None) -> T | None:
    """The value of the chain that takes the connection; None: nobody does."""
    left = _by_name(facts.server_name, chains)
    transport = TransportMatch.TLS if facts.tls else TransportMatch.RAW
    precise = [each for each in left if each[0].transport is transport]
    left = precise or [each for each in left if each[0].transport is TransportMatch.ANY]
    for protocol in facts.protocols:
        found = [each for each in left if protocol in each[0].application_protocols]
        if found:
            return found[0][1]
    left = [each for each in left if not each[0].application_protocols]
    return left[0][1] if left else default


def _by_name(name: str | None, chains: Sequence[tuple[FilterChain, T]]) -> list[tuple[FilterChain, T]]:
    if name is not None:
        found = [each for each in chains if name in each[0].server_names]
        if found:
            return found
        _, dot, suffix = name.partition(".")
        while dot:
            pattern = f"*.{suffix}"
            found = [each for each in chains if pattern in each[0].server_names]
            if found:
                return found
            _, dot, suffix = suffix.partition(".")
    return [each for each in chains if not each[0].server_names]
