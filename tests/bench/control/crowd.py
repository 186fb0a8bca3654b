"""Sidecars that connect all at once, in a process of their own: gRPC with TLS, every answer acknowledged as Envoy does.

It reads a JSON object with `port`, `root` (PEM file) and `nodes` from its input, then connects, writes a line when all
have everything, and stays connected until its input ends. Clusters are read for the first that has them: what a sidecar
makes of its configuration is not what is measured.
"""

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import grpc
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse

from control.xds.messages import CDS, EDS, LDS, RDS, SDS

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
NODE_METADATA = "x-bench-node"
WANTED = frozenset({CDS, EDS, LDS, RDS, SDS})
CONNECTING = 200
"""TLS handshakes under way at the same time, so that one core can make them within their time."""


class Crowd:
    """All of them."""

    def __init__(self, port: int, root: bytes) -> None:
        self._target = f"127.0.0.1:{port}"
        self._credentials = grpc.ssl_channel_credentials(root)
        self._connecting = asyncio.Semaphore(CONNECTING)
        self._endpoints: list[str] = []
        self._waiting = 0
        self.served = asyncio.Event()
        self.received = 0

    async def run(self, nodes: list[str]) -> None:
        self._waiting = len(nodes)
        async with asyncio.TaskGroup() as group:
            for node in nodes:
                group.create_task(self._sidecar(node))

    async def _sidecar(self, node: str) -> None:
        options = (
            ("grpc.max_receive_message_length", -1),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.ssl_target_name_override", "server.bench.svc.cluster.local"),
        )
        async with grpc.aio.secure_channel(self._target, self._credentials, options) as channel:
            async with self._connecting:
                await channel.channel_ready()
            call: Any = channel.stream_stream(METHOD)(metadata=((NODE_METADATA, node),))
            for url, names in ((CDS, []), (LDS, []), (RDS, ["80"]), (SDS, ["ROOTCA"])):
                await call.write(_request(node, url, names))
            had: set[str] = set()
            while (data := await call.read()) is not grpc.aio.EOF:
                self.received += len(data)
                response = DiscoveryResponse.FromString(data)
                url = response.type_url
                names = {EDS: self._endpoints, RDS: ["80"], SDS: ["ROOTCA"]}.get(url, [])
                await call.write(_request(node, url, names, response.version_info, response.nonce))
                if url == CDS:
                    first = EDS not in had
                    if not self._endpoints:
                        clusters = (Cluster.FromString(each.value) for each in response.resources)
                        self._endpoints = [each.name for each in clusters if each.type == Cluster.EDS]
                    if first:
                        await call.write(_request(node, EDS, self._endpoints))
                del response, data
                if url not in had:
                    had.add(url)
                    if had == WANTED:
                        self._waiting -= 1
                        if not self._waiting:
                            self.served.set()


def _request(node: str, url: str, names: list[str], version: str = "", nonce: str = "") -> bytes:
    message = DiscoveryRequest(type_url=url, resource_names=names, version_info=version, response_nonce=nonce)
    message.node.id = node
    message.node.user_agent_name = "remora"
    return message.SerializeToString()


async def _main() -> None:
    told = json.loads(await asyncio.to_thread(sys.stdin.readline))
    crowd = Crowd(told["port"], await asyncio.to_thread(Path(told["root"]).read_bytes))
    running = asyncio.ensure_future(crowd.run(told["nodes"]))  # ends with the process
    served = asyncio.ensure_future(crowd.served.wait())
    await asyncio.wait({running, served}, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        running.result()
    said = {"at": time.monotonic(), "bytes": crowd.received, "cpu_s": time.process_time()}
    print(json.dumps(said), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(_main())
