"""The server on real sockets, with a DNS server behind it that does right, or wrong, or nothing."""

import asyncio
import contextlib
import logging
import random
import socket
from collections.abc import AsyncIterator, Iterator
from ipaddress import ip_address

import dns.asyncquery
import dns.flags
import dns.message
import dns.rcode
import pytest

from mesh.clock import SystemClock
from mesh.lifecycle import TaskScope
from sidecar.agent.dns.forwarder import Forwarder
from sidecar.agent.dns.server import MAX_CONNECTIONS, DnsServer
from sidecar.agent.dns.sockets import open_sockets
from sidecar.agent.sockets import CannotListen
from tests.sidecar.agent.dns.name_server import Answers, NameServer, records

CART = "cart.shop.svc.cluster.local"
SEARCH = ("shop.svc.cluster.local", "svc.cluster.local", "cluster.local")
LONG = [f"10.9.{number}.1" for number in range(100)]
OUTSIDE = records({("www.example.com", "A"): ["192.0.2.80"], ("long.example.com", "A"): LONG})


class Behind:
    """The pod's own DNS server."""

    def __init__(self) -> None:
        self.server, self.port = NameServer.on_loopback(OUTSIDE)


@pytest.fixture
def behind() -> Iterator[Behind]:
    made = Behind()
    yield made
    made.server.close()


@contextlib.asynccontextmanager
async def served(port: int, servers: tuple[str, ...] = ("127.0.0.1",), **options: float) -> AsyncIterator[DnsServer]:
    async with TaskScope() as scope:
        forwarder = Forwarder(servers, SystemClock(), random.SystemRandom(), port=port, **options)  # type: ignore[arg-type]
        server = DnsServer(forwarder, SEARCH, scope, random.SystemRandom(), open_sockets(0))
        await server.start()
        server.use({CART: (ip_address("10.96.0.1"), ip_address("fd00::1"))})
        try:
            yield server
        finally:
            await server.close()


async def ask(
    server: DnsServer, name: str, kind: str = "A", *, host: str = "127.0.0.1", tcp: bool = False
) -> dns.message.Message:
    query = dns.message.make_query(name, kind)
    by = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
    return await by(query, host, port=server.port, timeout=8)


def texts(answer: dns.message.Message) -> list[str]:
    return [str(each) for each in answer.answer[0]] if answer.answer else []


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("tcp", [False, True], ids=["UDP", "TCP"])
async def test_names_of_the_mesh_are_answered_here_and_others_by_the_server(
    behind: Behind, host: str, tcp: bool
) -> None:
    async with served(behind.port) as server:
        assert texts(await ask(server, "cart", host=host, tcp=tcp)) == ["10.96.0.1"]
        assert texts(await ask(server, CART, "AAAA", host=host, tcp=tcp)) == ["fd00::1"]
        assert behind.server.asked == []
        outside = await ask(server, "www.example.com", host=host, tcp=tcp)
        assert (outside.rcode(), texts(outside)) == (dns.rcode.NOERROR, ["192.0.2.80"])
        assert (await ask(server, "nobody.example.com", host=host, tcp=tcp)).rcode() == dns.rcode.NXDOMAIN
        assert [how for how, _ in behind.server.asked] == ["udp", "udp"]
        vitals = {each.name.removeprefix("remora_agent_dns_"): each.value for each in server.vitals()}
        assert (vitals["questions_total"], vitals["local_total"], vitals["forwarded_total"]) == (4, 2, 2)
        assert (vitals["names"], vitals["asking"], vitals["unanswered_total"]) == (1, 0, 0)


async def test_until_the_names_have_come_everything_is_forwarded(behind: Behind) -> None:
    async with served(behind.port) as server:
        server.use({})
        assert (await ask(server, CART)).rcode() == dns.rcode.NXDOMAIN
        server.use({CART: (ip_address("10.96.0.7"),)})
        assert texts(await ask(server, CART)) == ["10.96.0.7"]
        assert len(behind.server.asked) == 1


async def test_ids_are_new_ones_and_the_clients_own_comes_back(behind: Behind) -> None:
    async with served(behind.port) as server:
        query = dns.message.make_query("www.example.com", "A")
        for _ in range(4):
            assert (await dns.asyncquery.udp(query, "127.0.0.1", port=server.port, timeout=8)).id == query.id
        assert len({message.id for _, message in behind.server.asked}) > 1


async def test_a_truncated_answer_is_had_by_tcp_and_told_as_the_client_asked(behind: Behind) -> None:
    async with served(behind.port) as server:
        by_udp = await ask(server, "long.example.com")
        assert by_udp.flags & dns.flags.TC
        assert set(texts(await ask(server, "long.example.com", tcp=True))) == set(LONG)
        assert [how for how, _ in behind.server.asked] == ["udp", "tcp"] * 2
        assert server.forwarder.counts.by_tcp == 2


async def test_another_type_of_a_name_of_the_mesh_does_not_say_that_the_name_is_none(behind: Behind) -> None:
    async with served(behind.port) as server:
        answer = await ask(server, CART, "TXT")
        assert (answer.rcode(), answer.answer, len(behind.server.asked)) == (dns.rcode.NOERROR, [], 1)


