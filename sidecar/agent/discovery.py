"""The ADS stream: carries between the control plane and sidecar.xds.ads what each has to say, and never gives up."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse

from mesh.clock import Clock
from mesh.lifecycle import TaskScope
from sidecar.agent.backoff import Backoff
from sidecar.agent.channels import CONTROL_NAME, Credentials, describe, open_channel
from sidecar.config.endpoint import Address
from sidecar.config.messages import Refused
from sidecar.xds.ads import Ads, Request
from sidecar.xds.configuration import Configuration

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"

SETTLE_S = 0.005
"""Responses of one push that arrive within this time are applied as one configuration."""

MAX_ERROR_CHARACTERS = 4096
_INVALID_ARGUMENT = 3  # google.rpc.Code, which Envoy sends with every NACK

_log = logging.getLogger("remora.ads")


class BrokenResponse(Exception):
    """What the control plane sent is not of the protocol."""


@dataclass(slots=True)
class DiscoveryCounts:
    """For metrics."""

    connections: int = 0
    failures: int = 0
    acks: int = 0
    nacks: int = 0
    responses: int = 0
    applied: int = 0
    connected: bool = False
    last_error: str | None = None
    rejections: dict[str, str] = field(default_factory=dict)
    """By kind: why its latest response was refused; gone once one is accepted."""


class Discovery:
    """One per agent. `apply` makes a configuration serve and returns None, or why the workers refused it; `on_served`
    is called after each response that is acknowledged."""

    def __init__(
        self,
        address: Address,
        node: Node,
        ads: Ads,
        credentials: Callable[[], Credentials],
        apply: Callable[[Configuration], Awaitable[Refused | None]],
        on_served: Callable[[], None],
        clock: Clock,
        backoff: Backoff,
    ) -> None:
        self._address = address
        self._node = node
        self.ads = ads
        self._credentials = credentials
        self._apply = apply
        self._on_served = on_served
        self._clock = clock
        self._backoff = backoff
        self._requests: asyncio.Queue[Request] | None = None
        self._changed = asyncio.Event()
        self._renewed = asyncio.Event()
        self.counts = DiscoveryCounts()

    def reconnect(self) -> None:
        """Open a new stream, with new credentials, and close this one. Traffic does not notice."""
        self._renewed.set()

    async def run(self) -> None:
        """Until cancelled: one stream after the other, and between them the last good configuration serves."""
        async with TaskScope() as scope:
            scope.spawn(self._apply_changes(), name="ads apply")
            scope.spawn(self._stream_forever(), name="ads streams")
            await scope.wait_failed()

    async def _stream_forever(self) -> None:
        while True:
            self._renewed.clear()
            try:
                await self._stream()
            except grpc.aio.AioRpcError as error:
                self.counts.last_error = describe(error)
            except BrokenResponse as error:
                self.counts.last_error = str(error)
            else:
                if self._renewed.is_set():
                    _log.info("new credentials: opening a new stream")
                    continue
                self.counts.last_error = "the control plane closed the stream"
            self.counts.failures += 1
            delay_s = self._backoff.next_s()
            _log.warning("control plane %s: %s; again in %.1f s", self._address, self.counts.last_error, delay_s)
            await asyncio.sleep(delay_s)

    async def _stream(self) -> None:
        """One stream until it ends. Raises AioRpcError unless the peer closed it in good order."""
        async with open_channel(self._address, CONTROL_NAME, self._credentials()) as channel:
            method: Any = channel.stream_stream(
                METHOD,
                request_serializer=DiscoveryRequest.SerializeToString,
                response_deserializer=DiscoveryResponse.FromString,
            )
            call = method()
            requests: asyncio.Queue[Request] = asyncio.Queue()
            self._requests = requests
            for request in self.ads.connected():
                requests.put_nowait(request)
            try:
                async with TaskScope() as scope:
                    scope.spawn(self._write(call, requests), name="ads write")
                    reader = scope.spawn(self._read(call), name="ads read")
                    renewed = scope.spawn(self._renewed.wait(), name="ads renewal")
                    await asyncio.wait({reader, renewed}, return_when=asyncio.FIRST_COMPLETED)
                    if reader.done():
                        reader.result()
            finally:
                # What is still to be said belongs to this stream: its nonces mean nothing to the next.
                self._requests = None
                self.counts.connected = False
                call.cancel()

    async def _write(self, call: Any, requests: asyncio.Queue[Request]) -> None:
        first = True
        while True:
            request = await requests.get()
            message = DiscoveryRequest(
                version_info=request.version,
                response_nonce=request.nonce,
                resource_names=request.names,
                type_url=request.kind.value,
                node=self._node if first else None,
            )
            if request.error is not None:
                message.error_detail.code = _INVALID_ARGUMENT
                message.error_detail.message = request.error[:MAX_ERROR_CHARACTERS]
            first = False
            try:
                await call.write(message)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                return  # the stream has ended; the reader learns why

    async def _read(self, call: Any) -> None:
        async for response in call:
            if response is None:
                raise BrokenResponse("a response that is no DiscoveryResponse")
            if not self.counts.connected:
                self.counts.connected = True
                self.counts.connections += 1
                self.counts.last_error = None
                self._backoff.reset()
                _log.info("control plane %s: connected", self._address)
            self.counts.responses += 1
            self._send(self.ads.received(response.type_url, response.version_info, response.nonce, response.resources))
            self._changed.set()

    def _send(self, requests: Iterable[Request]) -> None:
        for request in requests:
            if request.error is not None:
                self.counts.nacks += 1
                self.counts.rejections[request.kind.name] = request.error
                _log.error("rejected %s; what was accepted before goes on: %s", request.kind.name, request.error)
            if self._requests is not None:
                self._requests.put_nowait(request)

    def _acknowledge(self, requests: Iterable[Request]) -> None:
        for request in requests:
            if request.nonce:
                self.counts.acks += 1
                self.counts.rejections.pop(request.kind.name, None)
        self._send(requests)

    async def _apply_changes(self) -> None:
        while True:
            await self._wait_for_change()
            while True:
                step = self.ads.step(self._clock.monotonic())
                if step.requests:
                    self._acknowledge(step.requests)
                    self._on_served()
                if step.configuration is None:
                    break
                await self._apply_one(step.configuration)

    async def _wait_for_change(self) -> None:
        wake_at = self.ads.wake_at()
        timeout_s = None if wake_at is None else max(0.0, wake_at - self._clock.monotonic())
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return
        await asyncio.sleep(SETTLE_S)
        self._changed.clear()

    async def _apply_one(self, configuration: Configuration) -> None:
        if self.ads.waiting_for:
            names = ", ".join(f"{kind.name} {name}" for kind, name in self.ads.waiting_for[:10])
            _log.warning("configuration %s is served without %s", configuration.version, names)
        refused = await self._apply(configuration)
        if refused is not None:
            self._send(self.ads.refused(refused.resource, refused.path, refused.reason))
            return
        self.counts.applied += 1
        _log.info(
            "configuration %s serves: %d listeners, %d routes, %d clusters",
            configuration.version,
            len(configuration.listeners),
            len(configuration.routes),
            len(configuration.clusters),
        )
        self._acknowledge(self.ads.applied())
        self._on_served()
