"""`networking.istio.io` ServiceEntry: a service outside the mesh that the mesh knows by name."""

import ipaddress
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from control.api.kinds.export import ExportTo
from control.api.model import Model, Unsupported, wrong
from control.api.protocols import Protocol
from control.api.scalars import DnsLabel, HostPattern, Int, Labels, PortNumber, Str, Subdomain, shorten


class EntryPort(Model):
    """A port of the service."""

    number: PortNumber
    """The port that is called."""
    name: DnsLabel
    """What endpoints refer to."""
    protocol: Protocol = "HTTP"
    """HTTP, HTTP2, GRPC, TLS, TCP, ..."""
    target_port: PortNumber | None = None
    """The instances' port, if it is another one."""


class EntryEndpoint(Model):
    """One instance."""

    address: Annotated[Str, Field(max_length=253)]
    """IP address, or a name for DNS."""
    ports: dict[Str, PortNumber] = Field(max_length=32, default_factory=dict)
    """Its own port numbers, by the entry's port names."""
    labels: Labels = Field(max_length=64, default_factory=dict)
    """For subsets."""
    weight: Annotated[Int, Field(ge=1, le=2**31 - 1)] = 1
    """Share beside the others."""
    service_account: Subdomain | None = None
    """Whose identity it has."""
    network: Unsupported = None
    locality: Unsupported = None

    @field_validator("address")
    @classmethod
    def _no_socket(cls, value: str) -> str:
        if value.startswith("unix:"):
            raise wrong(f"is {shorten(value)}; Unix sockets are not supported by Remora yet")
        return value


MAX_CLUSTERS = 1024
"""Of hosts with ports: each port of each host is one."""
MAX_INSTANCES = 4096
"""Endpoints of all of them together."""


class ServiceEntrySpec(Model):
    """`spec`."""

    hosts: tuple[HostPattern, ...] = Field(min_length=1, max_length=256)
    """Names of the service."""
    ports: tuple[EntryPort, ...] = Field(min_length=1, max_length=32)
    """Of the service."""
    location: Literal["MESH_EXTERNAL", "MESH_INTERNAL"] = "MESH_EXTERNAL"
    """Outside the mesh, or of it."""
    resolution: Literal["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN"] = "NONE"
    """How addresses are found."""
    endpoints: tuple[EntryEndpoint, ...] = Field(default=(), max_length=1000)
    """Instances, for STATIC and DNS."""
    subject_alt_names: tuple[Str, ...] = Field(default=(), max_length=64)
    """Names that its certificates may have."""
    export_to: ExportTo = ("*",)
    """Who sees it: everyone, as yet."""
    addresses: Unsupported = None
    workload_selector: Unsupported = None

    @model_validator(mode="after")
    def _of_bearable_size(self) -> "ServiceEntrySpec":
        """A plan takes time in proportion, for every workload that sees the entry."""
        clusters = len(self.hosts) * len(self.ports)
        if clusters > MAX_CLUSTERS:
            raise wrong(
                f"has {len(self.hosts)} hosts with {len(self.ports)} ports each, {clusters:,} in all; at most "
                f"{MAX_CLUSTERS:,} are allowed: split it by host"
            )
        instances = clusters * len(self.endpoints)
        if instances > MAX_INSTANCES:
            raise wrong(
                f"has {len(self.endpoints):,} endpoints for each of {clusters:,} ports of hosts, {instances:,} in all; "
                f"at most {MAX_INSTANCES:,} are allowed: split it by host"
            )
        return self

    @model_validator(mode="after")
    def _endpoints_fit(self) -> "ServiceEntrySpec":
        numbers = [port.number for port in self.ports]
        if len(set(numbers)) != len(numbers):
            raise wrong(f"ports have a number twice: {numbers}")
        names = {port.name for port in self.ports}
        if len(names) != len(self.ports):
            raise wrong("ports have a name twice; names are what endpoints refer to")
        if self.resolution == "NONE" and self.endpoints:
            raise wrong("has endpoints but resolution NONE; write resolution STATIC for addresses, DNS for names")
        if self.resolution == "STATIC" and not self.endpoints:
            raise wrong("has resolution STATIC but no endpoints; write at least one, or resolution DNS")
        if self.location == "MESH_INTERNAL" and self.resolution == "NONE":
            raise wrong("is MESH_INTERNAL without endpoints; write resolution STATIC and endpoints")
        for index, endpoint in enumerate(self.endpoints):
            if self.resolution == "STATIC" and not _is_ip(endpoint.address):
                raise wrong(f"endpoints[{index}].address is {shorten(endpoint.address)}; resolution STATIC needs an IP")
            unknown = set(endpoint.ports) - names
            if unknown:
                raise wrong(f"endpoints[{index}].ports names {sorted(unknown)}; the entry's ports are {sorted(names)}")
        return self

    @field_validator("hosts")
    @classmethod
    def _no_wildcard(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            if host.startswith("*"):
                raise wrong(f"has {host!r}; wildcard hosts are not supported by Remora yet: name each host")
        return hosts


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
