"""A part of the collector that ends by a mistake of ours ends the collector, in sight, and not itself alone."""

import asyncio
import sys
from pathlib import Path

import msgpack

from tests.collectors.standalone import Standalone

BROKEN = """
from collectors.exporters.blackhole import Blackhole, Settings


class Broken(Blackhole):
    async def send(self, batch):
        return None  # no outcome: whoever asked for one does not survive it


def build(settings, name, context):
    return Broken()
"""
PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from collectors.settings import registry
registry.EXPORTERS["broken"] = "broken_exporter"
from collectors.app import main
sys.exit(main(sys.argv[5:]))
"""
SETTINGS = """\
receivers:
  forward:
    listeners:
      - address: 127.0.0.1:0
exporters:
  out:
    type: broken
routes:
  - exporters: [out]
"""


async def test_a_sender_that_ends_by_a_mistake_ends_the_collector_and_what_it_had_stays_on_disk(tmp_path: Path) -> None:
    (tmp_path / "broken_exporter.py").write_text(BROKEN)
    within = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    with await asyncio.to_thread(lambda: Standalone(tmp_path, SETTINGS, within=within)) as collector:
        _, writer = await asyncio.open_connection(*collector.address("forward.0"))
        writer.write(msgpack.packb(["app", 5, {"message": "hello"}]))
        assert await asyncio.to_thread(collector.process.wait, 20) == 1
        writer.close()
        assert "AttributeError" in collector.log()
        assert list((tmp_path / "state" / "buffers" / "out").glob("*.segment")), "it is sent after a restart"
