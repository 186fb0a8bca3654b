"""Whether a snapshot is whole: everything that it refers to is in it."""

from collections.abc import Iterator
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import RouteAction, WeightedCluster
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

from control.generate.types import CDS, EDS, LDS, RDS, SDS, Snapshot

_OPENED = {
    message.DESCRIPTOR.full_name: message
    for message in (HttpConnectionManager, TcpProxy, UpstreamTlsContext, DownstreamTlsContext)
}
"""Messages within an Any that refer to other resources."""


References = tuple[tuple[str, str], ...]


class Seen:
    """What resources refer to, by their bytes: most of them are in many snapshots, and the same in the next plan."""

    def __init__(self) -> None:
        self._now: dict[bytes, References] = {}
        self._before: dict[bytes, References] = {}

    def next_plan(self) -> None:
        """Forget what was not looked at since the last call."""
        self._before, self._now = self._now, {}

    def references(self, packed: AnyMessage, message_class: type[Message]) -> References:
        """What the message names."""
        key = packed.value
        found = self._now.get(key)
        if found is None:
            found = self._before.get(key)
            if found is None:
                message = message_class()
                packed.Unpack(message)
                found = tuple(_references(message))
            self._now[key] = found
        return found


def check(snapshot: Snapshot, seen: Seen | None = None) -> list[str]:
    """What is referred to and missing, one line each; empty if nothing is. `seen` spares looking again into what it has
    seen."""
    missing = []
    seen = seen or Seen()
    for url, message_class in ((CDS, Cluster), (LDS, Listener), (RDS, RouteConfiguration)):
        for name, packed in snapshot.resources.get(url, {}).items():
            for wanted, target in seen.references(packed, message_class):
                if target not in snapshot.resources.get(wanted, {}):
                    kind, wanted_kind = (u.rpartition(".")[2] for u in (url, wanted))
                    missing.append(f"{kind} {name} refers to {wanted_kind} {target}, which is not in the snapshot")
    return missing


def _references(message: Message) -> Iterator[tuple[str, str]]:
    """(type URL, name) of everything that a message and what is within it names."""
    if isinstance(message, AnyMessage):
        message_class = _OPENED.get(message.type_url.rpartition("/")[2])
        if message_class is not None:
            opened = message_class()
            message.Unpack(opened)
            yield from _references(opened)
        return
    yield from _own(message)
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for child in _children(value, field):
            yield from _references(child)


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
