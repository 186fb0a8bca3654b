"""`networking.istio.io` Gateway: which ports and hosts the mesh answers at its edge."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from control.api.model import Model, Unsupported, wrong
from control.api.scalars import DnsLabel, Labels, PortNumber, Str, check_host, shorten


def _protocol(value: object) -> object:
    if not isinstance(value, str):
        raise wrong(f"is {shorten(value)}; write HTTP")
    upper = value.upper()
    if upper != "HTTP":
        raise wrong(f"is {shorten(value)}; Remora supports HTTP so far")
    return upper


Protocol = Annotated[Literal["HTTP"], BeforeValidator(_protocol)]


def _server_host(value: str) -> str:
    namespace, slash, host = value.rpartition("/")
    if slash and namespace not in ("*", ".") and not namespace.replace("-", "").isalnum():
        raise wrong(f"{shorten(value)} is not NAMESPACE/HOST")
    return f"{namespace}{slash}{check_host(host, wildcard=True)}"


class ServerPort(Model):
    """A port of the gateway's service."""

    number: PortNumber
    name: DnsLabel
    protocol: Protocol
    target_port: Unsupported = None


class Server(Model):
    """A port and the hosts answered on it."""

    port: ServerPort
    hosts: tuple[Annotated[Str, AfterValidator(_server_host)], ...] = Field(min_length=1)
    name: Str | None = None
    tls: Unsupported = None
    bind: Unsupported = None
    default_endpoint: Unsupported = None


class GatewaySpec(Model):
    """`spec`."""

    selector: Labels = Field(min_length=1)
    servers: tuple[Server, ...] = Field(min_length=1)
