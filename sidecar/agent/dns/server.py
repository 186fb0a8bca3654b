"""The sockets at which the application's questions arrive: UDP and TCP, on loopback, of both IP versions."""

import asyncio
import logging
import random
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import dns.rcode

from mesh.lifecycle import TaskScope
from sidecar.agent.dns import questions
from sidecar.agent.dns.forwarder import Forwarder, TooMany, Unanswered
from sidecar.agent.dns.names import Address, Names
from sidecar.agent.dns.questions import Bad, Question
from sidecar.agent.vitals import Vital

MAX_CONNECTIONS = 64
"""By TCP, which is for answers that are too long for UDP; more are closed at once."""
IDLE_S = 10.0
"""For which a connection may say nothing, or take nothing of its answer."""

_log = logging.getLogger("remora.dns")


@dataclass(slots=True)
class DnsCounts:
    """For metrics. Of `questions`, each is exactly one of the others, or `forwarder.counts` has it as forwarded."""

    questions: int = 0
    local: int = 0
    malformed: int = 0
    unanswered: int = 0
    """Forwarded, and SERVFAIL since no server answered."""
    shed: int = 0
    """SERVFAIL since too many were under way; or a connection too many."""


class DnsServer:
    """`names` of the mesh; everything goes to the `forwarder` until they are there."""

    def __init__(
        self,
        forwarder: Forwarder,
        search: tuple[str, ...],
        scope: TaskScope,
        rng: random.Random,
        sockets: Sequence[socket.socket],
    ) -> None:
        """`sockets` are of sidecar.agent.dns.sockets, and its own from `start` on."""
        self.forwarder = forwarder
        self.port = sockets[0].getsockname()[1]
        self._sockets = sockets
        self._search = search
        self._scope = scope
        self._rng = rng
        self._names = Names({}, search)
        self._transports: list[asyncio.BaseTransport] = []
        self._servers: list[asyncio.Server] = []
        self._connections = 0
        self.counts = DnsCounts()

    def use(self, hosts: Mapping[str, tuple[Address, ...]]) -> None:
        """From now on these are the mesh's names."""
        self._names = Names(hosts, self._search)

    async def start(self) -> None:
        """Serve."""
        for sock in self._sockets:
            if sock.type == socket.SOCK_STREAM:
                self._servers.append(await asyncio.start_server(self._converse, sock=sock, limit=8192))
            else:
                made = await asyncio.get_running_loop().create_datagram_endpoint(lambda: _Udp(self), sock=sock)
                self._transports.append(made[0])
        _log.info("DNS is served at port %d; other names are asked of %s", self.port, ", ".join(self.forwarder.servers))

    async def close(self) -> None:
        """Nobody is answered any more."""
        for transport in self._transports:
            transport.close()
        for server in self._servers:
            server.close()

    def vitals(self) -> Iterator[Vital]:
        """The agent's metrics of it."""
        counts, forwards, name = self.counts, self.forwarder.counts, "remora_agent_dns"
        yield Vital(f"{name}_questions_total", "DNS questions of the application.", counts.questions)
        yield Vital(f"{name}_local_total", "Of these, those about names of the mesh.", counts.local)
        yield Vital(f"{name}_malformed_total", "Of these, those that were none.", counts.malformed)
        yield Vital(f"{name}_forwarded_total", "Of these, those put to the pod's own servers.", forwards.forwarded)
        yield Vital(f"{name}_unanswered_total", "SERVFAIL: no server answered in time.", counts.unanswered)
        yield Vital(f"{name}_shed_total", "SERVFAIL or closed: too many at once.", counts.shed)
        yield Vital(f"{name}_strays_total", "Datagrams that were no answer to what was asked.", forwards.strays)
        yield Vital(f"{name}_tcp_total", "Questions asked again by TCP, the answer being long.", forwards.by_tcp)
        yield Vital(f"{name}_asking", "Questions that wait for a server.", forwards.asking)
        yield Vital(f"{name}_names", "Names of the mesh that are known.", len(self._names.hosts))

    def take(self, wire: bytes) -> tuple[Question | None, bytes | None]:
        """What is asked, if it is a question; and the answer, if nobody has to be asked for it."""
        self.counts.questions += 1
        question = questions.parse(wire)
        if isinstance(question, Bad):
            self.counts.malformed += 1
            return None, questions.refusal(wire, question)
        addresses = self._names.addresses(question.text) if question.text else None
        answer = None if addresses is None else questions.local(question, addresses, self._rng)
        self.counts.local += answer is not None
        return question, answer

    async def ask(self, question: Question) -> bytes:
        """The pod's own servers' answer."""
        try:
            answer = await self.forwarder.ask(question)
        except TooMany:
            self.counts.shed += 1
            return questions.failure(question)
        except Unanswered:
            self.counts.unanswered += 1
            return questions.failure(question)
        if questions.code_of(answer) == dns.rcode.NXDOMAIN and self._names.addresses(question.text or "-") is not None:
            # Of another kind than addresses: the name does exist, and a resolver would give up all of it (RFC 8020).
            return questions.failure(question, dns.rcode.NOERROR)
        return answer

    def spawn(self, question: Question, transport: asyncio.DatagramTransport, client: tuple[str, int]) -> None:
        """Answer by UDP when the answer is there. As many at once as the forwarder takes."""
        self._scope.spawn(self._answer(question, transport, client), name="dns question")

    async def _answer(self, question: Question, transport: asyncio.DatagramTransport, client: tuple[str, int]) -> None:
        answer = questions.fitting(question, await self.ask(question))
        if not transport.is_closing():
            transport.sendto(answer, client)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._connections >= MAX_CONNECTIONS:
            self.counts.shed += 1
            writer.close()
            return
        self._connections += 1
        try:
            while await self._exchange(reader, writer):
                pass
        except (OSError, EOFError, TimeoutError):
            pass  # it went, or said nothing for too long: either way nobody waits for an answer
        finally:
            self._connections -= 1
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One question and its answer (RFC 1035 4.2.2); False: there is nothing more to say."""
        async with asyncio.timeout(IDLE_S):
            size = int.from_bytes(await reader.readexactly(2), "big")
            if size > questions.MAX_QUESTION_BYTES:
                self.counts.questions += 1
                self.counts.malformed += 1
                return False
            wire = await reader.readexactly(size)
        question, answer = self.take(wire)
        if question is not None and answer is None:
            answer = await self.ask(question)
        if answer is None:
            return False
        writer.write(len(answer).to_bytes(2, "big") + answer)
        async with asyncio.timeout(IDLE_S):
            await writer.drain()
        return True


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert self._transport is not None
        question, answer = self._server.take(data)
        if question is not None and answer is None:
            self._server.spawn(question, self._transport, addr)
        elif answer is not None:
            self._transport.sendto(answer if question is None else questions.fitting(question, answer), addr)

    def error_received(self, exc: Exception) -> None:
        """A client that has gone; nobody is waiting."""
