"""`remora custom-metrics`: the process."""

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final

import httpx
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from collectors.exporters.sqlite import PATH
from collectors.store import Reader
from control.kubernetes.client import KubeClient
from control.kubernetes.credentials import connect
from control.kubernetes.errors import ApiError, ClusterUnusable
from control.kubernetes.resources import ApiResource
from mesh import logs
from mesh.clock import Clock, SystemClock
from mesh.lifecycle import TaskScope, announce, follow_lifeline, on_stop_signals
from remora.custom_metrics import certificate, front_proxy
from remora.custom_metrics.api import Api, refusal
from remora.custom_metrics.options import Options, parse
from remora.custom_metrics.sources import Kept, PrometheusSource, Source, StoreSource

_log = logging.getLogger("remora.custom_metrics")

PODS: Final = ApiResource("", "v1", "pods")
MAX_PODS: Final = 5_000
LOOK_AGAIN_S: Final = 60.0
"""The aggregation layer's authority changes once in years; then it is known here this soon."""


def main(argv: Sequence[str]) -> int:
    """Parse and run; the exit status."""
    options = parse(argv)
    logs.setup(options.log_level)
    try:
        asyncio.run(_serve(options, SystemClock()))
    except (ClusterUnusable, ApiError, front_proxy.NoFrontProxy, OSError) as error:
        print(f"remora custom-metrics: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(options: Options, clock: Clock) -> None:
    stop = asyncio.Event()
    undo = on_stop_signals(stop.set)
    client = await connect(clock, kubeconfig=options.kubeconfig, context=options.context)
    try:
        async with TaskScope() as scope, _source(options, clock) as source:
            if options.lifeline_fd is not None:
                scope.spawn(follow_lifeline(options.lifeline_fd, stop.set), name="lifeline")
            made = certificate.make(_names(options.service), clock.now())
            server = Server(client, made, Api(Kept(source, clock), _pods_of(client), clock, options.window_s))
            bundles = certificate.Bundles(client, made.root)
            await server.start(options.host, options.port)
            try:
                scope.spawn(bundles.run(), name="bundles")
                scope.spawn(server.follow(), name="front proxy")
                _announce(options, server.port)
                await stop.wait()
            finally:
                await server.stop()
    finally:
        undo()
        await client.close()


def _names(service: str) -> list[str]:
    """What a client of the cluster may call a Service."""
    return [service, f"{service}.cluster.local"] if service.endswith(".svc") else [service]


def _announce(options: Options, port: int) -> None:
    _log.info("answering at port %d", port)
    announce(options.ready_fd, {"address": f"{options.host}:{port}"})


@contextlib.asynccontextmanager
async def _source(options: Options, clock: Clock) -> AsyncIterator[Source]:
    if options.state is not None:
        path = options.state / PATH
        store = StoreSource(lambda: Reader.open(path), clock, options.window_s)
        try:
            yield store
        finally:
            store.close()
    else:
        assert options.prometheus is not None
        async with httpx.AsyncClient(base_url=options.prometheus, follow_redirects=False) as http:
            yield PrometheusSource(http, options.window_s)


def _pods_of(client: KubeClient) -> Callable[[str, str], Awaitable[list[str]]]:
    async def names(namespace: str, selector: str) -> list[str]:
        params = {"limit": str(MAX_PODS), "resourceVersion": "0"}
        if selector:
            params["labelSelector"] = selector
        found = await client.list(PODS, namespace, params=params)
        return [str(pod["metadata"]["name"]) for pod in found["items"]]

    return names


class Server:
    """HTTPS for the front proxy alone, whose authority it follows."""

    def __init__(self, client: KubeClient, made: certificate.Certificate, api: Api) -> None:
        self._client = client
        self._certificate = made
        self._proxy: front_proxy.FrontProxy | None = None
        app = web.Application(middlewares=[self._guard()], client_max_size=64 * 1024)
        api.add_routes(app)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=5.0)
        self._site: web.TCPSite | None = None
        self._host = ""
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Raises ApiError, NoFrontProxy, OSError."""
        self._host, self.port = host, port
        self._proxy = await front_proxy.fetch(self._client)
        await self._runner.setup()
        await self._listen()

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def follow(self) -> None:
        """Take a new authority over, for ever. What cannot be read leaves the present one."""
        while True:
            await asyncio.sleep(LOOK_AGAIN_S)
            await self.look_again()

    async def look_again(self) -> None:
        try:
            proxy = await front_proxy.fetch(self._client)
            if proxy != self._proxy:
                front_proxy.tls(self._certificate, proxy)  # it is one
                self._proxy = proxy
                _log.info("the API server's aggregation layer has another authority")
                await self._listen()
        except (ApiError, front_proxy.NoFrontProxy) as error:
            _log.error("the aggregation layer's authority cannot be read, the known one holds: %s", error)

    async def _listen(self) -> None:
        assert self._proxy is not None
        context = front_proxy.tls(self._certificate, self._proxy)
        if self._site is not None:
            await self._site.stop()
        self._site = web.TCPSite(self._runner, self._host, self.port, ssl_context=context, reuse_address=True)
        await self._site.start()
        self.port = self._runner.addresses[-1][1]

    def _guard(self) -> Middleware:
        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            peer = request.transport.get_extra_info("peercert") if request.transport is not None else None
            if self._proxy is None or not front_proxy.admitted(self._proxy, peer):
                return refusal(401, "Unauthorized", "only the API server's aggregation layer is answered")
            try:
                return await handler(request)
            except web.HTTPException as error:
                return refusal(error.status, error.reason.replace(" ", ""), f"{request.path}: {error.reason}")

        return guard
