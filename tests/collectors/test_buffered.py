"""Acknowledged is delivered, whatever happens to the process and its disk: the real collector, into a file."""

import asyncio
import json
import shutil
import subprocess
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from mesh.records import ACCESS_TAG
from tests.collectors.build import access_body
from tests.collectors.forward_peers import AckingSender
from tests.collectors.standalone import Standalone

Eventually = Callable[..., Awaitable[None]]

SETTINGS = """\
receivers:
  forward:
    listeners:
      - address: 127.0.0.1:0
exporters:
  out:
    type: file
    path: out.ndjson
    buffer: {batch_records: 100, segment_bytes: 256KiB}
routes:
  - exporters: [out]
"""
CHUNK = 20


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


class Sender(threading.Thread):
    """Sends numbered access records until told to stop; `acknowledged` of them were."""

    def __init__(self, name: str, host: str, port: int, total: int) -> None:
        super().__init__()
        self._sender = AckingSender(ACCESS_TAG, host=host, port=port, context=None, timeout=1.0)
        self.sender_name = name
        self.total = total
        self.acknowledged = 0

    def run(self) -> None:
        for first in range(0, self.total, CHUNK):
            bodies = [access_body(n, id=f"{self.sender_name}/{n}") for n in range(first, first + CHUNK)]
            self._sender.deliver(f"{self.sender_name}-{first}", bodies, within_s=60)
            self.acknowledged = first + CHUNK
        self._sender.close()


async def test_killed_three_times_while_it_writes_every_acknowledged_record_is_delivered(
    tmp_path: Path, eventually: Eventually
) -> None:
    collector = await asyncio.to_thread(Standalone, tmp_path, SETTINGS)
    settings = collector.with_same_ports(SETTINGS)
    host, port = collector.address("forward.0")
    senders = [Sender(name, host, port, 3_000) for name in ("a", "b")]
    for sender in senders:
        sender.start()
    out = tmp_path / "out.ndjson"
    try:
        for threshold in (400, 1_200, 2_000):
            await eventually(
                lambda least=threshold: max(one.acknowledged for one in senders) >= least, "it gets on", within=60
            )
            await asyncio.to_thread(collector.kill)
            collector = await asyncio.to_thread(Standalone, tmp_path, settings)
        for sender in senders:
            await asyncio.to_thread(sender.join, 60)
        assert [sender.acknowledged for sender in senders] == [3_000, 3_000]
        expected = {f"{sender.sender_name}/{n}" for sender in senders for n in range(3_000)}

        def found() -> Counter[str]:
            return Counter(line["id"] for line in lines(out))

        await eventually(lambda: found().keys() >= expected, "every record is there", within=20)
        assert found().keys() == expected
        # Twice is what was being written when it died, or was sent again for want of an acknowledgement.
        again = found().total() - len(expected)
        assert again <= 3 * (2 * 100 + len(senders) * CHUNK)
    finally:
        if collector.process.poll() is None:
            assert await asyncio.to_thread(collector.stop) == 0
        for sender in senders:
            await asyncio.to_thread(sender.join, 60)
    assert not list((tmp_path / "state" / "buffers" / "out").glob("*.segment")), "all is delivered"


async def test_stopped_in_order_nothing_is_written_twice(tmp_path: Path, eventually: Eventually) -> None:
    collector = await asyncio.to_thread(Standalone, tmp_path, SETTINGS)
    settings = collector.with_same_ports(SETTINGS)
    for round_ in range(2):
        sender = Sender(f"r{round_}", *collector.address("forward.0"), total=400)
        await asyncio.to_thread(sender.run)
        assert await asyncio.to_thread(collector.stop) == 0
        collector = await asyncio.to_thread(Standalone, tmp_path, settings)
    with collector:
        await eventually(lambda: len(lines(tmp_path / "out.ndjson")) == 800, "all arrive")
        assert len({line["id"] for line in lines(tmp_path / "out.ndjson")}) == 800


async def test_a_second_collector_is_refused_the_buffer(tmp_path: Path) -> None:
    with await asyncio.to_thread(Standalone, tmp_path, SETTINGS):
        second = await asyncio.to_thread(Standalone, tmp_path, SETTINGS, expect_ready=False)
        assert await asyncio.to_thread(second.process.wait, 10) == 1
        assert "exporters.out.buffer: another process uses the buffer" in second.log()
        assert "Traceback" not in second.log()


TMPFS = 'mkdir -p "$0" && mount -t tmpfs -o size=1m tmpfs "$0" && exec "$@"'
FULL_DISK = """\
receivers:
  forward:
    listeners:
      - address: 127.0.0.1:0
exporters:
  out:
    type: file
    path: {out}
    buffer: {{max_bytes: 64MiB, batch_records: 50, segment_bytes: 64KiB, retry_min: 10ms, retry_max: 50ms}}
routes:
  - exporters: [out]
"""


def may_unshare() -> bool:
    return shutil.which("unshare") is not None and subprocess.run(["unshare", "-rm", "true"]).returncode == 0


@pytest.mark.skipif(not may_unshare(), reason="needs a mount namespace: as root, with apt-get install util-linux")
async def test_on_a_full_disk_nothing_is_acknowledged_and_it_recovers_alone(
    tmp_path: Path, eventually: Eventually
) -> None:
    """The buffers are on a tmpfs of 1 MB in a mount namespace of the collector's own."""
    blocked = tmp_path / "not" / "there"
    buffers = tmp_path / "state" / "buffers"
    within = ["unshare", "-rm", "sh", "-c", TMPFS, str(buffers)]
    settings = FULL_DISK.format(out=blocked / "out.ndjson")
    collector = await asyncio.to_thread(Standalone, tmp_path, settings, within=within)
    with collector:
        sender = Sender("a", *collector.address("forward.0"), total=4_000)
        sender.start()
        async with httpx.AsyncClient(base_url=f"http://{collector.ready['health']}") as client:

            async def stalled() -> bool:
                return (await client.get("/healthz")).status_code == 503

            await eventually(stalled, "the disk is full", within=30)
            health = (await client.get("/healthz")).json()
            assert "No space left on device" in health["stalled"]
            assert "cannot write" in health["exporters"]["out"]["last_error"]
            stood = sender.acknowledged
            assert 200 < stood < 4_000
            metrics = (await client.get("/metrics")).text
            assert 'remora_collector_exporter_stalled{exporter="out"} 1.0' in metrics
            assert "No space left on device: nothing is acknowledged until that changes" in collector.log()
            # The back end comes back: what is delivered makes room.
            blocked.mkdir(parents=True)
            await asyncio.to_thread(sender.join, 60)
            assert sender.acknowledged == 4_000
            out = blocked / "out.ndjson"
            await eventually(lambda: len({line["id"] for line in lines(out)}) == 4_000, "all arrive", within=20)
            assert (await client.get("/healthz")).json()["ready"]
            assert "takes records again" in collector.log()
        assert await asyncio.to_thread(collector.stop) == 0
