"""One listener as it runs: its socket's connections, the choice of a filter chain, changes without cutting anyone."""

import json
import logging
import socket
import ssl
from collections.abc import Sequence
from typing import Any

from sidecar.config.listener import FilterChain, Listener, TransportMatch
from sidecar.listeners.connection import DownstreamConnection
from sidecar.listeners.context import HttpContext, ListenerCounts, Process
from sidecar.listeners.sniff import Sniffer
from sidecar.net.accept import Acceptor
from sidecar.net.tls_reader import TlsReader

HANDSHAKE_TIMEOUT_S = 10.0
"""A TLS handshake that takes longer ends the connection."""

log = logging.getLogger(__name__)


class LiveChain:
    """A filter chain with what it needs at hand."""

    __slots__ = ("config", "http", "tls")

    def __init__(self, config: FilterChain, http: HttpContext, tls: ssl.SSLContext | None) -> None:
        self.config = config
        self.http = http
        self.tls = tls


class LiveListener:
    """Accepts from `start` to `close`. `use` takes a changed configuration: new connections get the new chains."""

    def __init__(self, listening: socket.socket, process: Process) -> None:
        self._process = process
        self._chains: Sequence[LiveChain] = ()
        self._former: list[HttpContext] = []
        self._sniffing = False
        self._sniffer = Sniffer(process.loop, process.clock, process.timers)
        self._acceptor = Acceptor(process.loop, listening, self._accepted)
        self.config: Listener | None = None
        self.counts = ListenerCounts()

    @property
    def chains(self) -> Sequence[LiveChain]:
        return self._chains

    def use(self, config: Listener, chains: Sequence[LiveChain]) -> None:
        """Take over `chains`; a context that is in none of them any more drains."""
        kept = {id(chain.http) for chain in chains}
        for chain in self._chains:
            if id(chain.http) not in kept:
                chain.http.drain()
                self._former.append(chain.http)
        self._former = [context for context in self._former if context.connections]
        self.config = config
        self._chains = chains
        transports = {chain.config.transport for chain in chains}
        self._sniffing = config.detect_tls or transports - {TransportMatch.ANY} != set()

    def start(self) -> None:
        self._acceptor.start()

    def stop_accepting(self) -> None:
        """Leave the backlog to others; connections that have said nothing yet are closed."""
        self._acceptor.stop()
        self._sniffer.close()

    def drain(self) -> None:
        """Stop accepting; every connection ends with its answer under way."""
        self.stop_accepting()
        for context in self.contexts():
            context.drain()

    def abort(self) -> None:
        """Cut what is left."""
        for context in self.contexts():
            context.abort()

    def contexts(self) -> list[HttpContext]:
        """Present and former ones that still have connections."""
        return [*(chain.http for chain in self._chains), *self._former]

    @property
    def in_flight(self) -> int:
        """Requests whose answers are not whole."""
        return sum(context.in_flight for context in self.contexts())

    @property
    def connections(self) -> int:
        return sum(len(context.connections) for context in self.contexts())

    # connections

    def _accepted(self, connection: socket.socket) -> None:
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            connection.close()
            return
        if self._sniffing:
            self._sniffer.sniff(connection, self._sniffed)
        elif self._chains:
            self._open(connection, self._chains[0])
        else:
            connection.close()

    def _sniffed(self, connection: socket.socket, is_tls: bool) -> None:
        wanted = TransportMatch.TLS if is_tls else TransportMatch.RAW
        for chain in self._chains:
            if chain.config.transport in (wanted, TransportMatch.ANY):
                self._open(connection, chain)
                return
        self.counts.cx_no_chain += 1
        connection.close()

    def _open(self, connection: socket.socket, chain: LiveChain) -> None:
        self._process.scope.spawn(self._connect(connection, chain), name="accept")

    async def _connect(self, connection: socket.socket, chain: LiveChain) -> None:
        protocol = DownstreamConnection(chain.http)
        try:
            await self._process.loop.connect_accepted_socket(
                lambda: protocol if chain.tls is None else TlsReader(protocol),
                connection,
                ssl=chain.tls,
                ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S if chain.tls is not None else None,
            )
        except (OSError, TimeoutError) as error:  # ssl.SSLError is an OSError
            connection.close()
            if chain.tls is not None:
                self.counts.cx_refused += 1
                log.info("listener %s: TLS handshake failed: %s", self._name, _reason(error))
            return
        if chain.http.draining:
            protocol.drain()

    @property
    def _name(self) -> str:
        return self.config.name if self.config is not None else "-"

    def describe(self) -> dict[str, Any]:
        """As Envoy's admin `/listeners?format=json` has it, with counts beside."""
        config = self.config
        assert config is not None
        return {
            "name": config.name,
            "local_address": {"socket_address": {"address": config.address.host, "port_value": config.address.port}},
            "connections": self.connections,
            "in_flight": self.in_flight,
            "downstream_cx_total": self.counts.cx_total,
            "downstream_cx_refused": self.counts.cx_refused + self.counts.cx_no_chain,
            "shed": self._acceptor.shed,
        }

    def __repr__(self) -> str:
        return f"<LiveListener {self._name} {self.connections} connections>"


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return getattr(error, "reason", None) or str(error) or type(error).__name__


def render_listeners(listeners: Sequence[LiveListener]) -> str:
    """JSON for the agent's admin interface."""
    return json.dumps({"listener_statuses": [each.describe() for each in listeners]})
