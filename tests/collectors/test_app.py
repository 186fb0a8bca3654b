"""The collector as its users meet it: a process, real senders, its store."""

import asyncio
import base64
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from collectors.store import Reader
from collectors.tls import client_context
from mesh.records import ACCESS_TAG
from tests.collectors.authority import Doors, Mint
from tests.collectors.build import access_body
from tests.collectors.forward_peers import AckingSender, TlsFluentSender
from tests.collectors.process import Collector


@pytest.fixture
async def doors(tmp_path: Path) -> AsyncIterator[Doors]:
    directory = tmp_path / "ca"
    directory.mkdir()
    async with Doors(Mint(), directory) as doors:
        yield doors


def reader_of(state: Path) -> Reader:
    return Reader.open(state / "store" / "telemetry.sqlite")


async def test_fluent_logger_s_records_are_found_and_sigterm_ends_it_with_0(doors: Doors, tmp_path: Path) -> None:
    state = tmp_path / "state"
    with await asyncio.to_thread(Collector, doors, state) as collector:
        host, port = collector.address("forward")
        sender = TlsFluentSender("app", host=host, port=port, context=client_context(doors.mint.credentials()))
        for number in range(100):
            assert await asyncio.to_thread(sender.emit, "log", {"message": f"line {number}", "level": "warn"})
        sender.close()
        reader = reader_of(state)

        async def stored() -> None:
            while reader.count_logs() < 100:
                await asyncio.sleep(0.01)

        await asyncio.wait_for(stored(), 10)
        entry = reader.logs(text='"line 42"')[0]
        reader.close()
        assert (entry.tag, entry.workload, entry.severity) == ("app.log", "bookinfo-productpage", "warning")
        assert await asyncio.to_thread(collector.stop) == 0


@pytest.mark.parametrize("signal", ["kill -9", "SIGTERM"])
async def test_5000_requests_are_found_exactly_once_per_hop_though_the_collector_dies(
    doors: Doors, tmp_path: Path, signal: str
) -> None:
    """Two hops, a sender each; the collector is ended twice in the middle and comes back on the same ports."""
    state = tmp_path / "state"
    context = client_context(doors.mint.credentials())
    hops = ("ingress", "productpage-v1")
    total, chunk = 5_000, 20
    progress = dict.fromkeys(hops, 0)
    collector = await asyncio.to_thread(Collector, doors, state)
    host, port = collector.address("forward")

    def send(hop: str) -> None:
        sender = AckingSender(ACCESS_TAG, host=host, port=port, context=context)
        for first in range(0, total, chunk):
            bodies = [access_body(n, id=f"{hop}/e1/{n}", workload=hop) for n in range(first, first + chunk)]
            sender.deliver(base64.b64encode(f"{hop}{first:08}".encode()).decode(), bodies)
            progress[hop] = first + chunk
        sender.close()

    threads = [threading.Thread(target=send, args=(hop,)) for hop in hops]
    for thread in threads:
        thread.start()
    try:
        for threshold in (1_000, 3_000):
            while max(progress.values()) < threshold:
                await asyncio.sleep(0.005)
            acknowledged = dict(progress)
            if signal == "SIGTERM":
                assert await asyncio.to_thread(collector.stop) == 0
            else:
                await asyncio.to_thread(collector.kill)
            reader = reader_of(state)
            for hop, count in acknowledged.items():
                assert reader.count_logs(workload=hop) >= count, "an acknowledged record is gone"
            reader.close()
            collector = await asyncio.to_thread(Collector, doors, state, *collector.same_ports())
        for thread in threads:
            await asyncio.to_thread(thread.join, 60)
        assert progress == dict.fromkeys(hops, total)
        reader = reader_of(state)
        for hop in hops:
            found = reader.logs(workload=hop, limit=10_000)
            assert sorted(entry.id for entry in found) == sorted(f"{hop}/e1/{n}" for n in range(total))
        reader.close()
    finally:
        if collector.process.poll() is None:
            await asyncio.to_thread(collector.stop)
        for thread in threads:
            await asyncio.to_thread(thread.join, 60)
