"""`remora node-agent`: the process."""

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import AsyncIterator, Sequence

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from control.kubernetes.credentials import connect
from control.kubernetes.errors import ClusterUnusable
from control.kubernetes.outages import ApiHealth, ReflectorMetrics
from control.kubernetes.reflector import Reflector, Surroundings
from control.kubernetes.resources import ApiResource
from mesh import logs
from mesh.clock import Clock, SystemClock, system_rng
from mesh.lifecycle import TaskScope, announce, follow_lifeline, on_stop_signals
from remora.node import processes
from remora.node.agent import Agent
from remora.node.capture import ChildCapturer
from remora.node.events import Events
from remora.node.metrics import Metrics
from remora.node.options import Options, parse
from remora.node.pods import NodePod, decode

_log = logging.getLogger("remora.node")

PODS = ApiResource("", "v1", "pods")


def main(argv: Sequence[str]) -> int:
    """Parse and run; the exit status."""
    options = parse(argv, os.environ)
    logs.setup(options.log_level)
    try:
        if os.getpid() == 1:
            raise processes.Unreadable("no process of the node's can be seen here; the node agent needs hostPID: true")
        processes.nodes_own(options.proc)
        asyncio.run(_serve(options, SystemClock()))
    except (ClusterUnusable, processes.Unreadable, OSError) as error:
        print(f"remora node-agent: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(options: Options, clock: Clock) -> None:
    stop = asyncio.Event()
    undo = on_stop_signals(stop.set)
    client = await connect(clock, kubeconfig=options.kubeconfig, context=options.context)
    try:
        async with TaskScope() as scope:
            if options.lifeline_fd is not None:
                scope.spawn(follow_lifeline(options.lifeline_fd, stop.set), name="lifeline")
            registry, rng = CollectorRegistry(), system_rng()
            metrics = Metrics(registry)
            events = Events(client, options.node, clock, metrics)
            agent = Agent(options.proc, ChildCapturer(), events.warn, metrics, clock, rng)
            around = Surroundings(client, clock, rng, ApiHealth(client.host, clock), ReflectorMetrics(registry))
            pods = Reflector(around, [PODS], decode, agent.changed, field_selector=f"spec.nodeName={options.node}")
            async with _page(options, registry, pods) as port:
                for name, running in (("pods", pods.run()), ("agent", agent.run(scope)), ("events", events.run())):
                    scope.spawn(running, name=name)
                announced = scope.spawn(_announce(options, port, pods), name="announce")
                stopped = scope.spawn(stop.wait(), name="stop")
                failed = scope.spawn(scope.wait_failed(), name="failure")
                await asyncio.wait((stopped, failed), return_when=asyncio.FIRST_COMPLETED)
                announced.cancel()
                if failed.done():
                    failed.result()
                _log.info("ends; rules that are there stay")
    finally:
        undo()
        await client.close()


async def _announce(options: Options, port: int, pods: Reflector[NodePod]) -> None:
    await pods.synced.wait()
    _log.info("captures for %d pods of node %s; metrics at port %d", len(pods.items), options.node, port)
    announce(options.ready_fd, {"address": f"{options.host}:{port}"})


@contextlib.asynccontextmanager
async def _page(options: Options, registry: CollectorRegistry, pods: Reflector[NodePod]) -> AsyncIterator[int]:
    """Metrics and readiness; the port."""

    async def metrics(request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"content-type": CONTENT_TYPE_LATEST})

    async def ready(request: web.Request) -> web.Response:
        return web.Response(text="ready\n") if pods.synced.is_set() else web.Response(status=503, text="no pods yet\n")

    async def live(request: web.Request) -> web.Response:
        return web.Response(text="live\n")

    app = web.Application(client_max_size=1024)
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/healthz/ready", ready)
    app.router.add_get("/healthz/live", live)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=2.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, options.host, options.port, reuse_address=True)
        await site.start()
        yield int(runner.addresses[-1][1])
    finally:
        await runner.cleanup()
