"""The collector process: puts the parts together, says when it serves, stops in order."""

import asyncio
import contextlib
import json
import logging
import os
import socket
import ssl
import sys
from collections.abc import Sequence
from typing import Any

from collectors.exporters.sqlite import StoreExporter
from collectors.health import Health
from collectors.identity import Authority, Identity, IdentityError
from collectors.options import Address, Options, parse
from collectors.pipeline import Gate
from collectors.processors.redaction import Redaction
from collectors.receivers.claims import Claims
from collectors.receivers.forward import Authenticate, ForwardReceiver
from collectors.receivers.members import MembersFile
from collectors.receivers.otlp_grpc import OtlpGrpcReceiver, mesh_peers
from collectors.receivers.otlp_http import OtlpHttpReceiver
from collectors.receivers.scrape import Job, Scraper
from collectors.store import Limits, Store, StoreError
from collectors.telemetry import Telemetry
from collectors.tls import PeerRefused, ServerTls, authenticate_der, server_credentials
from collectors.web import WebServer
from mesh import logs
from mesh.clock import SystemClock, system_rng
from mesh.files import NotPrivate
from mesh.lifecycle import TaskScope, on_stop_signals, wait_for_lifeline
from mesh.spiffe import SpiffeId

__all__ = ["Options", "main", "parse", "run"]

_log = logging.getLogger("remora.collect")

MAX_QUEUED_BYTES = 64 * 1024 * 1024
"""Of records received and not stored yet; beyond it senders wait."""
_IDENTITY_DEADLINE_S = 30.0
_CLOSE_S = 3.0


