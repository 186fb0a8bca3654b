"""TLS to the collector's forward input, for a blocking socket: mutual, 1.3, and only the collector itself."""

import socket
import ssl
from collections.abc import Callable
from typing import Any

from mesh.spiffe import SpiffeId
from sidecar.agent.channels import COLLECTOR_NAME, Credentials
from sidecar.config.cluster import UpstreamTls
from sidecar.config.secret import Certificate, TrustAnchors
from sidecar.net.peer import PeerRefused, check_server
from sidecar.net.tls import UnusableSecret, client_context


class NotTheCollector(OSError):
    """The peer could not prove that it is the collector, or we could not prove who we are."""


def secure(credentials: Callable[[], Credentials], trust_domain: str) -> Callable[[socket.socket], ssl.SSLSocket]:
    """What makes a connected socket a TLS one, with the credentials of that moment. Raises OSError."""
    collector = SpiffeId(trust_domain, "remora-system", "remora-collector")
    tls = UpstreamTls(sni=COLLECTOR_NAME, certificate="default", validation="ROOTCA", sans=(str(collector),))

    def wrap(plain: socket.socket) -> ssl.SSLSocket:
        present = credentials()
        if present.chain_pem is None or present.key_pem is None:
            raise NotTheCollector("there is no certificate yet")
        try:
            context = client_context(
                tls,
                Certificate("default", present.chain_pem, present.key_pem),
                TrustAnchors("ROOTCA", present.roots_pem),
            )
        except UnusableSecret as error:
            raise NotTheCollector(str(error)) from error
        wrapped: Any = context.wrap_socket(plain, server_hostname=COLLECTOR_NAME)
        try:
            check_server(wrapped, tls.sans)
        except PeerRefused as error:
            wrapped.close()
            raise NotTheCollector(str(error)) from error
        secured: ssl.SSLSocket = wrapped
        return secured

    return wrap
