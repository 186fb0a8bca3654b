"""Questions to the pod's own servers: bounded in number and in time, answers held to their question."""

import asyncio
import logging
import random
from dataclasses import dataclass

import dns.rcode

from mesh.clock import Clock
from sidecar.agent.dns.questions import Question, code_of, is_truncated

ROUNDS = 2
"""Every server is asked so often."""
PATIENCE_S = 1.5
"""With one server; less where the rest of the time is."""
DEADLINE_S = 4.5
"""Under the C library's 5 seconds: the application gets an answer, if only SERVFAIL, before it asks again."""
SILENT_PATIENCE_S = 0.5
"""The same, and one round alone, once no server has answered and until one does: the C library asks eight times for one
name, and each would take the whole time (RFC 9520 3.1 has failures remembered)."""
MAX_ASKING = 256
"""Questions under way. Istio's agent has no bound."""
MAX_STRAYS = 32
"""Datagrams that are no answer to the question, after which a server is given up: somebody guesses ids."""
_MOVES_ON = frozenset({dns.rcode.SERVFAIL, dns.rcode.REFUSED, dns.rcode.NOTIMP})
"""What another server may know better, as the C library has it."""

_log = logging.getLogger("remora.dns")


class Unanswered(Exception):
    """No server answered in time."""


class TooMany(Exception):
    """More questions are under way than are allowed."""


class _Unfit(Exception):
    """One server's, and why."""


@dataclass(slots=True)
class ForwardCounts:
    """For metrics."""

    forwarded: int = 0
    by_tcp: int = 0
    strays: int = 0
    """Datagrams that were no answer to their question."""
    asking: int = 0


class _Answer(asyncio.DatagramProtocol):
    """Waits for the one that fits. The socket is connected: the kernel takes the server's datagrams alone."""

    def __init__(self, question: Question, asked_as: int, counts: ForwardCounts) -> None:
        self._question = question
        self._asked_as = asked_as
        self._counts = counts
        self._strays = 0
        self.found: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: object) -> None:
        if self.found.done():
            return
        if self._question.matches(data, self._asked_as):
            self.found.set_result(data)
            return
        self._counts.strays += 1
        self._strays += 1
        if self._strays >= MAX_STRAYS:
            self.found.set_exception(_Unfit(f"{MAX_STRAYS} datagrams that are no answer"))

    def error_received(self, exc: Exception) -> None:
        if not self.found.done():
            self.found.set_exception(exc)


class Forwarder:
    """`servers` are asked in their order at `port`. `rng` must not be guessable: ids come of it."""

    def __init__(
        self,
        servers: tuple[str, ...],
        clock: Clock,
        rng: random.Random,
        *,
        port: int = 53,
        patience_s: float = PATIENCE_S,
        deadline_s: float = DEADLINE_S,
        max_asking: int = MAX_ASKING,
    ) -> None:
        self.servers = servers
        self._clock = clock
        self._rng = rng
        self._port = port
        self._patience_s = patience_s
        self._deadline_s = deadline_s
        self._max_asking = max_asking
        self._silent = False
        self.counts = ForwardCounts()

    async def ask(self, question: Question) -> bytes:
        """An answer under the question's own id. Raises Unanswered, TooMany."""
        if self.counts.asking >= self._max_asking:
            raise TooMany
        self.counts.asking += 1
        self.counts.forwarded += 1
        try:
            answer = await self._ask_all(question)
        finally:
            self.counts.asking -= 1
        return question.wire[:2] + answer[2:]

    async def _ask_all(self, question: Question) -> bytes:
        ends = self._clock.monotonic() + self._deadline_s
        unfit: dict[str, str] = {}
        best: bytes | None = None
        patience_s = min(self._patience_s, SILENT_PATIENCE_S) if self._silent else self._patience_s
        for _ in range(1 if self._silent else ROUNDS):
            for server in self.servers:
                left_s = ends - self._clock.monotonic()
                if left_s <= 0:
                    break
                try:
                    async with asyncio.timeout(min(patience_s, left_s)):
                        answer = await self._ask_one(question, server)
                except TimeoutError:
                    unfit[server] = "silent"
                except (OSError, EOFError, _Unfit) as error:
                    unfit[server] = getattr(error, "strerror", None) or str(error) or type(error).__name__
                else:
                    self._heard(server)
                    if code_of(answer) not in _MOVES_ON:
                        return answer
                    best = answer
            if best is not None:
                return best  # all have been asked, and this is what they say
        self._unheard(unfit)
        raise Unanswered

    async def _ask_one(self, question: Question, server: str) -> bytes:
        asked_as = self._rng.getrandbits(16)
        wire = asked_as.to_bytes(2, "big") + question.wire[2:]
        loop = asyncio.get_running_loop()
        # A socket for each question: its port is a new random one of the kernel's, as hard to guess as the id.
        transport, protocol = await loop.create_datagram_endpoint(
            lambda: _Answer(question, asked_as, self.counts), remote_addr=(server, self._port)
        )
        try:
            transport.sendto(wire)
            answer = await protocol.found
        finally:
            transport.close()
            if protocol.found.done() and not protocol.found.cancelled():
                protocol.found.exception()  # marks it retrieved
        return await self._by_tcp(question, wire, asked_as, server) if is_truncated(answer) else answer

    async def _by_tcp(self, question: Question, wire: bytes, asked_as: int, server: str) -> bytes:
        self.counts.by_tcp += 1
        reader, writer = await asyncio.open_connection(server, self._port)
        try:
            writer.write(len(wire).to_bytes(2, "big") + wire)
            answer = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
        finally:
            writer.close()
        if not question.matches(answer, asked_as):
            raise _Unfit("an answer by TCP to another question")
        return answer

    def _heard(self, server: str) -> None:
        if self._silent:
            self._silent = False
            _log.info("DNS server %s answers again", server)

    def _unheard(self, unfit: dict[str, str]) -> None:
        if not self._silent:
            self._silent = True
            why = ", ".join(f"{server} {reason}" for server, reason in unfit.items())
            _log.warning("no DNS server answers: %s; names outside the mesh are not found until one does", why)