def run(options: Options) -> int:
    """Serve until SIGTERM, SIGINT or the end of the lifeline. Returns the exit status: 0, or 1 after a mistake, which
    is one line on standard error."""
    logs.setup(options.log_level)
    try:
        asyncio.run(_Collector(options).serve())
    except (StoreError, IdentityError, NotPrivate, OSError) as error:
        print(f"remora collect: {error}", file=sys.stderr)
        return 1
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Parse and run."""
    return run(parse(sys.argv[1:] if argv is None else argv))


class _Collector:
    def __init__(self, options: Options) -> None:
        self._options = options
        self._clock = SystemClock()
        self._rng = system_rng()
        self._telemetry = Telemetry()
        authority = Authority(options.control, options.control_ads, options.root, options.token_file)
        self._identity = Identity(authority, self._clock, self._rng)

    async def serve(self) -> None:
        """Everything, from the first certificate to the last commit."""
        stop = asyncio.Event()
        undo_signals = on_stop_signals(stop.set)
        try:
            async with TaskScope() as scope, contextlib.AsyncExitStack() as stack:
                if self._options.lifeline_fd is not None:
                    scope.spawn(_until_gone(self._options.lifeline_fd, stop), name="lifeline")
                starting = scope.spawn(self._start(scope, stack), name="start")
                stopping = scope.spawn(stop.wait(), name="stop")
                await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
                if not starting.done():
                    starting.cancel()
                    await asyncio.wait((starting,))
                    return
                await starting
                failed = scope.spawn(scope.wait_failed(), name="failure")
                await asyncio.wait((stopping, failed), return_when=asyncio.FIRST_COMPLETED)
                if failed.done() and not stopping.done():
                    await failed
                _log.info("stopping")
        finally:
            undo_signals()

    async def _start(self, scope: TaskScope, stack: contextlib.AsyncExitStack) -> None:
        options = self._options
        limits = Limits(retention_s=options.retention_hours * 3600, max_bytes=options.max_store_mib << 20)
        path = options.state / "store" / "telemetry.sqlite"
        targets = options.state / "targets.json"
        # Closed last: what receivers still hand over is committed first.
        store = await asyncio.to_thread(Store.open, path, limits=limits, clock=self._clock)
        stack.push_async_callback(asyncio.to_thread, store.close)
        # Ports first: one that is taken shall be known at once and not after the certificate.
        sockets = {
            name: _bind(address)
            for name, address in (
                ("forward", options.forward),
                ("otlp_http", options.otlp_http),
                ("health", options.health),
                ("plaintext_forward", options.plaintext_forward),
            )
            if address is not None
        }
        credentials = await self._identity.obtain(deadline_s=_IDENTITY_DEADLINE_S)
        trust_domain = credentials.identity.trust_domain
        gate = Gate(Redaction(StoreExporter(store)), MAX_QUEUED_BYTES)
        self._telemetry.watch(store, gate, lambda: self._identity.credentials.not_after)

        def authenticate(connection: ssl.SSLObject) -> SpiffeId:
            return authenticate_der(connection.getpeercert(binary_form=True), trust_domain)

        tls, web_tls = ServerTls(credentials), ServerTls(credentials, alpn=("http/1.1",))
        self._identity.on_change(tls.update)
        self._identity.on_change(web_tls.update)

        claims = Claims(MembersFile(targets).present, self._telemetry, self._clock)
        forward = ForwardReceiver(gate, self._telemetry, self._clock, claims)
        stack.push_async_callback(forward.close, _CLOSE_S)
        otlp_grpc = OtlpGrpcReceiver(gate, self._telemetry, self._clock, claims, mesh_peers(trust_domain))
        stack.push_async_callback(otlp_grpc.close, _CLOSE_S)
        otlp_http = WebServer(
            OtlpHttpReceiver(gate, self._telemetry, self._clock, claims),
            tls=web_tls.context,
            identify=lambda connection: _identified(authenticate, connection),
        )
        stack.push_async_callback(otlp_http.close)
        health = WebServer(Health(store, self._telemetry))
        stack.push_async_callback(health.close)

        ready = {name: _shown(sock) for name, sock in sockets.items()}
        await forward.listen(sockets["forward"], tls.context, authenticate)
        if "plaintext_forward" in sockets:
            await forward.listen(sockets["plaintext_forward"], None)
        grpc_host, grpc_port = options.otlp_grpc
        grpc_port = await otlp_grpc.listen(
            _join(grpc_host, grpc_port), server_credentials(lambda: self._identity.credentials)
        )
        ready["otlp_grpc"] = _join(grpc_host, grpc_port)
        await otlp_http.listen(sockets["otlp_http"])
        await health.listen(sockets["health"])
        job = Job(files=(targets,), interval_s=options.scrape_interval_s)
        scraper = Scraper(job, gate, self._telemetry, self._clock, self._rng)
        # Ended before the receivers: its last samples mark the ends of series.
        background = await stack.enter_async_context(TaskScope())
        background.spawn(scraper.run(), name="scraper")
        background.spawn(self._identity.keep_renewed(), name="identity")
        background.spawn(self._identity.follow_roots(), name="roots")
        scope.spawn(background.wait_failed(), name="background")
        _log.info("collecting: %s", ", ".join(f"{name} {address}" for name, address in sorted(ready.items())))
        if options.ready_fd is not None:
            with os.fdopen(options.ready_fd, "w") as file:
                file.write(json.dumps(ready) + "\n")


def _identified(authenticate: Authenticate, connection: Any) -> SpiffeId | None:
    try:
        return authenticate(connection)
    except PeerRefused as error:
        _log.warning("refused a peer of OTLP/HTTP: %s", error)
        return None


async def _until_gone(fd: int, stop: asyncio.Event) -> None:
    await wait_for_lifeline(fd)
    stop.set()


def _bind(address: Address) -> socket.socket:
    """A listening socket. Raises OSError that names the address."""
    host, port = address
    family, _, _, _, name = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Restarted at once on the same ports, with old connections still in TIME_WAIT.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(name)
        sock.listen(512)
    except OSError as error:
        sock.close()
        raise OSError(f"cannot listen on {_join(host, port)}: {error.strerror}") from error
    return sock


def _shown(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return _join(host, port)


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
