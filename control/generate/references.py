"""Whether a snapshot is whole: everything that it refers to is in it."""

import functools
from collections.abc import Iterator
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import RouteAction, VirtualHost, WeightedCluster
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    Rds,
)
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import SdsSecretConfig
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext, UpstreamTlsContext
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from control.generate.entries import Entry, References
from control.generate.resources import Resources
from control.generate.types import CDS, EDS, LDS, RDS, SDS, Snapshot

_OPENED = {
    message.DESCRIPTOR.full_name: message
    for message in (HttpConnectionManager, TcpProxy, UpstreamTlsContext, DownstreamTlsContext)
}
"""Messages within an Any that refer to other resources."""

_CLASSES: dict[str, type[Message]] = {CDS: Cluster, LDS: Listener, RDS: RouteConfiguration}
"""Of the resources that do."""


def check(snapshot: Snapshot) -> list[str]:
    """What is referred to and missing, one line each; empty if nothing is. What a resource refers to is looked at once,
    and of what snapshots share it is known who lacks nothing."""
    missing: list[str] = []
    for url in (CDS, LDS, RDS):
        resources: Resources | None = snapshot.resources[url]
        while resources is not None:
            missing += _missing(snapshot, url, resources)
            resources = resources.base
    return sorted(missing)


def _missing(snapshot: Snapshot, url: str, resources: Resources) -> Iterator[str]:
    """Of the resources themselves, without those that they stand on."""
    for wanted, targets in resources.references(_read).items():
        lacking = snapshot.resources[wanted].lacks(targets)
        if lacking:
            yield from _who_lacks(url, resources, wanted, lacking)


def _who_lacks(url: str, resources: Resources, wanted: str, lacking: frozenset[str]) -> Iterator[str]:
    kind, wanted_kind = (each.rpartition(".")[2] for each in (url, wanted))
    for name, made in resources.own.items():
        for target in sorted(made.references(_read).get(wanted, frozenset()) & lacking):
            yield f"{kind} {name} refers to {wanted_kind} {target}, which is not in the snapshot"


def _read(made: Entry) -> References:
    message = _CLASSES[made.type_url]()
    message.ParseFromString(made.value)
    found: dict[str, set[str]] = {}
    for wanted, target in _references(message):
        found.setdefault(wanted, set()).add(target)
    return {wanted: frozenset(targets) for wanted, targets in found.items()}


def _references(message: Message) -> Iterator[tuple[str, str]]:
    """(type URL, name) of everything that a message and what is within it names."""
    if isinstance(message, AnyMessage):
        if message.type_url.rpartition("/")[2] in _OPENED:
            yield from _within(message.type_url, message.value)
        return
    if isinstance(message, VirtualHost):
        yield from _of_host(message.SerializeToString())
        return
    yield from _own(message)
    yield from _of_children(message)


def _of_children(message: Message) -> Iterator[tuple[str, str]]:
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for child in _children(value, field):
            yield from _references(child)


@functools.lru_cache(maxsize=1024)
def _within(type_url: str, value: bytes) -> tuple[tuple[str, str], ...]:
    """Many listeners have the same filters."""
    opened = _OPENED[type_url.rpartition("/")[2]]()
    opened.ParseFromString(value)
    return tuple(dict.fromkeys(_references(opened)))


@functools.lru_cache(maxsize=8192)
def _of_host(value: bytes) -> tuple[tuple[str, str], ...]:
    """Tables of many namespaces have the same hosts."""
    return tuple(dict.fromkeys(_of_children(VirtualHost.FromString(value))))


def _own(message: Any) -> Iterator[tuple[str, str]]:
    match message:
        case Cluster() if message.type == Cluster.EDS:
            yield EDS, message.eds_cluster_config.service_name or message.name
        case Rds():
            yield RDS, message.route_config_name
        case RouteAction():
            if message.cluster:
                yield CDS, message.cluster
        case RouteAction.RequestMirrorPolicy():
            yield CDS, message.cluster
        case TcpProxy():
            if message.cluster:
                yield CDS, message.cluster
        case WeightedCluster.ClusterWeight() | TcpProxy.WeightedCluster.ClusterWeight():
            yield CDS, message.name
        case SdsSecretConfig() if message.sds_config.HasField("ads"):
            yield SDS, message.name


def _children(value: Any, field: Any) -> Iterator[Message]:
    if not field.is_repeated:
        yield value
    elif field.message_type.GetOptions().map_entry:
        yield from (item for item in value.values() if isinstance(item, Message))
    else:
        yield from value
