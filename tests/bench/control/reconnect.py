"""A thousand sidecars that connect at once, each with a TLS connection of its own: until all have everything."""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc

from control.ca.peer import Peer
from control.translate.proxies import identity_of
from control.xds.server import OPTIONS, Context, DiscoveryService
from tests.bench.certificates import make_certificates
from tests.bench.control.crowd import NODE_METADATA
from tests.bench.control.figures import Row, milliseconds
from tests.bench.control.inside import Inside, resident_mib
from tests.bench.control.world import pod

WITHIN_S = 300.0


async def reconnect(made: Inside, count: int, changes: int, rows: list[Row]) -> None:
    """What it takes, and what one pod's change takes while they are connected."""
    workloads = {each.node_id: each for each in [*made.world.workloads.values()][:count]}

    def identify(context: Context) -> Peer:
        node = dict(context.invocation_metadata())[NODE_METADATA]
        return Peer(identity_of(workloads[str(node)], "cluster.local"), float("inf"), context.peer())

    with tempfile.TemporaryDirectory() as name:
        certificates = make_certificates(Path(name))
        server = grpc.aio.server(options=OPTIONS)
        handler = DiscoveryService(made.publisher, made.clock, identify, made.metrics).handler()
        server.add_generic_rpc_handlers((handler,))
        key, chain = (Path(each("server")).read_bytes() for each in (certificates.key, certificates.chain))
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, chain)]))
        await server.start()
        try:
            async with _crowd() as crowd:
                await _measure(made, crowd, {"port": port, "root": certificates.root, "nodes": [*workloads]}, rows)
                await _change(made, count, changes, rows)
        finally:
            await server.stop(0)


async def _measure(made: Inside, crowd: asyncio.subprocess.Process, told: dict[str, object], rows: list[Row]) -> None:
    assert crowd.stdin is not None
    assert crowd.stdout is not None
    began, cpu = time.monotonic(), time.process_time()
    crowd.stdin.write(json.dumps(told).encode() + b"\n")
    async with asyncio.timeout(WITHIN_S):
        said = json.loads(await crowd.stdout.readline())
        while any(each.acked_version != made.publisher.version for each in made.publisher.streams()):
            await asyncio.sleep(0.02)
    cpu_s = time.process_time() - cpu
    count = sum(1 for _ in made.publisher.streams())
    rows += [
        Row(f"{count:,} sidecars connect at once, TLS: until all have everything", f"{said['at'] - began:.1f} s"),
        Row("CPU of the control plane / of all the sidecars", f"{cpu_s:.1f} / {said['cpu_s']:.1f} s"),
        Row("bytes, all together", f"{said['bytes'] / 1e9:.2f} GB"),
        Row("memory then", f"{resident_mib():.0f} MiB"),
    ]


async def _change(made: Inside, count: int, changes: int, rows: list[Row]) -> None:
    last = len(made.world.workloads) // len(made.world.services) - 1  # which is not among those that are connected
    latencies: list[float] = []
    cpu = time.process_time()
    for number in range(1, changes + 1):
        old, new = pod(5, last, generation=number - 1), pod(5, last, generation=number)
        began = made.clock.monotonic()
        made.world = made.world.without_workload((old.namespace, old.name)).with_workload(new)
        made.publisher.submit(made.world, "bench")
        while any(each.acked_version != made.publisher.version for each in made.publisher.streams()):
            await asyncio.sleep(0.005)
        latencies.append(made.clock.monotonic() - began)
    cpu_s = (time.process_time() - cpu) / max(1, changes)
    what = f"a pod is replaced, {count:,} sidecars connected: until the last has acknowledged it"
    rows += [
        Row(f"{what}, median / worst", milliseconds(latencies)),
        Row("CPU of the control plane for it", f"{cpu_s * 1000:,.0f} ms"),
    ]


@asynccontextmanager
async def _crowd() -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.bench.control.crowd",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=64 * 1024 * 1024,
        cwd=Path(__file__).parents[3],
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
