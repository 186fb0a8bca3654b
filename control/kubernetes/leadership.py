"""Holding a Lease: the loop around `lease`. It asks, renews, gives up, and says who leads."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable

import orjson

from control.kubernetes.client import KubeClient
from control.kubernetes.errors import ApiError
from control.kubernetes.lease import LeaseRecord, LeaseTerms, Move, Seen, first, held, move, released, see
from control.kubernetes.resources import LEASES, Call
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
                await self._wait(self._terms.retry_s * (1 + self._rng.random() * self._terms.jitter))

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

    async def _wait(self, seconds: float) -> None:
        """Sleep, or less: until a watch tells that the lease was given up. The watch is a convenience; without it, or
        without permission for it, the next attempt comes when it would have come anyway."""
        record = self._seen.record if self._seen is not None else None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                # Nobody's lease that we could not take is one to wait for, too.
                if record is None or not record.holder or not await self._given_up(record.version):
                    await asyncio.sleep(seconds)

    async def _given_up(self, version: str) -> bool:
        call = Call("watch", LEASES, self._namespace)
        params = {
            "watch": "true",
            "fieldSelector": f"metadata.name={self._name}",
            "resourceVersion": version,
        }
        try:
            async with self._client.stream(call, params=params) as lines:
                async for line in lines:
                    event = orjson.loads(line)
                    if event.get("type") == "DELETED":
                        return True
                    if event.get("type") in ("ADDED", "MODIFIED") and not LeaseRecord.of(event["object"]).holder:
                        return True
        except (ApiError, ValueError, KeyError, TypeError):
            return False
        return False

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
