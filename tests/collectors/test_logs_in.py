"""Logs on their whole way in: files and senders, parsed, cleaned, stored; the process is killed in between."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from collectors.store import Reader
from tests.collectors.forward_peers import AckingSender
from tests.collectors.standalone import Standalone

Eventually = Callable[..., Awaitable[None]]
POD = f"reviews-v1-5d8f-x2x_default_reviews-{'a1' * 32}.log"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"

SETTINGS = """
receivers:
  forward:
    listeners: [{address: "127.0.0.1:0"}]
  tail:
    include: [LOGS/*.log]
    multiline: {languages: [python]}
    scan: 100ms
processors:
  json: {type: parse, format: json}
  personal:
    type: redact
    rules: [{pattern: email}, {expression: 'order-[0-9]+', replacement: order-N, fields: [message]}]
exporters:
  store: {type: store}
routes:
- {match: {tags: ["containers.**", "app.**"]}, processors: [json, personal], exporters: [store]}
"""


def reader_of(collector: Standalone) -> Reader:
    return Reader.open(collector.directory / "state" / "store" / "telemetry.sqlite")


async def test_what_applications_say_is_found_with_its_trace_and_without_personal_data(
    tmp_path: Path, eventually: Eventually
) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    stamp = "2026-01-31T12:00:00.5Z"
    (logs / POD).write_text(
        f'{stamp} stdout F {{"msg": "order-17 of a@b.example", "level": "error", "trace_id": "{TRACE}"}}\n'
        f"{stamp} stderr F Traceback (most recent call last):\n"
        f'{stamp} stderr F   File "x.py", line 1, in f\n'
        f"{stamp} stderr F KeyError: 'a@b.example'\n"
        f"{stamp} stderr F done\n"
    )
    with await asyncio.to_thread(Standalone, tmp_path, SETTINGS.replace("LOGS", str(logs))) as collector:
        host, port = collector.address("forward.0")
        sender = AckingSender("app.orders", host=host, port=port, context=None)
        await asyncio.to_thread(sender.deliver, "c1", [{"message": '{"msg": "by a@b.example", "level": "warn"}'}])
        sender.close()
        reader = reader_of(collector)
        await eventually(lambda: reader.count_logs() == 4, "all are stored", within=15)
        (of_trace,) = reader.logs(trace_id=TRACE)
        assert of_trace.body["message"] == "order-N of [email]"
        assert (of_trace.severity, of_trace.workload, of_trace.time) == (
            "error",
            "reviews-v1-5d8f-x2x",
            1_769_860_800.5,
        )
        assert of_trace.body["k8s.namespace.name"] == "default"
        (trace,) = reader.logs(text="Traceback")
        assert trace.body["message"].count("\n") == 2
        (sent,) = reader.logs(tag="app.orders")
        assert (sent.severity, sent.body["message"]) == ("warning", "by [email]")
        assert not reader.logs(text="example")
        reader.close()
        assert await asyncio.to_thread(collector.stop) == 0


async def test_killed_while_files_are_written_and_rotated_it_has_every_line_once(
    tmp_path: Path, eventually: Eventually
) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    settings = SETTINGS.replace("LOGS", str(logs))
    command = [sys.executable, str(Path(__file__).parent / "receivers" / "tail" / "writer.py")]
    writer: asyncio.subprocess.Process | None = None
    try:
        with await asyncio.to_thread(Standalone, tmp_path, settings) as collector:
            writer = await asyncio.create_subprocess_exec(
                *command, str(logs / "app.log"), "rename", "3", "3000", "2000", stdout=asyncio.subprocess.PIPE
            )
            await stored(collector, 1_000, eventually)
            collector.kill()
        written = int((await asyncio.wait_for(writer.communicate(), 30))[0].split()[0])
        with await asyncio.to_thread(Standalone, tmp_path, settings) as collector:
            assert await stored(collector, written, eventually) == written
            assert await asyncio.to_thread(collector.stop) == 0
    finally:
        if writer is not None and writer.returncode is None:
            writer.kill()
            await writer.wait()


async def stored(collector: Standalone, enough: int, eventually: Eventually) -> int:
    """How many are stored, once there are enough."""
    reader = reader_of(collector)
    try:
        await eventually(lambda: reader.count_logs() >= enough, f"{enough} are stored", within=30)
        return reader.count_logs()
    finally:
        reader.close()
