"""What the admin pages show, made up; and a client for them."""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass

from sidecar.agent.exposition import Labels
from sidecar.agent.supervisor import CannotReplace


class FakeViews:
    """An agent without parts."""

    def __init__(self) -> None:
        self.word = "LIVE"
        self.stopped: list[str] = []
        self.workers: list[dict[str, object]] = []
        self.slow = asyncio.Event()
        self.slow.set()

    def state(self) -> str:
        return self.word

    def config_dump(self) -> str:
        return json.dumps({"configs": []})

    async def inspect(self, what: str) -> list[str]:
        await self.slow.wait()
        return [json.dumps(worker[what]) for worker in self.workers]

    async def metrics(self, *, openmetrics: bool) -> bytes:
        return b"# HELP a b\n# TYPE a gauge\na 1\n" + (b"# EOF\n" if openmetrics else b"")

    def totals(self) -> Iterable[tuple[str, Labels, float]]:
        yield "envoy_cluster_upstream_cx_total", (("envoy_cluster_name", "outbound|80||a"),), 5
        yield "envoy_listener_downstream_cx_active", (("envoy_listener_address", "127.0.0.1_80"),), 2.0
        yield "istio_requests_total", (("reporter", "source"),), 7
        yield "remora_agent_workers", (), 1

    def stop(self, why: str) -> None:
        self.stopped.append(why)

    async def replace_workers(self) -> int:
        if not self.workers:
            raise CannotReplace("no worker serves")
        return len(self.workers)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: str


async def exchange(port: int, data: bytes) -> bytes:
    """Send bytes, read until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    try:
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()


def parse_answer(data: bytes) -> Answer:
    head, _, body = data.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert int(headers["content-length"]) == len(body)
    return Answer(int(status.split()[1]), headers, body.decode())


async def ask(port: int, method: str, target: str, **headers: str) -> Answer:
    """One request on a connection of its own."""
    fields = {"host": "127.0.0.1:1", "connection": "close"} | {k.replace("_", "-"): v for k, v in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return parse_answer(await exchange(port, f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode()))
