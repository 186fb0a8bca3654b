"""Which filter chains of a snapshot go on where former ones served: those whose connections would notice nothing."""

from dataclasses import dataclass, replace

from sidecar.config.listener import FilterChain, Http, Listener, Tcp
from sidecar.config.snapshot import Snapshot
from sidecar.listeners.context import HttpContext, ListenerCounts
from sidecar.listeners.listener import LiveChain
from sidecar.listeners.tcp import TcpContext


@dataclass(frozen=True, slots=True)
class Around:
    """What a filter chain is part of."""

    listener: Listener
    snapshot: Snapshot
    former: list[LiveChain]
    """Chains that serve now and that no chain of the snapshot continues yet."""
    counts: ListenerCounts


def trust_domains(chain: FilterChain) -> tuple[str, ...]:
    return chain.tls.trust_domains if chain.tls is not None else ()


def without_routes(config: Http) -> Http:
    """Without what is in the table."""
    return replace(config, routes=None, addons=(), filters=())


def reusable_http(around: Around, chain: FilterChain, config: Http) -> HttpContext | None:
    """The context of a former chain whose connections would notice no difference but the routes."""
    for each in around.former:
        if each.http is not None and each.http.config == without_routes(config) and _continues(around, each, chain):
            around.former.remove(each)
            return each.http
    return None


def reusable_tcp(around: Around, chain: FilterChain, config: Tcp) -> TcpContext | None:
    """Likewise. Other weights are no reason to end a connection, a target that is gone is one."""
    for each in around.former:
        if each.tcp is not None and _same_but_weights(each.tcp.config, config) and _continues(around, each, chain):
            around.former.remove(each)
            return each.tcp
    return None


def _same_but_weights(one: Tcp, other: Tcp) -> bool:
    return replace(one, targets=()) == replace(other, targets=()) and (
        {target.cluster for target in one.targets} == {target.cluster for target in other.targets}
    )


def _continues(around: Around, former: LiveChain, chain: FilterChain) -> bool:
    context = former.context
    return (
        _conditions(former.config) == _conditions(chain)
        and context.direction is around.listener.direction
        and context.trust_domains == trust_domains(chain)
        and context.node == around.snapshot.node
        and _same_demands(former.config, chain)
    )


def _conditions(chain: FilterChain) -> tuple[object, ...]:
    return (
        chain.destination_port,
        chain.destinations,
        chain.transport,
        chain.server_names,
        chain.application_protocols,
    )


def _same_demands(one: FilterChain, other: FilterChain) -> bool:
    """Whoever got in under the former rules would get in under these. A rotated secret does not change that."""
    if one.tls is None or other.tls is None:
        return one.tls is other.tls
    return replace(one.tls, certificate="") == replace(other.tls, certificate="")
