"""A workload as it registered: the record of the registry and the body of `POST /v1/workloads`."""

import ipaddress
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from control.api.locality import NOWHERE, Locality
from control.api.model import wrong
from control.api.protocols import AUTO, REQUESTS, protocol_of
from control.api.scalars import DnsLabel, HostName, Labels, PortNumber, Str, Subdomain, shorten


def _host_port(value: str) -> str:
    split_host_port(value)
    return value


def split_host_port(value: str) -> tuple[str, int]:
    """`127.0.0.1:80` or `[::1]:80` as its parts. Raises PydanticCustomError (a ValueError)."""
    host, colon, port = value.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        ipaddress.ip_address(host)
        number = int(port) if port.isascii() and port.isdigit() else 0
    except ValueError:
        number = 0
    if not colon or not 0 < number < 65_536:
        raise wrong(f"is {shorten(value)}; write IP:PORT, such as 127.0.0.1:9080")
    return host, number


def _admin_url(value: str) -> str:
    """People follow it from the console: nothing but a web address, of nobody's user and password."""
    if not value:
        return value
    try:
        url = urlsplit(value)
        port = url.port
    except ValueError as error:
        raise wrong(f"is {shorten(value)}; write http://HOST:PORT") from error
    plain = url.scheme in ("http", "https") and url.hostname and "@" not in url.netloc and "\\" not in value
    if not plain or port == 0 or url.path not in ("", "/") or url.query or url.fragment:
        raise wrong(f"is {shorten(value)}; write http://HOST:PORT")
    return value


def _metrics_address(value: str) -> str:
    return _host_port(value) if value else value


HostPort = Annotated[Str, AfterValidator(_host_port)]
OneLine = Annotated[Str, Field(max_length=512, pattern=r"^[^\x00-\x1f\x7f]*$")]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _ip(value: str) -> str:
    try:
        return str(ipaddress.ip_address(value))
    except ValueError as error:
        raise wrong(f"is {shorten(value)}; write an IP address, such as 10.0.0.7") from error


IpAddress = Annotated[Str, AfterValidator(_ip)]
"""IPv4 or IPv6, in its canonical form."""


class AppPort(_Record):
    """A port of the service, and where the application listens for it."""

    name: Annotated[Str, Field(max_length=63)] = "http"
    service_port: PortNumber
    """The number that clients know; of a captured workload the application's own one, since what arrives there is told
    apart by it (Istio: `inbound|TARGET_PORT||`)."""
    app: HostPort
    inbound: HostPort | None = None
    """Where the sidecar accepts connections for this port alone; None: at the workload's address, with others."""

    @property
    def protocol(self) -> str:
        """What the port's name says: see `control.api.protocols`."""
        return protocol_of(self.name, self.service_port)


class TcpOutbound(_Record):
    """A port of a service for applications that know no HTTP proxy: whoever connects to `listen` is there."""

    service: HostName
    port: PortNumber
    listen: HostPort


