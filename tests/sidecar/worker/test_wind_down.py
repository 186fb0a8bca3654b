"""The pod is about to end: inbound connections end with their next answers, outbound goes on."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from sidecar.config.endpoint import Address
from sidecar.config.listener import Direction
from sidecar.config.messages import Applied
from tests.sidecar.worker.h2_peers import H2Client, get
from tests.sidecar.worker.peers import Client, Gate, Origin
from tests.sidecar.worker.proxy import Proxy, cluster, everything, forward_to, plain_listener

Eventually = Callable[..., Awaitable[None]]


async def serve(proxy: Proxy, origin: Origin) -> tuple[Address, Address]:
    """An inbound and an outbound listener."""
    inbound, outbound = proxy.bind(), proxy.bind()
    table = everything(forward_to("up"))
    answer = await proxy.apply(
        clusters=(cluster("up", origin.address),),
        listeners=(
            plain_listener("in", inbound, table),
            plain_listener("out", outbound, table, direction=Direction.OUTBOUND),
        ),
    )
    assert isinstance(answer, Applied), answer
    return inbound, outbound


async def test_inbound_connections_end_with_their_next_answer_and_new_ones_are_served(
    proxy: Proxy, origin: Origin, client: Client
) -> None:
    inbound, outbound = await serve(proxy, origin)
    idle, used, ours = [await client.connect(address) for address in (inbound, inbound, outbound)]
    for each in (idle, used, ours):
        assert (await each.get()).get(b"connection") is None
    proxy.worker.wind_down()
    assert (await used.get()).get(b"connection") == b"close"
    assert await idle.closed() == b""
    late = await client.connect(inbound)
    assert (await late.get()).get(b"connection") == b"close"
    for each in (ours, await client.connect(outbound)):
        for _ in range(2):
            answer = await each.get()
            assert (answer.status, answer.get(b"connection")) == (200, None)


async def test_a_request_under_way_is_finished(
    proxy: Proxy, origin: Origin, client: Client, eventually: Eventually
) -> None:
    inbound, _ = await serve(proxy, origin)
    gate = origin.handler = Gate()
    connection = await client.connect(inbound)
    async with asyncio.TaskGroup() as group:
        asked = group.create_task(connection.get())
        await eventually(lambda: origin.requests, "it is under way")
        proxy.worker.wind_down()
        gate.open()
    assert (asked.result().status, asked.result().get(b"connection")) == (200, b"close")


async def test_http_2_is_told_to_go_and_a_new_connection_after_its_first_request(
    proxy: Proxy, origin: Origin, h2_client: H2Client, eventually: Eventually
) -> None:
    inbound, outbound = await serve(proxy, origin)
    present, ours = await h2_client.connect(inbound), await h2_client.connect(outbound)
    for peer in (present, ours):
        assert (await peer.answer(peer.open(get()))).status == 200
    proxy.worker.wind_down()
    await present.until(lambda: present.goaways, "GOAWAY")
    await eventually(lambda: present.closed, "the idle connection closes")

    # A client that waits for SETTINGS before it asks must get to ask.
    late = await h2_client.connect(inbound)
    await late.until(lambda: late.h2.remote_settings.max_concurrent_streams == 100, "the first SETTINGS")
    assert late.goaways == []
    assert (await late.answer(late.open(get()))).status == 200
    await late.until(lambda: late.goaways, "GOAWAY")
    assert (await ours.answer(ours.open(get()))).status == 200
    assert ours.goaways == []


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
async def test_what_is_applied_meanwhile_does_not_end_it(
    before: bool, proxy: Proxy, origin: Origin, client: Client
) -> None:
    inbound, _ = await serve(proxy, origin)
    if before:
        proxy.worker.wind_down()
    other = proxy.bind()
    table = everything(forward_to("up"))
    await proxy.apply(listeners=(*proxy.snapshot.listeners, plain_listener("other", other, table)))
    if not before:
        proxy.worker.wind_down()
    for address in (inbound, other):
        connection = await client.connect(address)
        assert (await connection.get()).get(b"connection") == b"close"


async def test_a_gateways_clients_are_told_to_go_too(proxy: Proxy, origin: Origin, client: Client) -> None:
    address = proxy.bind()
    listener = plain_listener("edge", address, everything(forward_to("up")), direction=Direction.GATEWAY)
    await proxy.apply(clusters=(cluster("up", origin.address),), listeners=(listener,))
    connection = await client.connect(address)
    assert (await connection.get()).get(b"connection") is None
    proxy.worker.wind_down()
    assert (await connection.get()).get(b"connection") == b"close"
