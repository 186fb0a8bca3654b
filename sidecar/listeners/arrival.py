"""Who has connected: what mutual TLS proves, and what follows from it for every request of the connection."""

from typing import Any

from sidecar.config.endpoint import Address
from sidecar.listeners.admission import Admission, client_certificate_header
from sidecar.listeners.client_stream import ClientStream
from sidecar.net.peer import check_client
from sidecar.net.tls import requested_server_name


def identify(client: ClientStream, transport: Any, destination: Address | None) -> None:
    """Set `client`'s peer, admission and binding. `destination`: where a redirected connection was going, which stands
    for its local address then. Raises PeerRefused."""
    context = client.context
    remote = transport.get_extra_info("peername") or ("", 0)
    local = transport.get_extra_info("sockname") or ("", 0)
    tls = transport.get_extra_info("ssl_object")
    certificate: bytes | None = None
    server_name: str | None = None
    client.peer = None
    if tls is not None:
        server_name = requested_server_name(tls)
        identity = check_client(tls, context.trust_domains)
        if identity is not None and identity.spiffe is not None:
            client.peer = str(identity.spiffe)
            certificate = client_certificate_header(context.own_identity, identity.sha256, client.peer)
    config = context.config
    process = context.process
    client.admission = Admission(
        process.ids,
        trusted=config.trust_forwarded,
        address=str(remote[0]),
        secure=tls is not None,
        client_certificate=certificate,
    )
    client.admission.destination = destination
    client.binding = process.telemetry.downstream(
        context.direction,
        _place(local) if destination is None else str(destination),
        _place(remote),
        principal=client.peer,
        server_name=server_name,
        access_log=config.access_log,
        trace=config.trace,
    )


def _place(address: tuple[Any, ...]) -> str:
    host = str(address[0])
    return f"[{host}]:{address[1]}" if ":" in host else f"{host}:{address[1]}"
