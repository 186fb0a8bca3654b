"""Accepted resources -> one whole configuration, or what is missing for it. Pure."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address

from google.protobuf.any_pb2 import Any

from sidecar.config.cluster import Cluster
from sidecar.config.listener import Listener
from sidecar.config.route import RouteConfiguration
from sidecar.config.secret import Certificate, TrustAnchors
from sidecar.xds.kinds import Kind
from sidecar.xds.needs import Decoded, LoadAssignment, RuntimeLayer


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource as received and as understood."""

    packed: Any
    version: str
    """`version_info` of the response that brought it."""
    decoded: Decoded


Resources = Mapping[Kind, Mapping[str, Resource]]


Names = Mapping[str, tuple[IPv4Address | IPv6Address, ...]]


@dataclass(frozen=True, slots=True)
class Configuration:
    """What the control plane wants served: a Snapshot without what the agent itself adds."""

    version: str
    """Of the resources as a whole, for people: equal resources give equal versions."""
    listeners: tuple[Listener, ...] = ()
    routes: tuple[RouteConfiguration, ...] = ()
    clusters: tuple[Cluster, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    trust_anchors: tuple[TrustAnchors, ...] = ()
    finished: bool = False
    """The application has ended for good."""
    names: Names | None = None
    """The mesh's hosts and their addresses, where they were asked for and have come."""


Missing = tuple[Kind, str]
"""A resource that is referred to and not there."""


def find_missing(resources: Resources) -> frozenset[Missing]:
    """Everything that some resource needs and nobody sent. Endpoints of clusters, routes of listeners, secrets of
    both, clusters of routes that a listener uses."""
    missing: set[Missing] = set()

    def need(kind: Kind, names: frozenset[str]) -> None:
        missing.update((kind, name) for name in names if name not in resources[kind])

    for cluster in resources[Kind.CDS].values():
        need(Kind.EDS, cluster.decoded.needs.assignments)
        need(Kind.SDS, cluster.decoded.needs.secrets)
    for listener in resources[Kind.LDS].values():
        need(Kind.RDS, listener.decoded.needs.routes)
        need(Kind.SDS, listener.decoded.needs.secrets)
        need(Kind.CDS, listener.decoded.needs.clusters)
        for name in listener.decoded.needs.routes:
            if name in resources[Kind.RDS]:
                need(Kind.CDS, resources[Kind.RDS][name].decoded.needs.clusters)
    return frozenset(missing)


def assemble(resources: Resources, serving: Configuration | None) -> Configuration:
    """The whole. Something whose needs are still missing, because waiting for them was given up, goes as Envoy has it
    go after its initial fetch timeout: a cluster without endpoints is empty; without its secrets it, and a listener
    without its routes or secrets, stays what it is in `serving`, or stays out."""
    clusters = _assemble_clusters(resources, serving)
    listeners = _assemble_listeners(resources, serving)
    return Configuration(
        _version(resources),
        listeners,
        _assemble_routes(resources, serving, listeners),
        clusters,
        *_secrets(resources),
        finished=any(layer.finished for layer in _layers(resources)),
        names=next((layer.names for layer in _layers(resources) if layer.names is not None), None),
    )


def _assemble_clusters(resources: Resources, serving: Configuration | None) -> tuple[Cluster, ...]:
    before = {cluster.name: cluster for cluster in serving.clusters} if serving else {}
    clusters: list[Cluster] = []
    for name, resource in resources[Kind.CDS].items():
        cluster = resource.decoded.value
        assert isinstance(cluster, Cluster)
        needs = resource.decoded.needs
        if not needs.secrets <= resources[Kind.SDS].keys():
            if name in before:
                clusters.append(before[name])
            continue
        for assignment_name in needs.assignments:
            assignment = resources[Kind.EDS].get(assignment_name)
            if assignment is not None:
                value = assignment.decoded.value
                assert isinstance(value, LoadAssignment)
                cluster = replace(
                    cluster,
                    endpoints=value.endpoints,
                    overprovisioning_percent=value.overprovisioning_percent,
                )
        clusters.append(cluster)
    return tuple(clusters)


def _assemble_listeners(resources: Resources, serving: Configuration | None) -> tuple[Listener, ...]:
    before = {listener.name: listener for listener in serving.listeners} if serving else {}
    listeners: list[Listener] = []
    for name, resource in resources[Kind.LDS].items():
        listener = resource.decoded.value
        assert isinstance(listener, Listener)
        needs = resource.decoded.needs
        if needs.routes <= resources[Kind.RDS].keys() and needs.secrets <= resources[Kind.SDS].keys():
            listeners.append(listener)
        elif name in before:
            listeners.append(before[name])
    return tuple(listeners)


def _assemble_routes(
    resources: Resources, serving: Configuration | None, listeners: tuple[Listener, ...]
) -> tuple[RouteConfiguration, ...]:
    """Those that the listeners use, each once."""
    before = {routes.name: routes for routes in serving.routes} if serving else {}
    managers = [chain.http for each in listeners for chain in each.chains if chain.http is not None]
    used = sorted({http.route_name for http in managers if http.route_name is not None})
    found: list[RouteConfiguration] = []
    for name in used:
        if name in resources[Kind.RDS]:
            value = resources[Kind.RDS][name].decoded.value
            assert isinstance(value, RouteConfiguration)
            found.append(value)
        elif name in before:
            found.append(before[name])
    return tuple(found)


def _secrets(resources: Resources) -> tuple[tuple[Certificate, ...], tuple[TrustAnchors, ...]]:
    values = [resource.decoded.value for resource in resources[Kind.SDS].values()]
    return (
        tuple(value for value in values if isinstance(value, Certificate)),
        tuple(value for value in values if isinstance(value, TrustAnchors)),
    )


def _layers(resources: Resources) -> list[RuntimeLayer]:
    values = (resource.decoded.value for resource in resources[Kind.RTDS].values())
    return [value for value in values if isinstance(value, RuntimeLayer)]


def _version(resources: Resources) -> str:
    digest = hashlib.sha256()
    for kind in Kind:
        for name, resource in sorted(resources[kind].items()):
            for part in (kind.name.encode(), name.encode(), resource.packed.value):
                digest.update(len(part).to_bytes(8, "big"))
                digest.update(part)
    return digest.hexdigest()[:16]
