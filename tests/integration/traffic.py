"""Requests in number: many at once, or so many a second, every answer kept."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import aiohttp


@dataclass
class Outcome:
    """What became of the requests."""

    statuses: Counter[int] = field(default_factory=Counter)
    bodies: Counter[str] = field(default_factory=Counter)
    """By what `classify` made of each 200."""
    errors: list[str] = field(default_factory=list)
    """Requests without an answer."""

    @property
    def total(self) -> int:
        return sum(self.statuses.values()) + len(self.errors)

    @property
    def failed(self) -> int:
        return self.total - self.statuses[200]

    def __str__(self) -> str:
        return f"{self.total} requests: {dict(self.statuses)}, {len(self.errors)} without answer {self.errors[:3]}"


def podname(body: bytes) -> str:
    """Which reviews answered."""
    import json

    name: str = json.loads(body)["podname"]
    return name


class Client:
    """Sends requests by way of a sidecar, or directly."""

    def __init__(self, proxy: str | None = None, classify: Callable[[bytes], str] = lambda _: "") -> None:
        self._proxy = proxy
        self._classify = classify
        self.outcome = Outcome()

    async def _one(self, session: aiohttp.ClientSession, url: str, headers: Mapping[str, str]) -> None:
        try:
            async with session.get(url, headers=headers, proxy=self._proxy) as response:
                body = await response.read()
                self.outcome.statuses[response.status] += 1
                if response.status == 200:
                    self.outcome.bodies[self._classify(body)] += 1
        except (aiohttp.ClientError, TimeoutError) as error:
            self.outcome.errors.append(f"{type(error).__name__}: {error}")

    async def send(
        self, url: str, count: int, *, at_once: int = 16, headers: Mapping[str, str] | None = None
    ) -> Outcome:
        """`count` requests, `at_once` of them in flight."""
        left = iter(range(count))
        async with _session() as session:

            async def sender() -> None:
                for _ in left:
                    await self._one(session, url, headers or {})

            await asyncio.gather(*(sender() for _ in range(at_once)))
        return self.outcome

    async def keep_up(self, url: str, per_second: float, until: asyncio.Event) -> Outcome:
        """Requests at a fixed rate, whether or not the ones before are answered, until told."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        pending: set[asyncio.Task[None]] = set()
        sent = 0
        async with _session() as session:
            while not until.is_set():
                while sent < (loop.time() - began) * per_second:
                    task = asyncio.create_task(self._one(session, url, {}))
                    pending.add(task)
                    task.add_done_callback(pending.discard)
                    sent += 1
                await asyncio.sleep(0.002)
            await asyncio.gather(*pending)
        return self.outcome


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=20),
        cookie_jar=aiohttp.DummyCookieJar(),
    )
