"""Bodies that come slowly, many at once, or not to their end: what is held is bounded, honest reviews get through."""

import asyncio
import contextlib
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace

import httpx
import pytest
from prometheus_client import CollectorRegistry

from control.injector.settings import InjectorSettings, NamespaceFacts
from control.webhooks.bodies import DEFAULT_LIMITS, BodyLimits
from control.webhooks.inject import Injection
from control.webhooks.server import WebhookMetrics, Webhooks
from mesh.clock import SystemClock
from tests.control.webhooks.reviews import encoded, pod, review

Eventually = Callable[..., Awaitable[None]]
MEGABYTE = 1024 * 1024


async def _namespace(name: str) -> NamespaceFacts:
    return NamespaceFacts(name, {"remora.io/injection": "enabled"})


def _large_review() -> bytes:
    """Of a pod that can be injected into."""
    large = pod()
    large["spec"]["containers"][0]["args"] = ["x" * MEGABYTE]
    return encoded(review(large))


@dataclass
class Scene:
    """A server; `slow` clients send what they are given and then nothing until `release`."""

    limits: BodyLimits
    release: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        answers = {"/inject": Injection(InjectorSettings, _namespace)}
        self.webhooks = Webhooks(answers, SystemClock(), WebhookMetrics(CollectorRegistry()), self.limits)
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(self.webhooks), base_url="https://remora")

    async def ask(self, content: bytes | AsyncIterator[bytes]) -> httpx.Response:
        return await self.http.post("/inject", content=content, headers={"content-type": "application/json"})

    async def slow(self, *pieces: bytes) -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece
        await self.release.wait()


@contextlib.asynccontextmanager
async def serving(limits: BodyLimits = DEFAULT_LIMITS) -> AsyncIterator[Scene]:
    scene = Scene(limits)
    async with scene.http:
        yield scene
        scene.release.set()


async def test_slow_bodies_do_not_keep_a_large_review_out(eventually: Eventually) -> None:
    async with serving(replace(DEFAULT_LIMITS, patience_s=60.0, timeout_s=60.0)) as scene, asyncio.TaskGroup() as group:
        started = b" " * (MEGABYTE + 1)
        slow = [group.create_task(scene.ask(scene.slow(started))) for _ in range(8)]
        await eventually(lambda: scene.webhooks.bodies.held_bytes == 8 * len(started), "they are under way")
        answer = await scene.ask(encoded(review(pod(annotations={"a": "x" * 5_000_000}))))
        assert answer.json()["response"]["status"]["code"] == 403, "too large to be injected into, by name"
        assert not any(task.done() for task in slow)
        scene.release.set()


async def test_who_stands_still_makes_room_for_who_comes(eventually: Eventually) -> None:
    limits = BodyLimits(max_held_bytes=6 * MEGABYTE, patience_s=60.0, timeout_s=60.0)
    async with serving(limits) as scene, asyncio.TaskGroup() as group:
        first = group.create_task(scene.ask(scene.slow(b" " * 3 * MEGABYTE)))
        await eventually(lambda: scene.webhooks.bodies.held_bytes == 3 * MEGABYTE, "the first is under way")
        second = group.create_task(scene.ask(scene.slow(b" " * 3 * MEGABYTE)))
        await eventually(lambda: scene.webhooks.bodies.held_bytes == 6 * MEGABYTE, "there is no more room")
        assert (await scene.ask(_large_review())).json()["response"]["allowed"]
        await eventually(first.done, "the one that stood still for longest gave way")
        answer = first.result()
        assert (answer.status_code, answer.json()["error"]) == (503, "others came faster, and there is no room for all")
        assert not second.done()
        scene.release.set()


async def test_what_is_held_is_bounded_however_many_send(eventually: Eventually) -> None:
    limits = BodyLimits(max_held_bytes=4 * MEGABYTE, patience_s=60.0, timeout_s=60.0)
    highest = 0
    async with serving(limits) as scene:
        piece = b" " * (MEGABYTE // 4)

        async def many() -> AsyncIterator[bytes]:
            nonlocal highest
            for _ in range(12):
                yield piece
                highest = max(highest, scene.webhooks.bodies.held_bytes)
            await scene.release.wait()

        tracemalloc.start()
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(scene.ask(many())) for _ in range(40)]
                await eventually(lambda: sum(task.done() for task in tasks) >= 38, "there is room for one and a part")
                _, peak_bytes = tracemalloc.get_traced_memory()
                scene.release.set()
        finally:
            tracemalloc.stop()
        assert 3 * MEGABYTE <= highest <= limits.max_held_bytes
        assert peak_bytes < 3 * limits.max_held_bytes, "120 MB were sent"
        assert {task.result().status_code for task in tasks} <= {400, 503}
        assert scene.webhooks.bodies.held_bytes == 0


async def test_a_body_waits_for_the_answers_to_others(eventually: Eventually) -> None:
    answering, go_on = asyncio.Event(), asyncio.Event()

    async def _slowly(name: str) -> NamespaceFacts:
        answering.set()
        await go_on.wait()
        return await _namespace(name)

    body = _large_review()
    limits = BodyLimits(max_held_bytes=len(body) + 10, patience_s=0.05, timeout_s=60.0)
    webhooks = Webhooks(
        {"/inject": Injection(InjectorSettings, _slowly)}, SystemClock(), WebhookMetrics(CollectorRegistry()), limits
    )
    async with (
        httpx.AsyncClient(transport=httpx.ASGITransport(webhooks), base_url="https://remora") as http,
        asyncio.TaskGroup() as group,
    ):
        headers = {"content-type": "application/json"}
        first = group.create_task(http.post("/inject", content=body, headers=headers))
        await answering.wait()
        second = group.create_task(http.post("/inject", content=body, headers=headers))
        late = asyncio.get_running_loop().time() + 4 * limits.patience_s
        await eventually(lambda: asyncio.get_running_loop().time() > late, "its patience would be over")
        assert not second.done(), "it is not its sender's fault"
        go_on.set()
    assert first.result().json()["response"]["allowed"]
    assert second.result().json()["response"]["allowed"]


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param((), id="nothing at all"),
        pytest.param((b"{",), id="a beginning"),
        pytest.param((b" " * 4 * MEGABYTE,), id="much, which buys no more than the patience"),
    ],
)
async def test_a_body_that_does_not_end_is_given_up(pieces: tuple[bytes, ...]) -> None:
    async with serving(BodyLimits(patience_s=0.05)) as scene:
        answer = await asyncio.wait_for(scene.ask(scene.slow(*pieces)), 5)
        assert (answer.status_code, scene.webhooks.bodies.held_bytes) == (408, 0)
        assert "may stand still for 0.05 s" in answer.json()["error"]


async def test_a_body_that_trickles_is_given_up_and_one_that_comes_well_is_not(eventually: Eventually) -> None:
    limits = BodyLimits(patience_s=0.5, least_bytes_per_s=100_000, timeout_s=60.0)

    async def paced(piece: bytes, pause_s: float, times: int) -> AsyncIterator[bytes]:
        for _ in range(times):
            yield piece
            await asyncio.sleep(pause_s)

    async with serving(limits) as scene:
        trickle = await asyncio.wait_for(scene.ask(paced(b" ", 0.01, 10_000)), 5)
        assert trickle.status_code == 408
        steady = await scene.ask(paced(b" " * 10_000, 0.02, 60))
        assert steady.status_code == 400, "read to its end: it took twice the patience, and is no JSON"
