"""What a Gateway's status tells besides what is wrong with its text: where it is reached, whether anything serves it,
and whether the Secrets that it names can be used. Pure.

Conditions as the Gateway API names them: Programmed, ResolvedRefs. Addresses are those of the Services that select the
gateway's pods: what a load balancer was given, else externalIPs, else those of nodes for a NodePort.
https://gateway-api.sigs.k8s.io/reference/spec/#gatewayconditiontype
"""

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from control.api.credential import Credential
from control.api.kinds.gateway import GatewaySpec
from control.api.resource import Key
from control.api.world import CredentialKey, World
from control.kubernetes.status import Condition, message_of
from control.stores.kubernetes.services import Reach

MAX_ADDRESSES = 16
"""As of a Gateway of the Gateway API."""
Addresses = tuple[tuple[str, str], ...]
"""(`IPAddress` or `Hostname`, the value)."""


@dataclass(frozen=True, slots=True)
class Edge:
    """A pod of a gateway."""

    namespace: str
    labels: Mapping[str, str]
    ports: frozenset[int]
    """Which its Services lead to it by."""
    reach: tuple[Reach, ...]
    """Of those Services."""
    node: str = ""
    """The address of its own; empty where that is not known."""


@dataclass(frozen=True, slots=True)
class Around:
    """What gateways stand in."""

    edges: Sequence[Edge]
    nodes: Sequence[str]
    """Addresses."""
    credentials: Mapping[CredentialKey, Credential]
    problems: Mapping[CredentialKey, str]
    """What is wrong with Secrets; of each the last good version goes on, if there was one."""
    now: float


@dataclass(frozen=True, slots=True)
class GatewayStatus:
    """Of one Gateway, but for the generation that it is about."""

    conditions: tuple[tuple[str, str, str, str], ...]
    """(type, status, reason, message)."""
    addresses: Addresses = ()

    def of(self, generation: int) -> tuple[Condition, ...]:
        """As they are written."""
        return tuple(Condition(*each, generation) for each in self.conditions)


def gateway_statuses(world: World, around: Around) -> dict[Key, GatewayStatus]:
    """Of every Gateway that is in effect."""
    found = {}
    for resource in world.of_kind("Gateway"):
        spec = resource.spec
        assert isinstance(spec, GatewaySpec)
        chosen = [each for each in around.edges if spec.selector.items() <= each.labels.items()]
        addresses = _addresses(chosen, around.nodes)
        conditions = (_programmed(spec, chosen, addresses), *_resolved(spec, chosen, around))
        found[resource.key] = GatewayStatus(conditions, addresses)
    return found


def _addresses(edges: Iterable[Edge], nodes: Sequence[str]) -> Addresses:
    values: dict[str, None] = {}
    for edge in edges:
        for reach in edge.reach:
            if reach.given:
                values.update(dict.fromkeys(reach.given))
            elif reach.by_node:
                here = ([edge.node] if edge.node else []) if reach.local else nodes
                values.update(dict.fromkeys(here))
    return tuple((_type(each), each) for each in sorted(values)[:MAX_ADDRESSES])


def _type(address: str) -> str:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return "Hostname"
    return "IPAddress"


def _programmed(spec: GatewaySpec, edges: Sequence[Edge], addresses: Addresses) -> tuple[str, str, str, str]:
    if not edges:
        return "Programmed", "False", "NoGateway", "no pod of a gateway has the labels of the selector"
    bound = frozenset(port for edge in edges for port in edge.ports)
    closed = sorted({each.port.number for each in spec.servers} - bound)
    if closed:
        listed = ", ".join(map(str, closed))
        message = f"no Service leads to the gateway's pods by port {listed}; add it to the Service that selects them"
        return "Programmed", "False", "PortUnavailable", message
    if not addresses:
        message = (
            "the gateway's Service has no address outside the cluster: its load balancer was given none yet, or none"
        )
        return "Programmed", "False", "AddressNotAssigned", f"{message} is wanted"
    return "Programmed", "True", "Programmed", ""


def _resolved(spec: GatewaySpec, edges: Sequence[Edge], around: Around) -> list[tuple[str, str, str, str]]:
    """Nothing where no Secret is named."""
    named = [
        (each.tls.credential_name, each.tls.mode) for each in spec.servers if each.tls and each.tls.credential_name
    ]
    lines: dict[str, None] = {}
    for namespace in sorted({edge.namespace for edge in edges}):
        for name, mode in named:
            line = _trouble((namespace, name), mode, around)
            if line:
                lines[line] = None
    if lines:
        return [("ResolvedRefs", "False", "InvalidCertificateRef", message_of(lines))]
    return [("ResolvedRefs", "True", "ResolvedRefs", "")] if named and edges else []


def _trouble(key: CredentialKey, mode: str, around: Around) -> str:
    """What is to be said of a Secret; empty for nothing."""
    what, known = f"Secret {key[0]}/{key[1]}", around.credentials.get(key)
    problem = around.problems.get(key)
    if problem:
        goes_on = "the last good version goes on" if known is not None else "its servers have no effect"
        return f"{what}: {problem}; {goes_on}"
    if known is None:
        return f"{what} is not there, or may not be read; its servers have no effect"
    if mode == "MUTUAL" and not known.authorities_pem:
        return f"{what} has no ca.crt, which MUTUAL needs; its servers have no effect"
    if known.ends_at and known.ends_at <= around.now:
        ended = datetime.fromtimestamp(known.ends_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return f"{what}: its certificate ended at {ended}; clients refuse it"
    return ""
