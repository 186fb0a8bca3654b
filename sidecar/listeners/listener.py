"""One listener as it runs: its socket's connections, the choice of a filter chain, changes without cutting anyone."""

import asyncio
import functools
import json
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from sidecar.config.endpoint import Address
from sidecar.config.listener import Direction, FilterChain, Listener
from sidecar.listeners.connection import DownstreamConnection
from sidecar.listeners.context import HttpContext, ListenerCounts, Process
from sidecar.listeners.h1_link import IDLE_GRACE_S
from sidecar.listeners.h2_link import H2Link
from sidecar.listeners.match import NOTHING, PLAINTEXT, Candidates, Destinations, Facts, choose
from sidecar.listeners.sniff import Sniffer
from sidecar.listeners.tcp import TcpContext
from sidecar.listeners.tcp_relay import TcpConnection
from sidecar.net.accept import Acceptor
from sidecar.net.original_destination import local_address, original_destination
from sidecar.net.tls_stream import TlsStream

HANDSHAKE_TIMEOUT_S = 10.0
"""A TLS handshake that takes longer ends the connection."""

TELL_EVERY_S: Final = 1.0
"""Failed handshakes are logged at most this often: whoever reaches the port can cause as many as they like."""

log = logging.getLogger(__name__)


class LiveChain:
    """A filter chain with what it needs at hand: a connection manager or a TCP proxy."""

    __slots__ = ("config", "http", "tcp", "tls")

    def __init__(
        self, config: FilterChain, http: HttpContext | None, tcp: TcpContext | None, tls: ssl.SSLContext | None
    ) -> None:
        self.config = config
        self.http = http
        """Exactly one of `http` and `tcp` is there."""
        self.tcp = tcp
        self.tls = tls

    @property
    def context(self) -> HttpContext | TcpContext:
        """Whichever it is."""
        context = self.http or self.tcp
        assert context is not None
        return context


