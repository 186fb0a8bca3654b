"""`remora.mesh.v1.Targets/Watch`: the list of targets for the collector of a cluster, which shares no directory with
us. At once, then whenever it is another, until the certificate ends.

The request is empty, a response is a google.protobuf.BytesValue: `targets.json` as in `control.debug.targets`.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.wrappers_pb2 import BytesValue
from prometheus_client import CollectorRegistry, Counter, Gauge

from control.api.world import World
from control.ca.errors import Unauthenticated
from control.ca.peer import Peer
from mesh.clock import Clock
from mesh.spiffe import SpiffeId

_log = logging.getLogger("control.xds")

SERVICE = "remora.mesh.v1.Targets"
METHOD = "Watch"
MAX_LIST_BYTES = 8 * 1024 * 1024
"""Of one list; that of 5,000 pods has 2 MB. What is larger is not sent: the collector would not read it."""
MAX_WATCHERS = 8
"""At the same time. There is one collector, and for a moment its successor."""
SETTLE_S = 0.5
"""After a change, for others that come with it."""

Context = grpc.aio.ServicerContext[bytes, bytes]


class TargetsService:
    """Answers Watch. `update` is told of every World and is quick: a list is made when somebody wants it."""

    def __init__(
        self,
        reader: SpiffeId,
        render: Callable[[World], bytes],
        clock: Clock,
        identify: Callable[[Context], Peer],
        registry: CollectorRegistry,
    ) -> None:
        """`reader` alone is answered, with what `render` makes of the World."""
        self._reader = reader
        self._clock = clock
        self._identify = identify
        self._render = render
        self._world = World()
        self._rendered: tuple[World, bytes] | None = None
        self._watchers: set[asyncio.Event] = set()
        self._too_large = False
        watching = Gauge("remora_control_targets_streams", "Collectors that follow the targets", registry=registry)
        watching.set_function(lambda: float(len(self._watchers)))
        self._sent = Counter("remora_control_targets_lists_sent", "Lists of targets sent", registry=registry)
        self._refused = Counter(
            "remora_control_targets_refused", "Streams and lists that were not served, by reason", ("reason",),
            registry=registry,
        )  # fmt: skip

    def handler(self) -> Any:
        """What a grpc.aio server is given."""
        return grpc.method_handlers_generic_handler(
            SERVICE, {METHOD: grpc.unary_stream_rpc_method_handler(self._watch)}
        )

    def update(self, world: World) -> None:
        """This is the World now."""
        self._world = world
        for changed in self._watchers:
            changed.set()

    async def _watch(self, _request: bytes, context: Context) -> None:
        try:
            peer = self._identify(context)
        except Unauthenticated as error:
            self._refused.labels("identity").inc()
            _log.warning("targets for %s refused: %s", context.peer(), error)
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "unauthenticated")
        if peer.identity != self._reader:
            self._refused.labels("not allowed").inc()
            _log.warning("targets for %s refused: %s is not %s", context.peer(), peer.identity, self._reader)
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "targets are for the collector alone")
        if len(self._watchers) >= MAX_WATCHERS:
            self._refused.labels("too many").inc()
            _log.warning("targets for %s refused: there are %d streams", context.peer(), MAX_WATCHERS)
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{MAX_WATCHERS} streams are open; wait a little")
        changed = asyncio.Event()
        self._watchers.add(changed)
        _log.info("%s follows the targets from %s", peer.identity, context.peer())
        try:
            await self._serve(peer, changed, context)
        finally:
            self._watchers.discard(changed)
            _log.info("%s at %s follows the targets no longer", peer.identity, context.peer())

    async def _serve(self, peer: Peer, changed: asyncio.Event, context: Context) -> None:
        """Returns when the certificate ends: who has a new one comes again with it."""
        sent: bytes | None = None
        while (left_s := peer.not_after - self._clock.now()) > 0:
            changed.clear()
            data = self._list()
            if data is not None and data != sent:
                await context.write(BytesValue(value=data).SerializeToString())
                self._sent.inc()
                sent = data
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await changed.wait()
                    await asyncio.sleep(SETTLE_S)

    def _list(self) -> bytes | None:
        """Made once for all. None: too large."""
        world = self._world
        if self._rendered is None or self._rendered[0] is not world:
            self._rendered = world, self._render(world)
        data = self._rendered[1]
        if len(data) <= MAX_LIST_BYTES:
            self._too_large = False
            return data
        self._refused.labels("too large").inc()
        if not self._too_large:
            _log.error("the targets have %d bytes, more than %d: the collector keeps the list of before", len(data),
                       MAX_LIST_BYTES)  # fmt: skip
        self._too_large = True
        return None
