"""Where captured connections find services: at addresses of their own, at their instances', or by what they say at a
port number that several have."""

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from envoy.config.core.v3.address_pb2 import CidrRange

from control.ir.address import Address
from control.ir.proxy import Proxy
from control.ir.services import Endpoint, Port, Protocol, Resolution, Service

OUTBOUND_PORT = 15001
"""Where outbound connections are redirected to."""

INBOUND_PORT = 15006
"""Where inbound connections are redirected to."""

ANYWHERE = {4: "0.0.0.0", 6: "::"}  # noqa: S104  in a pod's own network namespace
"""By version of IP."""

Shared = list[tuple[Service, Port]]
"""Services that have a port of one number."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a service's port is found: at an address of the service, or at an instance's."""

    port: Port
    at: Address
    instance: Endpoint | None = None


def families(proxy: Proxy) -> tuple[int, ...]:
    """The versions of IP that a pod has, its main address's first."""
    return tuple(dict.fromkeys(6 if ":" in each else 4 for each in proxy.addresses))


def virtual_name(name: str, proxy: Proxy, family: int) -> str:
    """Of the listener for one version of IP."""
    return name if family == families(proxy)[0] else f"{name}_ipv{family}"


def places(service: Service, versions: tuple[int, ...]) -> Iterator[Place]:
    """Ports of bytes, and those of which nobody has said what they carry, at each address of the service; without
    addresses, every port at every instance. Clients know an instance by its address and the service's port."""
    for port in service.ports:
        if port.number in (OUTBOUND_PORT, INBOUND_PORT):
            continue
        found: list[tuple[str, Endpoint | None]]
        if service.addresses:
            found = [] if port.protocol.requests else [(each, None) for each in service.addresses]
        elif service.resolution is Resolution.PUSHED:
            found = [(each.address.host, each) for each in service.endpoints.get(port.number, ())]
        else:
            continue
        for host, instance in found:
            address = ipaddress.ip_address(host)
            if address.version in versions:
                yield Place(port, Address(str(address), port.number), instance)


def shared_numbers(services: Iterable[Service]) -> dict[int, Shared]:
    """By number: ports whose services are told apart by what a connection says: requests by their host, TLS to services
    that have no address of their own by its server name."""
    found: dict[int, Shared] = {}
    for service in services:
        for port in service.ports:
            by_name = port.protocol is Protocol.TLS and service.resolution is Resolution.DNS
            if port.protocol.requests or (by_name and not service.addresses):
                found.setdefault(port.number, []).append((service, port))
    return {number: found[number] for number in sorted(found) if number not in (OUTBOUND_PORT, INBOUND_PORT)}


def request_ranges(ports: Shared, version: int) -> Iterator[CidrRange]:
    """The addresses of the services whose port carries requests, each a range of its own."""
    texts = (each for service, port in ports if port.protocol.requests for each in service.addresses)
    found = {ipaddress.ip_address(each) for each in texts}
    for address in sorted(each for each in found if each.version == version):
        made = CidrRange(address_prefix=str(address))
        made.prefix_len.value = address.max_prefixlen
        yield made
