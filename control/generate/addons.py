"""Addon scripts as an HTTP filter of our own: sidecars that are not ours are told that they may leave it out."""

from collections.abc import Sequence
from typing import Any

from envoy.config.core.v3.base_pb2 import TrafficDirection
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    HttpFilter,
)
from google.protobuf.any_pb2 import Any as AnyMessage
from xds.type.v3.typed_struct_pb2 import TypedStruct

from control.generate.pack import pack
from control.ir.addons import Addon, AddonDirection
from control.ir.mesh import Mesh
from control.ir.proxy import Proxy, ProxyKind

FILTER = "remora.filters.http.addon"

MAX_ADDONS = 16
"""Of one listener; sidecars refuse more."""


def add_addons(mesh: Mesh, proxy: Proxy, listeners: dict[str, AnyMessage]) -> None:
    """Put the filter next to the router of every connection manager that a rule is for."""
    made = {
        direction: _filter(mesh.addons.of(proxy.namespace, proxy.labels, direction)) for direction in AddonDirection
    }
    if not any(made.values()):
        return
    for name, packed in listeners.items():
        listener = Listener()
        packed.Unpack(listener)
        added = made[_direction(listener, proxy)]
        if added is not None:
            listeners[name] = pack(_with_filter(listener, added))


def _direction(listener: Listener, proxy: Proxy) -> AddonDirection:
    if proxy.kind is ProxyKind.GATEWAY:
        return AddonDirection.GATEWAY
    inbound = listener.traffic_direction == TrafficDirection.INBOUND
    return AddonDirection.INBOUND if inbound else AddonDirection.OUTBOUND


def _with_filter(listener: Listener, added: HttpFilter) -> Listener:
    for chain in listener.filter_chains:
        for each in chain.filters:
            if each.typed_config.Is(HttpConnectionManager.DESCRIPTOR):
                manager = HttpConnectionManager()
                each.typed_config.Unpack(manager)
                manager.http_filters.insert(len(manager.http_filters) - 1, added)
                each.typed_config.CopyFrom(pack(manager))
    return listener


def _filter(addons: Sequence[Addon]) -> HttpFilter | None:
    if not addons:
        return None
    if len(addons) > MAX_ADDONS:
        raise ValueError(f"{len(addons)} RequestAddons select it; at most {MAX_ADDONS} are possible")
    struct = TypedStruct(type_url=f"type.googleapis.com/{FILTER}")
    struct.value.update({"addons": [_plain(addon) for addon in addons]})
    # A real Envoy would refuse the whole listener for a filter that it does not know.
    return HttpFilter(name=FILTER, typed_config=pack(struct), is_optional=True)


def _plain(addon: Addon) -> dict[str, Any]:
    match: dict[str, Any] = {
        "path": addon.path,
        "methods": list(addon.methods),
        "hosts": list(addon.hosts),
        "headers": [f"{name}={pattern}" for name, pattern in addon.headers],
        "routes": list(addon.routes),
    }
    return {
        "name": f"{addon.namespace}/{addon.name}",
        "script": addon.script,
        "match": {name: value for name, value in match.items() if value},
        "samplePercent": addon.sample_percent,
        "timeoutSeconds": addon.timeout_s,
        "onFailure": "open" if addon.fail_open else "close",
        "maxBodyBytes": addon.max_body_bytes,
    }
