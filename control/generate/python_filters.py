"""Filters in Python among the HTTP filters of a proxy's listeners, and what a real Envoy gets in their place.

A TypedStruct named `remora.filters.http.python/NAMESPACE/NAME`; `sidecar/xds/decode_python.py` reads it.
"""

from collections.abc import Callable, Mapping
from typing import Any

from envoy.config.core.v3.base_pb2 import TrafficDirection
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.rbac.v3.rbac_pb2 import RBAC as Rules
from envoy.extensions.filters.http.fault.v3.fault_pb2 import HTTPFault
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    HttpFilter,
)
from google.protobuf.any_pb2 import Any as AnyMessage
from xds.type.v3.typed_struct_pb2 import TypedStruct

from control.generate.names import full_host, service_names
from control.generate.pack import pack
from control.generate.types import LDS, Snapshot, snapshot
from control.ir.mesh import Mesh
from control.ir.proxy import Proxy, ProxyKind
from control.ir.python_filters import Direction, PythonFilter

TYPE = "remora.filters.http.python"
_OWN = "remora.filters.http."
"""What the names of filters begin with that only our sidecars have."""

MAX_FILTERS = 16
"""Of one listener: what the sidecar takes."""


def filters_of(mesh: Mesh, proxy: Proxy, direction: Direction) -> list[PythonFilter]:
    """Those that requests of a direction meet at the proxy, in order. `direction` is not ANY."""
    roots = mesh.settings.root_namespaces
    return [
        each for each in mesh.filters if each.direction in (direction, Direction.ANY) and each.selects(proxy, roots)
    ]


def add_filters(mesh: Mesh, proxy: Proxy, listeners: dict[str, AnyMessage]) -> None:
    """Put the proxy's filters into its listeners. Raises ValueError where they are more than a sidecar takes."""
    if not mesh.filters:
        return
    made: dict[Direction, tuple[list[HttpFilter], list[HttpFilter]]] = {}
    for direction in (Direction.INBOUND, Direction.OUTBOUND):
        found = filters_of(mesh, proxy, direction)
        if len(found) > MAX_FILTERS:
            raise ValueError(f"{len(found)} PythonFilters select it; at most {MAX_FILTERS} are possible")
        made[direction] = (
            [_http_filter(mesh, proxy, direction, each) for each in found if each.before_faults],
            [_http_filter(mesh, proxy, direction, each) for each in found if not each.before_faults],
        )

    def add(direction: Direction, filters: list[HttpFilter]) -> list[HttpFilter]:
        early, late = made[direction]
        faults = [each for each in filters if each.typed_config.Is(HTTPFault.DESCRIPTOR)]
        return [*early, *faults, *late, *(each for each in filters if each not in faults)]

    if not any(early or late for early, late in made.values()):
        return
    gateway = proxy.kind is ProxyKind.GATEWAY
    for name, packed in listeners.items():
        listeners[name] = _with_filters(packed, gateway, add)


def for_envoy(made: Snapshot) -> Snapshot:
    """What a proxy that is not ours gets. A filter that fails open is left out; instead of one that fails closed
    everything is refused (403), as Istio does where a Wasm module can not be had."""
    deny = HttpFilter(name="envoy.filters.http.rbac", typed_config=pack(RBAC(rules=Rules(action=Rules.ALLOW))))

    def strip(_: Direction, filters: list[HttpFilter]) -> list[HttpFilter]:
        ours = [each for each in filters if each.name.startswith(_OWN)]
        others = [each for each in filters if not each.name.startswith(_OWN)]
        closed = any(each.name.startswith(f"{TYPE}/") and not _fails_open(each) for each in ours)
        return [deny, *others] if closed else others

    listeners = made.resources[LDS]
    marker = _OWN.encode()
    if not any(marker in each.value for each in listeners.entries()):
        return made
    stripped = {
        name: _with_filters(packed, False, strip) if marker in packed.value else packed
        for name, packed in listeners.items()
    }
    return snapshot({**made.resources, LDS: stripped})


def _with_filters(
    packed: AnyMessage, gateway: bool, change: Callable[[Direction, list[HttpFilter]], list[HttpFilter]]
) -> AnyMessage:
    listener = Listener()
    packed.Unpack(listener)
    inbound = gateway or listener.traffic_direction == TrafficDirection.INBOUND
    direction = Direction.INBOUND if inbound else Direction.OUTBOUND
    for chain in listener.filter_chains:
        for network in chain.filters:
            if network.typed_config.Is(HttpConnectionManager.DESCRIPTOR):
                manager = HttpConnectionManager()
                network.typed_config.Unpack(manager)
                filters = change(direction, list(manager.http_filters))
                del manager.http_filters[:]
                manager.http_filters.extend(filters)
                network.typed_config.CopyFrom(pack(manager))
    return pack(listener)


def _http_filter(mesh: Mesh, proxy: Proxy, direction: Direction, rule: PythonFilter) -> HttpFilter:
    config = TypedStruct(type_url=TYPE)
    config.value.update(_plain(mesh, proxy, direction, rule))
    return HttpFilter(name=f"{TYPE}/{rule.name}", typed_config=pack(config))


def _plain(mesh: Mesh, proxy: Proxy, direction: Direction, rule: PythonFilter) -> Mapping[str, Any]:
    match: dict[str, Any] = {}
    if rule.hosts:
        match["hosts"] = _hosts(mesh, proxy, direction, rule)
    if rule.routes:
        match["routes"] = list(rule.routes)
    if rule.path_prefixes:
        match["pathPrefixes"] = list(rule.path_prefixes)
    text = {"source": rule.source} if rule.source is not None else {"file": rule.file or ""}
    if rule.sha256 is not None:
        text["sha256"] = rule.sha256
    return {
        "name": rule.name,
        **text,
        "class": rule.class_name,
        "config": rule.config,
        "match": match,
        "timeout": f"{rule.timeout_s:.9f}".rstrip("0").rstrip(".") + "s",
        "failurePolicy": "FAIL_OPEN" if rule.fail_open else "FAIL_CLOSE",
        "maxBodyBytes": rule.max_body_bytes,
    }


def _hosts(mesh: Mesh, proxy: Proxy, direction: Direction, rule: PythonFilter) -> list[str]:
    """As requests may name them: a service has several names."""
    found: dict[str, None] = {}
    for written in rule.hosts:
        found[written] = None
        service = mesh.services.get(full_host(written, rule.namespace, mesh.services))
        if service is not None:
            # Who calls from another namespace means another service by the short name; one's own callers do not.
            outbound = direction is Direction.OUTBOUND
            for name in service_names(service, proxy.namespace if outbound else service.namespace):
                found[name] = None
            if outbound and service.namespace != proxy.namespace and "." not in written:
                del found[written]
    return list(found)


def _fails_open(made: HttpFilter) -> bool:
    config = TypedStruct()
    made.typed_config.Unpack(config)
    return bool(config.value.fields["failurePolicy"].string_value == "FAIL_OPEN")
