"""`remora config`: the xDS resources that a workload's sidecar is given."""

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any

import typer

from remora.commands.options import NamespaceOption, OutputOption, StateOption
from remora.output import Format

EPILOG = "Examples: remora config routes productpage-v1\n\nremora config clusters reviews-v3 -o json"


class Kind(StrEnum):
    """Kinds of xDS resources."""

    LISTENERS = "listeners"
    ROUTES = "routes"
    CLUSTERS = "clusters"
    ENDPOINTS = "endpoints"
    SECRETS = "secrets"


def config(
    state: StateOption,
    what: Annotated[Kind, typer.Argument(help="listeners, routes, clusters, endpoints or secrets.", metavar="KIND")],
    workload: Annotated[str, typer.Argument(help="Workload, e.g. reviews-v3.", metavar="WORKLOAD")],
    namespace: NamespaceOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show what a workload's sidecar is told, in Envoy's words. Keys are never shown."""
    from remora.client import Control
    from remora.output import print_data, print_table
    from remora.state import State

    with Control(State(state)) as control:
        inside = namespace or _namespace(control.status()["proxies"], workload)
        answer = control.config(inside, workload, what.value)
    resources = answer["resources"]
    if output is Format.TABLE:
        headers, rows = _TABLES[what]
        table = [row for resource in resources for row in rows(resource)]
        print_table(headers, table, empty=f"{workload} has no {what}")
    else:
        print_data(resources, output)


def _namespace(proxies: list[dict[str, Any]], workload: str) -> str:
    from remora.failure import Failure

    found = sorted({str(proxy["namespace"]) for proxy in proxies if proxy["workload"] == workload})
    if len(found) > 1:
        raise Failure(f"{workload} is in several namespaces ({', '.join(found)}): say which with -n")
    if not found:
        known = ", ".join(sorted({proxy["workload"] for proxy in proxies})) or "none"
        raise Failure(f"no workload {workload} is registered; known: {known}")
    return found[0]


def _address(plain: dict[str, Any]) -> str:
    inner = plain.get("socket_address", plain.get("socketAddress", {}))
    return f"{inner.get('address', '')}:{inner.get('port_value', inner.get('portValue', ''))}"


def _either(plain: dict[str, Any], snake: str) -> Any:
    """A protobuf-JSON field by its original name or, as the default mapping writes it, in camel case."""
    head, *tail = snake.split("_")
    return plain.get(snake, plain.get(head + "".join(each.title() for each in tail)))


def _listeners(resource: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    for chain in _either(resource, "filter_chains") or ():
        match = _either(chain, "filter_chain_match") or {}
        transport = _either(match, "transport_protocol") or "any"
        tls = "TLS" if _either(chain, "transport_socket") else "plaintext"
        filters = ", ".join(str(each.get("name")) for each in chain.get("filters", ()))
        yield resource["name"], _address(resource.get("address", {})), transport, tls, filters


def _routes(resource: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    for host in _either(resource, "virtual_hosts") or ():
        domains = ", ".join(host.get("domains", ()))
        for route in host.get("routes", ()):
            yield resource["name"], domains, _match(route.get("match", {})), _action(route)


def _match(match: dict[str, Any]) -> str:
    paths = ("prefix", "path", "path_separated_prefix")
    parts = [f"{name} {_either(match, name)}" for name in paths if _either(match, name) is not None]
    regex = _either(match, "safe_regex")
    if regex:
        parts.append(f"regex {regex.get('regex')}")
    for header in match.get("headers", ()):
        how = _either(header, "string_match") or {}
        parts.append(f"{header.get('name')}: " + " ".join(f"{key} {value}" for key, value in how.items()))
    return ", ".join(parts)


def _action(route: dict[str, Any]) -> str:
    forward = route.get("route")
    if forward is None:
        direct = _either(route, "direct_response")
        return f"status {direct.get('status')}" if direct else "redirect"
    weighted = _either(forward, "weighted_clusters")
    if weighted:
        return ", ".join(f"{each['name']} {each.get('weight', 0)}" for each in weighted.get("clusters", ()))
    return str(forward.get("cluster"))


def _clusters(resource: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    tls = bool(_either(resource, "transport_socket") or _either(resource, "transport_socket_matches"))
    policy = _either(resource, "lb_policy") or "ROUND_ROBIN"
    yield resource["name"], resource.get("type", "STATIC"), policy, "mTLS" if tls else "plaintext"


def _endpoints(resource: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    for locality in resource.get("endpoints", ()):
        for each in _either(locality, "lb_endpoints") or ():
            metadata = _either(each.get("metadata", {}), "filter_metadata") or {}
            workload = str(metadata.get("istio", {}).get("workload", "")).split(";")[0]
            weight = _either(each, "load_balancing_weight") or 1
            health = _either(each, "health_status") or "HEALTHY"
            address = _address(each.get("endpoint", {}).get("address", {}))
            yield _either(resource, "cluster_name"), address, workload, weight, health


def _secrets(resource: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    kind = "trust anchors" if _either(resource, "validation_context") else "certificate"
    yield resource["name"], kind


_TABLES: dict[Kind, tuple[tuple[str, ...], Any]] = {
    Kind.LISTENERS: (("NAME", "ADDRESS", "MATCH", "TRANSPORT", "FILTERS"), _listeners),
    Kind.ROUTES: (("NAME", "DOMAINS", "MATCH", "TO"), _routes),
    Kind.CLUSTERS: (("NAME", "TYPE", "BALANCING", "TRANSPORT"), _clusters),
    Kind.ENDPOINTS: (("CLUSTER", "ADDRESS", "WORKLOAD", "WEIGHT", "HEALTH"), _endpoints),
    Kind.SECRETS: (("NAME", "KIND"), _secrets),
}