class LiveListener:
    """Accepts from `start` to `close`. `use` takes a changed configuration: new connections get the new chains.

    Without a socket it serves what another listener hands over, whose connections were redirected."""

    def __init__(
        self,
        listening: socket.socket | None,
        process: Process,
        elsewhere: "Callable[[Address], LiveListener | None]" = lambda _: None,
    ) -> None:
        """`elsewhere`: who else has the address that a redirected connection was going to."""
        self._process = process
        self._elsewhere = elsewhere
        self._chains: Sequence[LiveChain] = ()
        self._destinations: Destinations[LiveChain] | None = None
        self._only: Candidates[LiveChain] | None = None
        """Where chains do not depend on the destination: all of them."""
        self._captures = False
        self._default: LiveChain | None = None
        self._former: list[HttpContext] = []
        self._former_tcp: list[TcpContext] = []
        self._sniffer = Sniffer(process.loop, process.clock, process.timers, process.open)
        self._acceptor = None if listening is None else Acceptor(process.loop, listening, self._accepted)
        self.config: Listener | None = None
        self.counts = ListenerCounts()
        self._told_at = -TELL_EVERY_S
        self._untold = 0

    @property
    def chains(self) -> Sequence[LiveChain]:
        return self._chains

    def use(self, config: Listener, chains: Sequence[LiveChain]) -> None:
        """Take over `chains`; a context that is in none of them any more drains."""
        kept = {id(chain.context) for chain in chains}
        for chain in self._chains:
            if id(chain.context) not in kept:
                chain.context.drain()
                if chain.http is not None:
                    self._former.append(chain.http)
                if chain.tcp is not None:
                    self._former_tcp.append(chain.tcp)
        self._former = [context for context in self._former if context.connections]
        self._former_tcp = [context for context in self._former_tcp if context.connections]
        self.config = config
        self._chains = chains
        self._default = chains[-1] if config.default_chain is not None else None
        count = len(config.filter_chains)
        self._destinations = Destinations(config, [(chain.config, chain) for chain in chains[:count]])
        self._only = self._destinations.only
        self._captures = config.original_destination

    def start(self) -> None:
        if self._acceptor is not None:
            self._acceptor.hold(not self._process.load.accepting)
            self._acceptor.start()

    def load_changed(self) -> None:
        """Refuse or serve, accept or not, as the process's load says now."""
        if self._acceptor is not None:
            self._acceptor.hold(not self._process.load.accepting)
        for context in self.contexts():
            context.shed()

    def stop_accepting(self) -> None:
        """Leave the backlog to others; connections that have said nothing yet are closed."""
        self._stop()
        self._sniffer.close()

    def _stop(self) -> None:
        if self._acceptor is not None:
            self._acceptor.stop()

    def wind_down(self) -> None:
        """Connections of others end with their next answers. What is relayed as bytes can not be told to."""
        for context in self.contexts():
            if context.direction is not Direction.OUTBOUND:
                context.wind_down()

    def drain(self) -> None:
        """Stop accepting; every connection ends with its answer under way. Those that have said nothing yet may for a
        moment still."""
        self._stop()
        if self._sniffer.waiting:
            self._process.loop.call_later(IDLE_GRACE_S, self._sniffer.close)
        for context in self._every_context():
            context.drain()

    def abort(self) -> None:
        """Cut what is left."""
        self._sniffer.close()
        for context in self._every_context():
            context.abort()

    def contexts(self) -> list[HttpContext]:
        """Connection managers: present and former ones that still have connections."""
        return [*(chain.http for chain in self._chains if chain.http is not None), *self._former]

    def tcp_contexts(self) -> list[TcpContext]:
        """TCP proxies likewise."""
        return [*(chain.tcp for chain in self._chains if chain.tcp is not None), *self._former_tcp]

    def report(self) -> None:
        """Telemetry is about to be flushed: what goes on for long is told as far as it has come."""
        for context in self.contexts():
            for connection in context.connections:
                if isinstance(connection, H2Link):
                    connection.report()

    def _every_context(self) -> list[HttpContext | TcpContext]:
        return [*self.contexts(), *self.tcp_contexts()]

    @property
    def in_flight(self) -> int:
        """Requests whose answers are not whole, and relayed connections."""
        relayed = sum(len(context.connections) for context in self.tcp_contexts())
        return relayed + sum(context.in_flight for context in self.contexts())

    @property
    def connections(self) -> int:
        return sum(len(context.connections) for context in self._every_context())

    @property
    def spoken_to(self) -> bool:
        """It has a socket, or was handed a connection."""
        counts = self.counts
        return self._acceptor is not None or bool(counts.cx_total or counts.cx_overflow)

    @property
    def shed(self) -> int:
        """Connections closed unserved for want of descriptors."""
        return 0 if self._acceptor is None else self._acceptor.shed

    # connections

    def _accepted(self, connection: socket.socket) -> None:
        process = self._process
        counts = self.counts
        if process.load.full(process.open.count):
            counts.cx_global_overflow += 1
            connection.close()
        elif self._captures:
            self._captured(connection)
        else:
            self._serve(connection, None)

    def _captured(self, connection: socket.socket) -> None:
        """It was redirected here: find out where it was going, and who has that address."""
        config = self.config
        assert config is not None
        try:
            destination = original_destination(connection)
        except OSError:
            connection.close()
            return
        if destination.port == config.address.port:
            # Nothing redirected it, or a rule redirected what was on its way to us: served, it would come back for
            # ever.
            self.counts.cx_loop += 1
            connection.close()
            return
        other = self._elsewhere(destination) if config.hand_over else None
        (other or self)._serve(connection, destination)

    def _serve(self, connection: socket.socket, destination: Address | None) -> None:
        """`destination`: where it was going if it was redirected."""
        counts = self.counts
        if self._process.load.listener_full(counts.cx_active + self._sniffer.waiting):
            counts.cx_overflow += 1
            connection.close()
            return
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            candidates = self._candidates(connection, destination)
        except OSError:
            connection.close()
            return
        config = self.config
        if config is not None and candidates.wanted is not NOTHING:
            then = self._sniffed if destination is None else functools.partial(self._sniffed, destination=destination)
            self._sniffer.sniff(connection, candidates.wanted, candidates.timeout_s, then)
        else:
            self._take(connection, PLAINTEXT, destination)

    def _candidates(self, connection: socket.socket, destination: Address | None) -> Candidates[LiveChain]:
        """The chains for where it was going. Raises OSError for a connection that is gone."""
        if self._only is not None:
            return self._only
        assert self._destinations is not None
        return self._destinations.of(destination or local_address(connection))

    def _sniffed(self, connection: socket.socket, facts: Facts | None, destination: Address | None = None) -> None:
        if facts is not None:
            self._take(connection, facts, destination)
        elif self.config is not None and self.config.serve_undetected:
            self._take(connection, PLAINTEXT, destination)
        else:
            connection.close()

    def _take(self, connection: socket.socket, facts: Facts, destination: Address | None) -> None:
        try:
            chain = choose(facts, self._candidates(connection, destination).chains, self._default)
        except OSError:
            connection.close()
            return
        if chain is None:
            self.counts.cx_no_chain += 1
            connection.close()
        else:
            # Counted as open from here on; the protocol counts its end.
            self.counts.cx_active += 1
            self._process.open.opened()
            self._process.scope.spawn(self._open(connection, chain, facts, destination), name="accept")

    async def _open(
        self, connection: socket.socket, chain: LiveChain, facts: Facts, destination: Address | None
    ) -> None:
        if not await self._connect(connection, chain, facts, destination):
            self.counts.cx_active -= 1
            self._process.open.closed()

    async def _connect(
        self, connection: socket.socket, chain: LiveChain, facts: Facts, destination: Address | None
    ) -> bool:
        """False: it ended before there was anything for the protocol to do."""
        loop = self._process.loop
        http = chain.http
        if http is not None:
            client = DownstreamConnection(http)
            client.destination = destination
            protocol = cast(asyncio.Protocol, client)
        else:
            assert chain.tcp is not None
            protocol = TcpConnection(chain.tcp, facts.server_name, destination)
        # What is relayed as bytes leaves as it comes: there is little to gather.
        outbox = self._process.outbox if chain.http is not None else None
        tls = None if chain.tls is None else TlsStream(protocol, chain.tls, loop, server_side=True, outbox=outbox)
        try:
            await loop.connect_accepted_socket(lambda: tls or protocol, connection)
        except OSError as error:
            connection.close()
            log.info("listener %s: connection lost: %s", self._name, error)
            return False
        if tls is not None:
            try:
                async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
                    await tls.shake_hands()
            except (OSError, TimeoutError) as error:  # ssl.SSLError is an OSError
                self.counts.cx_refused += 1
                self._tell_of_failure(_reason(error))
                return False
        if http is not None and http.draining and isinstance(protocol, DownstreamConnection):
            protocol.drain()
        return True

    def _tell_of_failure(self, reason: str) -> None:
        now = self._process.clock.monotonic()
        if now < self._told_at + TELL_EVERY_S:
            self._untold += 1
            return
        self._told_at = now
        more = f" ({self._untold} further ones were not logged)" if self._untold else ""
        self._untold = 0
        log.info("listener %s: TLS handshake failed: %s%s", self._name, reason, more)

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
            "downstream_cx_refused": self.counts.cx_refused + self.counts.cx_no_chain + self.counts.cx_loop,
            "shed": self.shed,
            "downstream_cx_overflow": self.counts.cx_overflow + self.counts.cx_global_overflow,
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
