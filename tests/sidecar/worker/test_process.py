"""The worker as a process of its own, as the agent starts it: sockets handed over, ends with its agent."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from sidecar.config.messages import (
    AccessLog,
    Applied,
    Apply,
    Drain,
    Drained,
    Inspect,
    Inspected,
    Listen,
    Metrics,
    Ping,
    Pong,
    Ready,
    ToAgent,
    ToWorker,
)
from sidecar.config.snapshot import Node, Snapshot
from sidecar.net.channel import Channel
from tests.sidecar.worker.peers import Client, Incoming, Origin
from tests.sidecar.worker.proxy import cluster, everything, forward_to, listening_socket, plain_listener

Eventually = Callable[..., Awaitable[None]]


@dataclass
class Agent:
    """The other end of a worker's channel."""

    channel: Channel
    process: asyncio.subprocess.Process
    messages: list[Any] = field(default_factory=list)

    def got(self, kind: type) -> Any:
        return next((message for message in self.messages if isinstance(message, kind)), None)

    def send(self, message: ToWorker, *fds: int) -> None:
        self.channel.send(message, fds=fds)


async def start_worker(stderr: int | None = None) -> Agent:
    ours, theirs = socket.socketpair()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sidecar.worker", "--channel-fd", str(theirs.fileno()),
        pass_fds=[theirs.fileno()], stderr=stderr,
    )  # fmt: skip
    theirs.close()
    messages: list[Any] = []
    channel = Channel(ours, ToAgent, lambda message, fds: messages.append(message), lambda error: None)
    return Agent(channel, process, messages)


@pytest.fixture
async def agent() -> AsyncIterator[Agent]:
    started = await start_worker()
    yield started
    started.channel.close()
    await asyncio.wait_for(started.process.wait(), 10)


async def test_it_serves_reports_and_drains(
    agent: Agent, origin: Origin, client: Client, eventually: Eventually
) -> None:
    await eventually(lambda: agent.got(Ready), "the worker is ready", within=20)
    ready = agent.got(Ready)
    assert ready.pid == agent.process.pid
    sock, address = listening_socket()
    agent.send(Listen((address,)), sock.fileno())
    snapshot = Snapshot(
        "1",
        Node(id="sidecar~me"),
        clusters=(cluster("up", origin.address),),
        listeners=(plain_listener("in", address, everything(forward_to("up"))),),
    )
    agent.send(Apply(7, snapshot))
    await eventually(lambda: agent.got(Applied), "the snapshot is applied")
    sock.close()
    assert agent.got(Applied).sequence == 7
    connection = await client.connect(address)
    for _ in range(10):
        assert (await connection.get()).status == 200

    agent.send(Inspect(9, "clusters"))
    await eventually(lambda: agent.got(Inspected), "it answers an inspection")
    await eventually(lambda: agent.got(Metrics), "it reports metrics")
    await eventually(
        lambda: sum(message.count for message in agent.messages if isinstance(message, AccessLog)) == 10,
        "every request is in the access log",
    )
    agent.send(Drain(5.0))
    await eventually(lambda: agent.got(Drained), "it has drained")
    assert await asyncio.wait_for(agent.process.wait(), 10) == 0


async def test_it_answers_a_ping(agent: Agent, eventually: Eventually) -> None:
    agent.send(Ping())
    await eventually(lambda: agent.got(Pong), "it answers")


async def test_it_ends_when_its_agent_does(agent: Agent, eventually: Eventually) -> None:
    await eventually(lambda: agent.got(Ready), "the worker is ready", within=20)

    agent.channel.close()

    assert await asyncio.wait_for(agent.process.wait(), 10) == 0


async def test_another_worker_takes_over_the_same_sockets_and_nothing_is_refused(
    origin: Origin, client: Client, eventually: Eventually
) -> None:
    async def quick(incoming: Incoming) -> None:
        await incoming.answer()

    origin.handler = quick
    sock, address = listening_socket()
    snapshot = Snapshot(
        "1",
        Node(id="sidecar~me"),
        clusters=(cluster("up", origin.address),),
        listeners=(plain_listener("in", address, everything(forward_to("up"))),),
    )

    async def started() -> Agent:
        agent = await start_worker()
        await eventually(lambda: agent.got(Ready), "the worker is ready", within=20)
        agent.send(Listen((address,)), sock.fileno())
        agent.send(Apply(1, snapshot))
        await eventually(lambda: agent.got(Applied), "the snapshot is applied")
        return agent

    first = await started()
    assert (await (await client.connect(address)).get()).status == 200
    os.kill(first.process.pid, signal.SIGKILL)
    await first.process.wait()
    waiting = await client.connect(address)  # the socket is still listened on: not refused, only not yet served
    second = await started()

    assert (await waiting.get()).status == 200
    for agent in (first, second):
        agent.channel.close()
        await agent.process.wait()
    sock.close()


async def test_a_wrong_flag_is_status_2() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sidecar.worker", stderr=asyncio.subprocess.DEVNULL
    )
    assert await asyncio.wait_for(process.wait(), 20) == 2
