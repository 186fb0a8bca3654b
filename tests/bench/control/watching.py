"""The same from the watch events of a cluster on: until the first World, and until a pod's change is on the wire."""

import asyncio
import gc
import json
import random
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry

from control.kubernetes.client import Cluster, KubeClient
from control.stores.kubernetes import KubernetesStore
from mesh.clock import SystemClock
from mesh.lifecycle import TaskScope
from tests.bench.control.figures import Row, milliseconds
from tests.bench.control.inside import Inside, resident_mib


async def watching(services: int, pods: int, streams: int, changes: int, rows: list[Row]) -> None:
    """With a store that follows the fake API server, which is a process of its own."""
    async with _cluster(services, pods) as cluster, _client(await _said(cluster)) as client, TaskScope() as scope:
        clock, before_mib = SystemClock(), resident_mib()
        began, cpu = time.perf_counter(), time.process_time()
        store = KubernetesStore(client, clock, random.Random(1), CollectorRegistry(), may_write=lambda: False)
        store.start(scope)
        await store.synced()
        synced_s, synced_cpu_s = time.perf_counter() - began, time.process_time() - cpu
        made = Inside(store.world)
        await made.publisher.start(store.world)
        gc.collect()
        gc.freeze()
        rows += [
            Row(
                "a cluster: from the first list to the first World",
                f"{synced_s:.1f} s ({synced_cpu_s:.1f} s CPU), {len(store.world.workloads):,} workloads",
            ),
            Row("a cluster: until the first plan", f"{time.perf_counter() - began:.1f} s"),
            Row("a cluster: memory before / with store and plan", f"{before_mib:.0f} / {resident_mib():.0f} MiB"),
        ]
        scope.spawn(made.publisher.run(), name="publisher")
        scope.spawn(_follow(store, made), name="follow")
        made.connect(streams, scope)
        await _changes(made, store, cluster, changes, rows)


async def _changes(
    made: Inside, store: KubernetesStore, cluster: asyncio.subprocess.Process, changes: int, rows: list[Row]
) -> None:
    assert cluster.stdin is not None
    latencies: list[float] = []
    cpu = time.process_time()
    for _ in range(changes):
        before = store.world.workloads
        cluster.stdin.write(b"\n")
        at = float((await _said(cluster))["at"])
        # The old pod goes last.
        while len(store.world.workloads) != len(before) or store.world.workloads.keys() == before.keys():
            await asyncio.sleep(0.005)
        await made.published()
        latencies += [sent - at for sent in made.sent_at()]
    rows += [
        Row("a cluster: a pod is replaced, from the API server's change to the bytes on a stream, median / 99th",
            milliseconds(latencies)),
        Row("a cluster: CPU for it", f"{(time.process_time() - cpu) / max(1, changes) * 1000:,.0f} ms"),
    ]  # fmt: skip


async def _follow(store: KubernetesStore, made: Inside) -> None:
    async for event in store.watch():
        if event.world is not None:
            made.world = event.world
            made.publisher.submit(event.world, "watch")


@asynccontextmanager
async def _client(said: dict[str, str]) -> AsyncIterator[KubeClient]:
    async def authorization() -> str:
        return "Bearer admin"

    client = KubeClient(Cluster(said["url"], None, authorization), SystemClock())
    try:
        yield client
    finally:
        await client.close()


async def _said(process: asyncio.subprocess.Process) -> dict[str, str]:
    assert process.stdout is not None
    async with asyncio.timeout(120):
        said: dict[str, str] = json.loads(await process.stdout.readline())
    return said


@asynccontextmanager
async def _cluster(services: int, pods: int) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.bench.control.cluster",
        str(services),
        str(pods),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
