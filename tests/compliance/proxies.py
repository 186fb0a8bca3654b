"""The two proxies under comparison, each in front of the recorder: our worker, and a real Envoy as Istio sets it up."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from remora.up.sockets import free_ports
from sidecar.config.endpoint import Address
from tests.integration.envoy import EnvoyProcess, find_envoy
from tests.sidecar.worker.proxy import cluster, everything, forward_to, plain_listener, running_proxy

_HTTP = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"


@asynccontextmanager
async def our_worker(upstream: int) -> AsyncIterator[int]:
    """A worker that forwards everything to `upstream`; yields its port."""
    async with running_proxy() as proxy:
        address = proxy.bind()
        await proxy.apply(
            clusters=(cluster("recorder", Address("127.0.0.1", upstream)),),
            listeners=(plain_listener("in", address, everything(forward_to("recorder"))),),
        )
        yield address.port


@asynccontextmanager
async def real_envoy(
    upstreams: list[int], directory: Path, eventually: Callable[..., Awaitable[None]]
) -> AsyncIterator[list[int]]:
    """One Envoy with what Istio sets on its listeners, one port for each upstream. HTTP/1.0, which Istio leaves to a
    flag, is on: that we speak it is configuration, not parsing."""
    ports = free_ports(len(upstreams), random.Random())
    envoy = EnvoyProcess(find_envoy() or Path(), directory)
    pairs = list(zip(ports, upstreams, strict=True))
    await envoy.start(
        {
            "admin": {"address": _at(0)},
            "static_resources": {
                "listeners": [_listener(port, f"recorder-{upstream}") for port, upstream in pairs],
                "clusters": [_cluster(f"recorder-{upstream}", upstream) for upstream in upstreams],
            },
        }
    )
    try:
        await eventually(envoy.is_live, "Envoy is ready", within=20)
        yield ports
    finally:
        await envoy.stop()
        await asyncio.sleep(0)


def _at(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _listener(port: int, upstream: str) -> dict[str, Any]:
    route = {"match": {"prefix": ""}, "route": {"cluster": upstream}}
    manager = {
        "@type": _HTTP,
        "stat_prefix": "compliance",
        "server_header_transformation": "PASS_THROUGH",
        "normalize_path": True,
        "proxy_100_continue": True,
        "use_remote_address": False,
        "upgrade_configs": [{"upgrade_type": "websocket", "enabled": False}],
        # Only how long it takes, so that the table is through in seconds.
        "delayed_close_timeout": "0.1s",
        "http_protocol_options": {"accept_http_10": True},
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": _ROUTER}}],
    }
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    return {"name": f"in-{port}", "address": _at(port), "filter_chains": [chain]}


def _cluster(name: str, port: int) -> dict[str, Any]:
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": _at(port)}}]}]
    return {"name": name, "type": "STATIC", "load_assignment": {"cluster_name": name, "endpoints": endpoints}}