def forged(query: dns.message.Message, **changes: int | str) -> bytes:
    """An answer with an address that nobody should believe."""
    made = dns.message.make_query(str(changes.get("name", "www.example.com")), str(changes.get("kind", "A")))
    made.id = query.id ^ int(changes.get("id", 0))
    answer = records({(str(changes.get("name", "www.example.com")), "A"): ["203.0.113.66"]})(made)
    assert isinstance(answer, dns.message.Message)
    return answer.to_wire()


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param(lambda query: forged(query, id=1), id="another id"),
        pytest.param(lambda query: forged(query, name="www.example.net"), id="another name"),
        pytest.param(lambda query: forged(query, kind="AAAA"), id="another type"),
        pytest.param(lambda query: query.to_wire(), id="the question back"),
        pytest.param(lambda query: query.id.to_bytes(2, "big") + b"\x81\x80" + b"\xff" * 20, id="rubbish"),
        pytest.param(lambda query: None, id="nothing"),
    ],
)
async def test_what_is_no_answer_to_the_question_is_not_believed(
    behind: Behind, answers: Answers, caplog: pytest.LogCaptureFixture
) -> None:
    behind.server.answers = answers
    async with served(behind.port, patience_s=0.1, deadline_s=0.3) as server:
        with caplog.at_level(logging.INFO, "remora.dns"):
            assert (await ask(server, "www.example.com")).rcode() == dns.rcode.SERVFAIL
            assert (await ask(server, "www.example.com")).rcode() == dns.rcode.SERVFAIL
            behind.server.answers = OUTSIDE
            assert texts(await ask(server, "www.example.com")) == ["192.0.2.80"]
        assert server.counts.unanswered == 2
        said = [record.message.partition(";")[0] for record in caplog.records]
        assert [text for text in said if not text.startswith("DNS is served")] == [
            "no DNS server answers: 127.0.0.1 silent",
            "DNS server 127.0.0.1 answers again",
        ], "one line each"


async def test_a_server_that_is_away_is_servfail_at_once_and_names_of_the_mesh_are_found(behind: Behind) -> None:
    behind.server.close()
    async with served(behind.port) as server:
        async with asyncio.timeout(1.0):
            assert (await ask(server, "www.example.com")).rcode() == dns.rcode.SERVFAIL
        assert texts(await ask(server, "cart")) == ["10.96.0.1"]


async def test_the_next_server_is_asked_where_one_is_away(behind: Behind) -> None:
    # Nobody listens at that port of 127.0.0.2.
    async with served(behind.port, ("127.0.0.2", "127.0.0.1")) as server:
        assert texts(await ask(server, "www.example.com")) == ["192.0.2.80"]


async def test_a_server_that_fails_is_believed_when_no_other_knows_better(behind: Behind) -> None:
    def refusing(query: dns.message.Message) -> dns.message.Message:
        answer = dns.message.make_response(query)
        answer.set_rcode(dns.rcode.REFUSED)
        return answer

    behind.server.answers = refusing
    async with served(behind.port) as server:
        assert (await ask(server, "www.example.com")).rcode() == dns.rcode.REFUSED
        assert server.counts.unanswered == 0


async def test_too_many_questions_at_once_fail_at_once(behind: Behind) -> None:
    behind.server.answers = lambda query: None
    async with served(behind.port, patience_s=5.0, deadline_s=5.0, max_asking=2) as server:
        async with TaskScope() as scope:
            for _ in range(2):
                scope.spawn(ask(server, "www.example.com"), name="waiting")
            while server.forwarder.counts.asking < 2:
                await asyncio.sleep(0)
            async with asyncio.timeout(1.0):
                assert (await ask(server, "www.example.com")).rcode() == dns.rcode.SERVFAIL
            assert texts(await ask(server, "cart")) == ["10.96.0.1"], "the mesh's own names are never shed"
        assert server.counts.shed == 1


async def test_rubbish_is_refused_or_dropped_and_the_next_question_answered(behind: Behind) -> None:
    async with served(behind.port) as server:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            client.connect(("127.0.0.1", server.port))
            for wire in (b"", b"x", b"\0\1" + b"\x80" + bytes(20), b"\0\1" + b"\1\0" + b"\xff" * 30):
                await loop.sock_sendall(client, wire) if wire else client.send(wire)
            async with asyncio.timeout(5.0):
                refusal = dns.message.from_wire(await loop.sock_recv(client, 512))
        assert (refusal.id, refusal.rcode()) == (1, dns.rcode.FORMERR)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"\xff\xff" + bytes(100))
        assert await reader.read() == b"", "65,535 bytes are no question"
        writer.close()
        assert server.counts.malformed == 5
        assert texts(await ask(server, "cart")) == ["10.96.0.1"]


async def test_connections_are_bounded(behind: Behind) -> None:
    async with served(behind.port) as server:
        opened = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(MAX_CONNECTIONS)]
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        assert await reader.read() == b""
        for _, each in (*opened, (reader, writer)):
            each.close()
            with contextlib.suppress(OSError):
                await each.wait_closed()
        while server._connections:
            await asyncio.sleep(0)
        assert texts(await ask(server, "cart", tcp=True)) == ["10.96.0.1"]
        assert server.counts.shed == 1


def test_a_port_that_is_taken_is_said_and_nothing_stays_open() -> None:
    taken = open_sockets(0)
    port = taken[0].getsockname()[1]
    for sock in taken[:-1]:
        sock.close()
    with pytest.raises(CannotListen, match=rf"cannot listen on \[::1\]:{port}: Address already in use"):
        open_sockets(port)
    taken[-1].close()
    opened = open_sockets(port)
    assert len(opened) == len(taken) == 4
    for sock in opened:
        sock.close()
