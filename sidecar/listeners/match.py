"""Which filter chain takes a connection. Pure; Envoy's rules, as far as their conditions are supported.

Condition by condition, in this order: server name, transport, application protocols. Each leaves only the chains that
name the connection's value most precisely, or those without that condition; there is no way back to a wider chain when
a later condition fails. Whatever no chain takes is the default chain's.
https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/listener/v3/listener_components.proto#config-listener-v3-filterchainmatch
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

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


NOTHING = Wanted()
PLAINTEXT = Facts()
TLS = Facts(tls=True)

T = TypeVar("T")


def wanted(config: Listener) -> Wanted:
    """Only what makes a difference between the chains is looked for."""
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
