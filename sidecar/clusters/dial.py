"""Make a connection to an endpoint, TLS and the look at the peer's certificate included, or say why there is none."""

import asyncio
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, cast

from mesh.clock import Clock
from mesh.lifecycle import TaskScope
from sidecar.clusters.upstream import ConnectFailed
from sidecar.config.cluster import Cluster
from sidecar.config.endpoint import Address
from sidecar.net.outbox import Outbox
from sidecar.net.timers import TimerWheel
from sidecar.net.tls_stream import TlsStream

_IP_BIND_ADDRESS_NO_PORT: Final = 24  # linux/in.h; Python has no name for it


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every pool of a process shares."""

    loop: asyncio.AbstractEventLoop
    scope: TaskScope
    """Dialling is the only thing here that takes a task."""
    clock: Clock
    timers: TimerWheel
    outbox: Outbox


@dataclass(frozen=True, slots=True)
class Security:
    """How an endpoint is spoken to: the context already has our certificate and the trust anchors."""

    context: ssl.SSLContext
    sni: str | None
    sans: tuple[str, ...]


async def dial(
    address: Address,
    security: Security | None,
    config: Cluster,
    loop: asyncio.AbstractEventLoop,
    make: Callable[[socket.socket], Any],
    outbox: Outbox | None = None,
    ready: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """As the cluster's `config` says. `make` gets the connected socket and returns the loop's protocol; after TLS, if
    any, its `connection_made` has been called; then `ready`, if any, is awaited. `outbox`: where TLS gathers what it
    writes. Raises ConnectFailed."""
    try:
        async with asyncio.timeout(config.connect_timeout_s):
            sock = _socket_for(address, config)
            transport: asyncio.Transport | None = None
            try:
                await loop.sock_connect(sock, (address.host, address.port))
                protocol = cast(asyncio.Protocol, make(sock))
                if security is None:
                    transport, _ = await loop.create_connection(lambda: protocol, sock=sock)
                else:
                    tls = TlsStream(
                        protocol,
                        security.context,
                        loop,
                        server_side=False,
                        server_hostname=security.sni,
                        outbox=outbox,
                    )
                    transport, _ = await loop.create_connection(lambda: tls, sock=sock)
                    await tls.shake_hands()
                if ready is not None:
                    await ready()
            except BaseException:
                if transport is not None:
                    transport.abort()
                else:
                    sock.close()
                raise
    except TimeoutError:
        raise ConnectFailed("connection timeout", timed_out=True) from None
    except ssl.SSLCertVerificationError as error:
        raise ConnectFailed(f"TLS_error: CERTIFICATE_VERIFY_FAILED: {error.verify_message}") from error
    except ssl.SSLError as error:
        raise ConnectFailed(f"TLS_error: {error.reason or 'handshake failed'}") from error
    except OSError as error:
        # libuv's and asyncio's own texts carry the address, which is ours to know.
        known = os.strerror(error.errno) if error.errno else type(error).__name__
        raise ConnectFailed(f"delayed connect error: {known}") from error


def _socket_for(address: Address, config: Cluster) -> socket.socket:
    """A non-blocking TCP socket without Nagle's delay. Raises OSError."""
    keepalive = config.tcp_keepalive
    sock = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for source in config.source_addresses:
            if (":" in source) == (":" in address.host):
                # The port is chosen at connect: so there are as many as without, for each address connected to.
                sock.setsockopt(socket.SOL_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
                sock.bind((source, 0))
                break
        if keepalive is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in (
                (socket.TCP_KEEPIDLE, keepalive.time_s),
                (socket.TCP_KEEPINTVL, keepalive.interval_s),
                (socket.TCP_KEEPCNT, keepalive.probes),
            ):
                if value:
                    sock.setsockopt(socket.IPPROTO_TCP, option, value)
    except OSError:
        sock.close()
        raise
    return sock
