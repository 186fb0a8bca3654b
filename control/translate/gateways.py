"""Gateways to gateways of the mesh."""

from control.api.hosts import full_name
from control.api.kinds.gateway import GatewaySpec, Server
from control.api.world import World
from control.ir.mesh import Gateway, GatewayServer, GatewayTls
from control.ir.services import Protocol
from control.translate.protocols import protocol


def gateways(world: World) -> dict[str, Gateway]:
    """By `NAMESPACE/NAME`, oldest first."""
    found = {}
    for resource in world.of_kind("Gateway"):
        spec = resource.spec
        assert isinstance(spec, GatewaySpec)
        servers = tuple(_server(server, resource.namespace) for server in spec.servers)
        found[f"{resource.namespace}/{resource.name}"] = Gateway(
            resource.name, resource.namespace, spec.selector, servers
        )
    return found


def _server(server: Server, namespace: str) -> GatewayServer:
    hosts, namespaces = [], []
    for written in server.hosts:
        within, _, host = written.rpartition("/")
        # A host without a dot is a service of the gateway's namespace, as in rules.
        hosts.append(full_name(host, namespace, ()))
        namespaces.append(namespace if within == "." else within or "*")
    speaks, tls = _protocol(server)
    return GatewayServer(server.port.number, tuple(hosts), tuple(namespaces), speaks, tls)


def _protocol(server: Server) -> tuple[Protocol, GatewayTls | None]:
    """What the port speaks; where the gateway ends TLS, what is within it and how it is ended."""
    said = server.port.protocol
    tls = server.tls
    if tls is None or tls.mode == "PASSTHROUGH":
        return protocol(said), None
    ends = GatewayTls(
        tls.server_certificate or "",
        tls.private_key or "",
        tls.ca_certificates,
        tls.min_protocol_version == "TLSV1_3",
        tls.credential_name or "",
        tls.mode == "MUTUAL",
    )
    return Protocol.HTTP if said == "HTTPS" else Protocol.TCP, ends
