"""Kubernetes' core Service, v1: a name, its ports, its addresses, and which workloads are behind it."""

import ipaddress
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from control.api.model import Model, Unsupported, wrong
from control.api.protocols import protocol_of
from control.api.scalars import DnsLabel, Int, Labels, PortNumber, Str, shorten

HEADLESS = "None"
"""What `clusterIP` says of a service that has no address of its own: its name stands for its instances' addresses."""


def _cluster_ip(value: str) -> str:
    if value in ("", HEADLESS):
        return value
    try:
        return str(ipaddress.ip_address(value))
    except ValueError as error:
        raise wrong(f"is {shorten(value)}; write an IP address, or None for a headless service") from error


ClusterIp = Annotated[Str, AfterValidator(_cluster_ip)]
"""An address, `None`, or nothing where the API server has not given one yet."""


class ServicePort(Model):
    """One port."""

    port: PortNumber
    name: DnsLabel | None = None
    target_port: Int | Str | None = None
    protocol: Literal["TCP"] = "TCP"
    app_protocol: Str | None = None
    node_port: PortNumber | None = None

    @field_validator("target_port")
    @classmethod
    def _in_range(cls, value: int | str | None) -> int | str | None:
        if isinstance(value, int) and not 0 < value < 65_536:
            raise wrong(f"is {value}; write a port number from 1 to 65535 or a port's name")
        if isinstance(value, str) and not value.replace("-", "").isalnum():
            raise wrong(f"is {shorten(value)}; write a port number from 1 to 65535 or a port's name")
        return value

    @property
    def application_protocol(self) -> str:
        """See `control.api.protocols`."""
        return protocol_of(self.name, self.port, self.app_protocol)


class ServiceSpec(Model):
    """`spec`. What only a cluster's network uses is accepted and has no effect outside one."""

    ports: tuple[ServicePort, ...] = Field(min_length=1)
    selector: Labels = Field(default_factory=dict)
    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    cluster_ip: ClusterIp | None = Field(default=None, alias="clusterIP")
    cluster_ips: tuple[ClusterIp, ...] = Field(default=(), alias="clusterIPs", max_length=2)
    ip_families: Any = None
    ip_family_policy: Any = None
    internal_traffic_policy: Any = None
    external_traffic_policy: Any = None
    session_affinity: Literal["None"] = "None"
    publish_not_ready_addresses: Unsupported = None
    external_name: Unsupported = None

    @field_validator("ports")
    @classmethod
    def _distinct(cls, ports: tuple[ServicePort, ...]) -> tuple[ServicePort, ...]:
        numbers = [port.port for port in ports]
        if len(set(numbers)) != len(numbers):
            raise wrong(f"has a number twice: {numbers}; write each port once")
        names = [port.name for port in ports]
        if len(ports) > 1 and (None in names or len(set(names)) != len(names)):
            raise wrong("has several ports; each needs a name of its own")
        return ports

    @model_validator(mode="after")
    def _one_first_address(self) -> "ServiceSpec":
        """As the API server demands it: the first of the addresses is the address."""
        if self.cluster_ip and self.cluster_ips and self.cluster_ips[0] != self.cluster_ip:
            raise wrong(f"clusterIPs begins with {shorten(self.cluster_ips[0])}, clusterIP is {self.cluster_ip}")
        if HEADLESS in self.cluster_ips and len(self.cluster_ips) > 1:
            raise wrong("clusterIPs has None beside an address; a headless service has no other")
        return self

    @property
    def addresses(self) -> tuple[str, ...]:
        """By which clients reach it, whichever instance answers; none if it is headless or has none yet."""
        given = self.cluster_ips or ((self.cluster_ip,) if self.cluster_ip else ())
        return tuple(each for each in given if each not in ("", HEADLESS))
