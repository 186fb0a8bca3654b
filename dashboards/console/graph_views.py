"""The store's graph as a page wants it: versions joined to services, only the busiest, names to show. Pure."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from collectors.store.answers import Graph, GraphEdge, GraphNode

OUTSIDE = "unknown"
"""The store's id for clients outside the mesh."""

MAX_NODES = 300
"""More would neither be readable nor quick; the busiest are drawn."""


def by_service(graph: Graph) -> Graph:
    """The same traffic with the versions of a service as one node.

    Percentiles of several edges cannot be joined: they are left out unless there is just one edge.
    """
    group = {node.id: service_id(node) for node in graph.nodes}
    nodes: dict[str, list[GraphNode]] = defaultdict(list)
    for node in graph.nodes:
        nodes[group[node.id]].append(node)
    edges: dict[tuple[str, str], list[GraphEdge]] = defaultdict(list)
    for edge in graph.edges:
        pair = (group.get(edge.source, edge.source), group.get(edge.destination, edge.destination))
        edges[pair].append(edge)
    return replace(
        graph,
        nodes=tuple(_joined_node(name, members) for name, members in sorted(nodes.items())),
        edges=tuple(_joined_edge(pair, members) for pair, members in sorted(edges.items())),
    )


def service_id(node: GraphNode) -> str:
    """The id of the service that a node belongs to."""
    return node.id if node.id == OUTSIDE else f"{node.namespace}/{app_of(node)}"


def app_of(node: GraphNode) -> str:
    """What the service of a node is called."""
    return node.app if node.app not in ("", "unknown") else node.workload


def _joined_node(name: str, members: list[GraphNode]) -> GraphNode:
    rate = sum(node.requests_per_s for node in members)
    versions = ", ".join(sorted({node.version for node in members if node.version not in ("", "unknown")}))
    first = members[0]
    return GraphNode(
        name, app_of(first), first.namespace, app_of(first), versions, rate, _error_rate(members, rate),
        sum(node.bytes_per_s for node in members),
    )  # fmt: skip


def _joined_edge(pair: tuple[str, str], members: list[GraphEdge]) -> GraphEdge:
    if len(members) == 1:
        return replace(members[0], source=pair[0], destination=pair[1])
    rate = sum(edge.requests_per_s for edge in members)
    protocols = {edge.protocol for edge in members}
    return GraphEdge(
        *pair,
        requests_per_s=rate,
        error_rate=_error_rate(members, rate),
        p50_ms=None,
        p99_ms=None,
        mtls=all(edge.mtls for edge in members),
        protocol=protocols.pop() if len(protocols) == 1 else "mixed",
        bytes_per_s=sum(edge.bytes_per_s for edge in members),
    )


def _error_rate(members: Iterable[GraphNode | GraphEdge], rate: float) -> float:
    return sum(one.requests_per_s * one.error_rate for one in members) / rate if rate > 0 else 0.0


def activity(of: GraphNode | GraphEdge) -> float:
    """How busy it is: requests a second, a kilobyte of a relayed connection standing for one."""
    return of.requests_per_s + of.bytes_per_s / 1000


def title(node: GraphNode) -> str:
    """What a node is called."""
    if node.id == OUTSIDE:
        return "outside the mesh"
    return f"{node.app} (service)" if node.is_service else node.workload


def busiest(graph: Graph, limit: int = MAX_NODES) -> Graph:
    """The graph with at most `limit` nodes, those with the most traffic."""
    if len(graph.nodes) <= limit:
        return graph
    leaving: dict[str, float] = defaultdict(float)
    for edge in graph.edges:
        leaving[edge.source] += activity(edge)
    ranked = sorted(graph.nodes, key=lambda node: (-max(activity(node), leaving[node.id]), node.id))
    kept = {node.id for node in ranked[:limit]}
    return replace(
        graph,
        nodes=tuple(node for node in graph.nodes if node.id in kept),
        edges=tuple(edge for edge in graph.edges if edge.source in kept and edge.destination in kept),
    )
