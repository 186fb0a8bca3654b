"""Holding a Lease: the loop around `lease`. It asks, renews, follows who holds it, gives up, and says who leads."""

import asyncio
import logging
import random
from collections.abc import Callable

from control.kubernetes.client import KubeClient
from control.kubernetes.errors import ApiError
from control.kubernetes.lease import LeaseRecord, LeaseTerms, Move, Seen, first, held, left_s, move, released, see
from control.kubernetes.resources import LEASES, Call
from control.kubernetes.watch_events import EventDecoder, NoWatchEvent, WatchEvent
from mesh.clock import Clock

_log = logging.getLogger("control.leader")


RELEASE_S = 2.0
"""Whoever ends has no time to wait for an API server that does not answer."""


class Leadership:
    """One candidate for one lease. `run` it in a task; `release` when that has ended."""

    def __init__(
        self,
        client: KubeClient,
        clock: Clock,
        rng: random.Random,
        *,
        namespace: str,
        name: str,
        identity: str,
        terms: LeaseTerms | None = None,
    ) -> None:
        """`identity` must be no other process's, a restarted one's included."""
        self._client = client
        self._clock = clock
        self._rng = rng
        self._namespace = namespace
        self._name = name
        self._me = identity
        self._terms = terms or LeaseTerms()
        self._seen: Seen | None = None
        self._until = float("-inf")
        self._said_leading = False
        self._said_error = ""
        self.on_change: list[Callable[[bool], None]] = []
        """Called when this process begins and ceases to lead. What may only be done by the leader asks `leading`, each
        time: ceasing is by the clock and may be noticed here later."""

    @property
    def leading(self) -> bool:
        """Whether nobody else can be leading now."""
        return self._clock.monotonic() < self._until

    @property
    def holder(self) -> str:
        """Who holds the lease as far as is known here."""
        return self._seen.record.holder if self._seen is not None else ""

    async def run(self) -> None:
        """Lead whenever nobody else does, for ever."""
        while True:
            await self._attempt()
            self._tell()
            if self.leading:
                await asyncio.sleep(self._terms.retry_s)
            else:
                await self._wait()

    async def release(self) -> None:
        """Let the next one take over at once. To be called when `run` has ended; what it cannot do, time does."""
        leading, self._until = self.leading, float("-inf")
        self._tell(released=True)
        if not leading or self._seen is None:
            return
        try:
            async with asyncio.timeout(RELEASE_S):
                await self._write(released(self._seen.record, self._clock.now()))
            _log.info("gave up the lease %s/%s", self._namespace, self._name)
        except (ApiError, TimeoutError) as error:
            _log.warning("could not give up the lease; it ends in %d s: %s", self._terms.lease_s, error)

    @property
    def _call_s(self) -> float:
        """A call that hangs must leave time for another before the deadline."""
        return self._terms.renew_deadline_s / 2

    async def _attempt(self) -> None:
        began = self._clock.monotonic()
        try:
            async with asyncio.timeout(self._call_s):
                if await self._take_or_renew_once_more():
                    self._until = began + self._terms.renew_deadline_s
            if self._said_error:
                _log.info("the lease %s/%s can be read and written again", self._namespace, self._name)
            self._said_error = ""
        except (ApiError, TimeoutError) as error:
            self._failed(error)

    def _failed(self, error: ApiError | TimeoutError) -> None:
        if isinstance(error, ApiError) and self._outrun(error):
            return
        said = str(error) or "no answer in time"
        if said != self._said_error:
            _log.error("the lease %s/%s: %s", self._namespace, self._name, said)
        self._said_error = said

    async def _take_or_renew_once_more(self) -> bool:
        """Who was outrun looks at once who was quicker, rather than a retry later: only who has seen a record can wait
        for its end. Raises ApiError."""
        try:
            return await self._take_or_renew()
        except ApiError as error:
            if not self._outrun(error):
                raise
        return await self._take_or_renew()

    def _outrun(self, error: ApiError) -> bool:
        if error.conflict or error.exists or error.not_found:
            self._seen = None
            return True
        return False

    async def _take_or_renew(self) -> bool:
        """Whether the lease is ours. Raises ApiError."""
        now = self._clock.now()
        if not (self.leading and self._seen is not None):
            # A leader knows what stands there: it wrote it. If not, the update is refused.
            lease = await self._client.find(LEASES, self._name, self._namespace)
            if lease is None:
                made = first(self._me, self._terms, now)
                created = await self._client.create(LEASES, self._document(made), self._namespace)
                self._seen = Seen(LeaseRecord.of(created), self._clock.monotonic())
                return True
            self._seen = see(self._seen, LeaseRecord.of(lease), self._clock.monotonic())
        if self._seen.record.holder not in ("", self._me):
            self._until = float("-inf")
        if move(self._me, self._seen, self._clock.monotonic()) is Move.WAIT:
            return False
        await self._write(held(self._me, self._terms, self._seen.record, now))
        return True

    async def _write(self, record: LeaseRecord) -> None:
        written = await self._client.update(LEASES, self._name, self._document(record), self._namespace)
        self._seen = Seen(LeaseRecord.of(written), self._clock.monotonic())

    def _document(self, record: LeaseRecord) -> dict[str, object]:
        metadata = {"name": self._name, "namespace": self._namespace}
        if record.version:
            metadata["resourceVersion"] = record.version
        return {"apiVersion": LEASES.api_version, "kind": "Lease", "metadata": metadata, "spec": record.spec()}

    @property
    def _left_s(self) -> float:
        """Until another's lease ends, as far as is known here; 0 where none is known that has time left."""
        return left_s(self._me, self._seen, self._clock.monotonic()) if self._seen is not None else 0.0

    async def _wait(self) -> None:
        """Until there is reason for another attempt: as a follower to the end of the lease, else for as long as a poll
        takes, as after a failure, and with a lease that is nobody's and could not be taken."""
        poll_s = self._terms.retry_s * (1 + self._rng.random() * self._terms.jitter)
        if self._left_s == 0:
            await asyncio.sleep(poll_s)
        elif not await self._follow():
            await asyncio.sleep(min(poll_s, self._left_s))

    async def _follow(self) -> bool:
        """Take note of renewals as a watch tells of them, so that the end of the lease is known to a round trip.

        True when an attempt is due: the lease ends, or was given up, or nothing was told for so long that a living
        leader would have renewed. False where there is no watch, or no permission for one: polls are left.
        """
        assert self._seen is not None
        call = Call("watch", LEASES, self._namespace)
        params = {
            "watch": "true",
            "fieldSelector": f"metadata.name={self._name}",
            "resourceVersion": self._seen.record.version,
        }
        idle_s = self._terms.retry_s * (1 + self._terms.jitter)
        decoder = EventDecoder()
        loop = asyncio.get_running_loop()
        try:
            async with (
                asyncio.timeout(self._left_s) as ending,
                self._client.stream(call, params=params, idle_timeout_s=idle_s) as stream,
            ):
                async for data in stream.iter_any():
                    for event in decoder.feed(data):
                        if event.type == "ERROR":
                            return False
                        if not self._learn(event):
                            return True
                    ending.reschedule(loop.time() + self._left_s)
        except TimeoutError:
            return True
        except ApiError as error:
            return error.reason == "Timeout"
        except NoWatchEvent:
            return False
        return False

    def _learn(self, event: WatchEvent) -> bool:
        """Whether another holds the lease still."""
        if event.type == "DELETED":
            self._seen = None
        elif event.type != "BOOKMARK":
            self._seen = see(self._seen, LeaseRecord.of(event.object), self._clock.monotonic())
        return self._left_s > 0

    def _tell(self, *, released: bool = False) -> None:
        leading = self.leading
        if leading == self._said_leading:
            return
        self._said_leading = leading
        if leading:
            _log.info("leading: %s holds the lease %s/%s", self._me, self._namespace, self._name)
        elif not released:
            _log.warning("not leading any more; %s holds the lease", self.holder or "nobody")
        for changed in self.on_change:
            changed(leading)
