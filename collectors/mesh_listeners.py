"""The listeners that the flags name: forward protocol and OTLP with mutual TLS of the mesh, the scraper of the mesh's
targets, and the forward protocol in plaintext on loopback."""

import logging
import random
import socket
import ssl
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collectors.identity import CONTROL_NAME, Identity
from collectors.options import Options
from collectors.pipeline import Consumer
from collectors.receivers.claims import Claims
from collectors.receivers.forward import Authenticate, ForwardReceiver
from collectors.receivers.otlp_grpc import OtlpGrpcReceiver, mesh_peers
from collectors.receivers.otlp_http import OtlpHttpReceiver
from collectors.receivers.otlp_intake import Intake
from collectors.receivers.scrape import Job, Scraper
from collectors.receivers.scrape_fetch import Access
from collectors.sockets import bind, join, shown
from collectors.telemetry import Telemetry
from collectors.tls import PeerRefused, ServerTls, authenticate_der, mesh_trust, server_credentials
from collectors.web import WebServer
from mesh.clock import Clock
from mesh.lifecycle import TaskScope
from mesh.spiffe import SpiffeId

_log = logging.getLogger("remora.collect")

_CLOSE_S = 3.0


@dataclass(frozen=True, slots=True)
class Parts:
    """What listeners are made with."""

    consumer: Consumer
    telemetry: Telemetry
    clock: Clock
    rng: random.Random
    claims: Claims
    targets: Path
    """The mesh's workloads, in file_sd's format."""


class MeshListeners:
    """Bind first, so that a port that is taken is known at once; serve once there is a certificate."""

    def __init__(self, options: Options, *, scrapes: bool = True) -> None:
        """`scrapes`: the mesh's targets too, which the settings may do instead. Raises OSError that names the
        address."""
        self._options = options
        self._scrapes = scrapes
        self._sockets: dict[str, socket.socket] = {}
        wanted = {"plaintext_forward": options.plaintext_forward}
        if options.control is not None:
            wanted |= {"forward": options.forward, "otlp_http": options.otlp_http}
        for name, address in wanted.items():
            if address is not None:
                self._sockets[name] = bind(address)

    async def serve(
        self, parts: Parts, identity: Identity | None, stack: AsyncExitStack, background: TaskScope
    ) -> dict[str, str]:
        """Returns the addresses. `stack` ends the receivers, `background`, ended before them, what runs besides."""
        forward = ForwardReceiver(parts.consumer, parts.telemetry, parts.clock, parts.claims)
        stack.push_async_callback(forward.close, _CLOSE_S)
        ready = {name: shown(sock) for name, sock in self._sockets.items()}
        if identity is not None:
            ready["otlp_grpc"] = await self._serve_mesh(parts, identity, forward, stack)
        if identity is not None and self._scrapes:
            # Workloads by http; control planes of a cluster, by their addresses, under the name that they all have.
            scraper = Scraper(
                Job(
                    files=(parts.targets,),
                    interval_s=self._options.scrape_interval_s,
                    access=Access(lambda: mesh_trust(identity.credentials), server_name=CONTROL_NAME),
                ),
                parts.consumer,
                parts.telemetry,
                parts.clock,
                parts.rng,
            )
            # Its last samples mark the ends of series.
            background.spawn(scraper.run(), name="scraper")
        if "plaintext_forward" in self._sockets:
            await forward.listen(self._sockets["plaintext_forward"], None)
        return ready

    async def _serve_mesh(
        self, parts: Parts, identity: Identity, forward: ForwardReceiver, stack: AsyncExitStack
    ) -> str:
        """Returns the address of OTLP/gRPC, which gRPC binds itself."""
        credentials = identity.credentials
        trust_domain = credentials.identity.trust_domain

        def authenticate(connection: ssl.SSLObject) -> SpiffeId:
            return authenticate_der(connection.getpeercert(binary_form=True), trust_domain)

        tls, web_tls = ServerTls(credentials), ServerTls(credentials, alpn=("http/1.1",))
        identity.on_change(tls.update)
        identity.on_change(web_tls.update)
        grpc_intake, http_intake = (
            Intake(name, parts.consumer, parts.telemetry, parts.clock, parts.claims)
            for name in ("otlp_grpc", "otlp_http")
        )
        otlp_grpc = OtlpGrpcReceiver(grpc_intake, mesh_peers(trust_domain))
        stack.push_async_callback(otlp_grpc.close, _CLOSE_S)
        otlp_http = WebServer(
            OtlpHttpReceiver(http_intake),
            tls=web_tls.context,
            identify=lambda connection: _identified(authenticate, connection),
        )
        stack.push_async_callback(otlp_http.close)
        await forward.listen(self._sockets["forward"], tls.context, authenticate)
        host, port = self._options.otlp_grpc
        port = await otlp_grpc.listen(join(host, port), server_credentials(lambda: identity.credentials))
        await otlp_http.listen(self._sockets["otlp_http"])
        return join(host, port)


def _identified(authenticate: Authenticate, connection: Any) -> SpiffeId | None:
    try:
        return authenticate(connection)
    except PeerRefused as error:
        _log.warning("refused a peer of OTLP/HTTP: %s", error)
        return None
