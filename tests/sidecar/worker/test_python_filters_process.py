"""Filters that users write in Python in a worker process, which has the alarm: what blocks is ended."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from sidecar.config.endpoint import Address
from sidecar.config.messages import Applied, Apply, Growth, Listen, Metrics, Ready, Refused
from sidecar.config.python_filter import PythonFilter
from sidecar.config.snapshot import Node, Snapshot
from sidecar.filters.python_live import OFFENCES
from tests.sidecar.worker.peers import Client, Connection, Origin
from tests.sidecar.worker.proxy import cluster, everything, forward_to, listening_socket, plain_listener
from tests.sidecar.worker.test_process import Agent, start_worker
from tests.sidecar.worker.test_python_filters import python

Eventually = Callable[..., Awaitable[None]]


class Process:
    """A worker process that serves one listener."""

    def __init__(self, agent: Agent, origin: Origin, client: Client, eventually: Eventually) -> None:
        self.agent = agent
        self._origin = origin
        self._client = client
        self._eventually = eventually
        self._sequence = 0
        self.address = Address("127.0.0.1", 0)

    async def start(self) -> None:
        await self._eventually(lambda: self.agent.got(Ready), "the worker is ready", within=20)
        sock, self.address = listening_socket()
        self.agent.send(Listen((self.address,)), sock.detach())

    async def use(self, *filters: PythonFilter) -> Applied | Refused:
        self._sequence += 1
        listener = plain_listener("in", self.address, everything(forward_to("up")), filters=filters)
        snapshot = Snapshot("1", Node(), listeners=(listener,), clusters=(cluster("up", self._origin.address),))
        self.agent.send(Apply(self._sequence, snapshot))

        def answer() -> Applied | Refused | None:
            kinds = (Applied, Refused)
            return next((m for m in self.agent.messages if isinstance(m, kinds) and m.sequence == self._sequence), None)

        await self._eventually(answer, "the worker has answered", within=20)
        found = answer()
        assert found is not None
        return found

    async def connect(self) -> Connection:
        return await self._client.connect(self.address)

    def counted(self, name: str, **labels: str) -> int:
        grown: list[Growth] = []
        for message in self.agent.messages:
            if isinstance(message, Metrics):
                grown += message.counters
        return sum(each.value for each in grown if each.name == name and labels.items() <= dict(each.labels).items())


@pytest.fixture
async def process(origin: Origin, client: Client, eventually: Eventually) -> AsyncIterator[Process]:
    agent = await start_worker()
    running = Process(agent, origin, client, eventually)
    try:
        # Also where the worker is not ready in time: one left behind would hold up the end of the whole run for ever.
        await running.start()
        yield running
    finally:
        agent.channel.close()
        await asyncio.wait_for(agent.process.wait(), 10)


BLOCKING = [
    pytest.param("def on_request(self, request):\n    while True: pass", id="a loop"),
    pytest.param("def on_request(self, request):\n    import time; time.sleep(60)", id="a sleep"),
    pytest.param("async def on_request(self, request):\n    while True: pass", id="a loop in a coroutine"),
    pytest.param(
        "def on_request(self, request):\n    import re; re.match('(a+)+$', 'a' * 40 + 'b')", id="a regular expression"
    ),
    pytest.param(
        "def on_request(self, request):\n"
        "    while True:\n"
        "        try:\n            while True: pass\n"
        "        except Exception: pass",
        id="a loop that catches exceptions",
    ),
    pytest.param("def on_response(self, request, response):\n    while True: pass", id="a loop in the answer"),
]


@pytest.mark.parametrize("hook", BLOCKING)
async def test_what_blocks_is_ended_and_then_switched_off(process: Process, hook: str, eventually: Eventually) -> None:
    assert isinstance(await process.use(python(hook, timeout_s=0.03)), Applied)
    connection = await process.connect()
    loop = asyncio.get_running_loop()
    for _ in range(OFFENCES):
        began = loop.time()
        assert (await connection.get("/")).status == 503
        assert loop.time() - began < 2.0
    began = loop.time()
    assert [(await connection.get("/")).status for _ in range(10)] == [503] * 10
    reasons = {"blocked": OFFENCES, "suspended": 10}
    for reason, count in reasons.items():
        await eventually(
            lambda reason=reason, count=count: process.counted("remora_filter_failures_total", reason=reason) == count,
            f"{count} {reason}",
        )
    # Whatever it was, the worker is well.
    assert isinstance(await process.use(), Applied)
    assert (await connection.get("/")).status == 200


async def test_others_are_served_while_one_filter_waits(process: Process) -> None:
    await process.use(python("async def on_request(self, request):\n    await asyncio.sleep(0.2)", timeout_s=5.0))
    connections = [await process.connect() for _ in range(20)]
    began = asyncio.get_running_loop().time()
    answers = await asyncio.gather(*(connection.get("/") for connection in connections))
    assert {answer.status for answer in answers} == {200}
    assert asyncio.get_running_loop().time() - began < 2.0


@pytest.mark.parametrize(
    ("source", "path"), [("while True: pass", "source"), ("import time; time.sleep(60)", "source")]
)
async def test_code_that_never_ends_loading_is_refused(process: Process, source: str, path: str) -> None:
    assert isinstance(await process.use(), Applied)
    refused = await process.use(PythonFilter("default/test", source, "Test"))
    assert isinstance(refused, Refused)
    assert refused.path.endswith(f".{path}")
    assert "takes longer than 2 s" in refused.reason
    assert (await (await process.connect()).get("/")).status == 200


async def test_a_filter_under_its_time_is_not_disturbed(process: Process) -> None:
    hook = "def on_request(self, request):\n    request.headers.set('x-sum', str(sum(range(20_000))))"
    await process.use(python(hook, timeout_s=0.05))
    connection = await process.connect()
    statuses = [(await connection.get("/")).status for _ in range(200)]
    assert statuses == [200] * 200
