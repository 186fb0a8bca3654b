"""A small but real ADS client over gRPC: asks for everything as Envoy does, acknowledges what it gets."""

import asyncio
from typing import Any

import grpc
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.rpc import status_pb2

from control.xds.messages import CDS, EDS, LDS, ORDER, RDS, SDS

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"


class XdsClient:
    """One stream. `run` ends when the stream does; `received` has each type's last response."""

    def __init__(self, channel: grpc.aio.Channel, node_id: str, versions: dict[str, str] | None = None) -> None:
        self.node_id = node_id
        self.received: dict[str, Any] = {}
        self.history: list[str] = []
        self.versions = versions or {}
        self.names: dict[str, set[str]] = {EDS: set(), RDS: {"outbound"}, SDS: {"ROOTCA"}}
        self.refuse: dict[str, str] = {}
        """By type URL, the words to refuse the next responses with."""
        self._nonces: dict[str, str] = {}
        self._changed = asyncio.Event()
        call = channel.stream_stream(
            METHOD,
            request_serializer=discovery_pb2.DiscoveryRequest.SerializeToString,
            response_deserializer=discovery_pb2.DiscoveryResponse.FromString,
        )
        self.call = call()

    async def ask(self, url: str, error: str | None = None) -> None:
        request = discovery_pb2.DiscoveryRequest(
            version_info=self.versions.get(url, ""),
            type_url=url,
            response_nonce=self._nonces.get(url, ""),
            resource_names=sorted(self.names.get(url, ())),
        )
        request.node.id = self.node_id
        if error is not None:
            request.error_detail.CopyFrom(status_pb2.Status(code=13, message=error))
        await self.call.write(request)

    async def run(self) -> None:
        """Until the stream ends; raises AioRpcError unless it ended well."""
        try:
            await self._run()
        finally:
            self.call.cancel()  # does nothing to one that has ended

    async def _run(self) -> None:
        for url in ORDER:
            if self.names.get(url) != set():
                await self.ask(url)
        while (response := await self.call.read()) is not grpc.aio.EOF:
            await self._take(response)
        if (code := await self.call.code()) is not grpc.StatusCode.OK:
            raise grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), await self.call.details())

    async def _take(self, response: Any) -> None:
        url = response.type_url
        self._nonces[url] = response.nonce
        self.history.append(url)
        if url in self.refuse:
            await self.ask(url, self.refuse[url])
            return
        self.received[url] = response
        self.versions[url] = response.version_info
        await self.ask(url)
        if url == CDS:
            wanted = {
                cluster.name
                for cluster in self.unpacked(CDS, cluster_pb2.Cluster)
                if cluster.type == cluster_pb2.Cluster.EDS
            }
            if wanted != self.names[EDS]:
                self.names[EDS] = wanted
                await self.ask(EDS)

    def unpacked(self, url: str, kind: Any) -> list[Any]:
        made = []
        for packed in self.received[url].resources:
            message = kind()
            assert packed.Unpack(message)
            made.append(message)
        return made

    def listeners(self) -> list[Any]:
        return self.unpacked(LDS, listener_pb2.Listener)
