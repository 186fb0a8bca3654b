"""Metrics from collector to collector by OTLP, through an outage of the one that takes them."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from collectors.web import WebServer
from mesh.asgi import Receive, Scope, Send, respond
from tests.collectors.standalone import Standalone

Eventually = Callable[..., Awaitable[None]]

SENDER = """\
receivers:
  scrape: {{interval: 100ms, timeout: 100ms, jobs: [{{name: shop, static: ["{target}"]}}]}}
exporters:
  central:
    {{type: otlp, protocol: {protocol}, url: "http://127.0.0.1:{port}", buffer: {{retry_min: 50ms, retry_max: 100ms}}}}
routes: [{{match: {{signals: [metrics]}}, exporters: [central]}}]
"""
RECEIVER = """\
receivers:
  otlp: {{listeners: [{{protocol: {protocol}, address: "127.0.0.1:{port}", mesh_metrics: true}}]}}
exporters:
  kept: {{type: file, path: kept.ndjson}}
routes: [{{exporters: [kept]}}]
"""


class Target:
    """Shows a counter that has grown by one at each look."""

    def __init__(self) -> None:
        self.looks = 0
        self._server = WebServer(self)
        self.address = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.looks += 1
        text = (
            f"# TYPE istio_requests_total counter\nistio_requests_total {self.looks}\n"
            f'# TYPE wait_seconds histogram\nwait_seconds_bucket{{le="1"}} {self.looks}\n'
            f'wait_seconds_bucket{{le="+Inf"}} {2 * self.looks}\nwait_seconds_sum 3\n'
            f"wait_seconds_count {2 * self.looks}\n"
        )
        await respond(send, 200, text.encode(), "text/plain; version=0.0.4")

    async def __aenter__(self) -> "Target":
        sock = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{sock.getsockname()[1]}"
        await self._server.listen(sock)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.close()


def kept(directory: Path, name: str) -> list[dict[str, Any]]:
    path = directory / "kept.ndjson"
    # What is behind the last line's end is being written.
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [one for one in map(json.loads, lines) if one["name"] == name]


@pytest.mark.parametrize("protocol", ["grpc", "http"])
async def test_no_reading_is_missing_after_an_outage_and_all_are_in_order(
    tmp_path: Path, eventually: Eventually, protocol: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    here, there = tmp_path / "sender", tmp_path / "receiver"
    for directory in (here, there):
        directory.mkdir()
    settings = RECEIVER.format(protocol=protocol, port=port)
    async with Target() as target:
        sending = SENDER.format(protocol=protocol, port=port, target=target.address)
        with await asyncio.to_thread(Standalone, here, sending) as sender:
            # Nobody is there yet.
            await eventually(lambda: target.looks >= 3, "it scrapes")
            with await asyncio.to_thread(Standalone, there, settings) as receiver:
                await eventually(lambda: kept(there, "istio_requests_total"), "what waited arrives")
                receiver.kill()
            looks = target.looks
            await eventually(lambda: target.looks >= looks + 3, "it goes on while nobody is there")
            with await asyncio.to_thread(Standalone, there, settings) as receiver:
                looks = target.looks

                def arrived() -> bool:
                    return any((one["value"] or 0) > looks for one in kept(there, "istio_requests_total"))

                await eventually(arrived, "and all of it arrives")
                async with httpx.AsyncClient(base_url=f"http://{sender.ready['health']}") as client:
                    exporter = (await client.get("/healthz")).json()["exporters"]["central"]
                assert (exporter["refused"], exporter["dropped"]) == (0, 0)
                assert await asyncio.to_thread(sender.stop) == 0
                assert await asyncio.to_thread(receiver.stop) == 0
    readings = kept(there, "istio_requests_total")
    values = [one["value"] for one in readings if one["value"] is not None]
    first_seen = list(dict.fromkeys(values))
    # What the killed receiver had taken without having answered is there twice, at the same time.
    assert first_seen == sorted(first_seen)
    # A look that a busy machine made too slow has a number that nobody read; `up`, which says so, arrived as well.
    failed = {one["time"] for one in kept(there, "up") if one["value"] == 0}
    assert len(first_seen) + len(failed) >= first_seen[-1]
    assert len({(one["time"], one["value"]) for one in readings}) == len({one["time"] for one in readings})
    histograms = kept(there, "wait_seconds")
    assert histograms[0]["histogram"] == {"bounds": [1.0, "inf"], "counts": [1, 2], "sum": 3.0}
    assert histograms[0]["labels"] == {"instance": target.address, "job": "shop"}
    assert histograms[0]["kind"] == "histogram"