class Workload(_Record):
    """One instance of a service, a client, or a gateway, with its sidecar's addresses."""

    name: Subdomain
    namespace: DnsLabel = "default"
    kind: Literal["sidecar", "gateway"] = "sidecar"
    service: DnsLabel | None = None
    """Member of this service of its namespace; None: a client only, unless a Service selects its labels."""
    version: Annotated[Str, Field(max_length=63)] = ""
    service_account: Subdomain = "default"
    labels: Labels = Field(default_factory=dict)
    ports: tuple[AppPort, ...] = Field(default=(), max_length=64)
    inbound: HostPort | None = None
    outbound: HostPort | None = None
    tcp_outbound: tuple[TcpOutbound, ...] = Field(default=(), max_length=64)
    gateway_ports: dict[Str, HostPort] = Field(default_factory=dict, max_length=64)
    """Port numbers of Gateway resources, as text, to the address bound for each."""
    admin: Annotated[OneLine, AfterValidator(_admin_url)] = ""
    """URL of its sidecar's admin pages."""
    metrics: Annotated[OneLine, AfterValidator(_metrics_address)] = ""
    addresses: tuple[IpAddress, ...] = Field(default=(), max_length=8)
    """Of a pod, the one by which it is known first; its ports are at these. Empty: addresses are all loopback's."""
    capture: bool = False
    """Its connections are redirected to its sidecar, in both directions, which learns where they were going."""
    finished: bool = False
    """It ended and does not come back (a Job's pod): member of no service."""
    owner: Annotated[Str, Field(max_length=253)] = ""
    """The Deployment, StatefulSet, ... whose instance it is; empty: it is its own."""
    canonical_service: Annotated[Str, Field(max_length=63)] = ""
    """What telemetry calls the service that it is of, whichever name a client used."""
    canonical_revision: Annotated[Str, Field(max_length=63)] = ""
    locality: Locality = NOWHERE
    cluster: Annotated[Str, Field(max_length=253)] = ""
    """Where it runs, if that is not the control plane's own cluster."""

    @model_validator(mode="after")
    def _consistent(self) -> "Workload":
        for port in self.gateway_ports:
            if not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
                raise wrong(f"gateway_ports has {shorten(port)}; its names are port numbers, such as 80")
        numbers = [port.service_port for port in self.ports]
        if len(set(numbers)) != len(numbers):
            raise wrong(f"ports names a service_port twice: {numbers}")
        if len(set(self.addresses)) != len(self.addresses):
            raise wrong(f"addresses has an address twice: {', '.join(self.addresses)}")
        if self.capture and not self.addresses:
            raise wrong("has capture but no addresses; captured connections are told apart by the pod's addresses")
        if self.addresses:
            self._check_pod()
        elif self.ports and self.inbound is None:
            raise wrong("has ports but no inbound address at which its sidecar accepts requests for them")
        self._check_addresses()
        return self

    def _check_pod(self) -> None:
        """What a pod's application listens on is at the pod's addresses, and what is captured arrives nowhere else."""
        for port in self.ports:
            host, number = split_host_port(port.app)
            if str(ipaddress.ip_address(host)) not in self.addresses:
                raise wrong(f"port {port.service_port} is at {port.app}, not at one of {', '.join(self.addresses)}")
            if self.capture and number != port.service_port:
                raise wrong(
                    f"port {port.service_port} is captured and at {port.app}; write service_port {number}: what is "
                    "captured is told apart by the application's own port"
                )
            if port.inbound is not None:
                raise wrong(f"port {port.service_port} has both an inbound address and the pod's")
        if self.capture and (self.inbound or self.outbound or self.tcp_outbound):
            raise wrong("has capture; inbound, outbound and tcp_outbound are for applications that are not captured")

    def _check_addresses(self) -> None:
        """At one address several ports are told apart by what requests say, which bytes do not."""
        at: dict[str, list[AppPort]] = {}
        for port in self.ports if not self.addresses else ():
            at.setdefault(port.inbound or self.inbound or "", []).append(port)
        for address, ports in at.items():
            mute = [port for port in ports if port.protocol not in REQUESTS and port.protocol != AUTO]
            if mute and len(ports) > 1:
                raise wrong(
                    f"port {mute[0].service_port} is {mute[0].protocol} and shares {address} with others; "
                    "give it an inbound address of its own"
                )
        listens = [self.outbound, *(each for each in at if each), *(each.listen for each in self.tcp_outbound)]
        taken = [each for each in listens if each is not None]
        if len(set(taken)) != len(taken):
            raise wrong(f"has one address for two purposes: {', '.join(sorted(taken))}")

    @property
    def node_id(self) -> str:
        """`sidecar~IP~WORKLOAD.NAMESPACE~NAMESPACE.svc.cluster.local`, as Istio writes it (`router` for a gateway)."""
        address = self.inbound or self.outbound or next(iter(self.gateway_ports.values()), "127.0.0.1:1")
        kind = "router" if self.kind == "gateway" else "sidecar"
        host = self.addresses[0] if self.addresses else split_host_port(address)[0]
        return f"{kind}~{host}~{self.name}.{self.namespace}~{self.namespace}.svc.cluster.local"

    @property
    def effective_labels(self) -> dict[str, str]:
        """Labels that rules select by: what was given, `app` and `version` added where they are missing."""
        labels = dict(self.labels)
        labels.setdefault("app", self.service or self.name)
        if self.version:
            labels.setdefault("version", self.version)
        return labels
