"""References from one rule to another, or to a service, that lead nowhere."""

from collections.abc import Iterable, Iterator, Sequence

from control.analyze.subject import Subject
from control.api.kinds.destination_rule import DestinationRuleSpec
from control.api.kinds.gateway import GatewaySpec, Server
from control.api.kinds.http_action import Destination
from control.api.kinds.http_match import HttpMatch
from control.api.kinds.tcp_route import TcpMatch, TlsMatch
from control.api.kinds.virtual_service import HttpRoute, VirtualServiceSpec
from control.api.resource import Path, Resource
from control.api.violation import Violation
from control.api.workload import Workload
from control.translate.matches import gateway_name


def references(subject: Subject) -> Iterator[Violation]:
    """Errors for what would not work, warnings for what would have no effect."""
    gateways = sorted({f"{r.namespace}/{r.name}" for r in subject.world.of_kind("Gateway")})
    for resource, spec in subject.virtual_services():
        yield from _gateways(subject, resource, spec, gateways)
        yield from _hosts(subject, resource, spec)
        for index, route in enumerate(spec.http):
            for path, destination in _destinations(route):
                at: Path = ("spec", "http", index, *path)
                yield from _destination(subject, resource, spec, at, destination)
        for kind, routes in (("tls", spec.tls), ("tcp", spec.tcp)):
            for index, connections in enumerate(routes):
                for number, share in enumerate(connections.route):
                    at = ("spec", kind, index, "route", number, "destination")
                    yield from _destination(subject, resource, spec, at, share.destination)
    for resource in subject.world.of_kind("DestinationRule"):
        assert isinstance(resource.spec, DestinationRuleSpec)
        host = subject.full(resource.spec.host, resource)
        if host not in subject.ports:
            yield resource.violation(("spec", "host"), _missing_host(subject, resource, resource.spec.host, host))
    yield from _gateway_workloads(subject)


def _destinations(route: HttpRoute) -> Iterator[tuple[Path, Destination]]:
    for index, share in enumerate(route.route):
        yield ("route", index, "destination"), share.destination
    if route.mirror is not None:
        yield ("mirror",), route.mirror
    for index, mirror in enumerate(route.mirrors):
        yield ("mirrors", index, "destination"), mirror.destination


def _destination(
    subject: Subject, resource: Resource, spec: VirtualServiceSpec, path: Path, destination: Destination
) -> Iterator[Violation]:
    host = subject.full(destination.host, resource)
    ports = subject.ports.get(host)
    if ports is None:
        yield resource.violation((*path, "host"), _missing_host(subject, resource, destination.host, host))
        return
    if destination.port is not None and destination.port.number not in ports:
        message = f"is {destination.port.number}, but {destination.host} has {_listed(ports, 'no port')}"
        yield resource.violation((*path, "port", "number"), message)
    elif destination.port is None and len(ports) > 1 and set(spec.gateways) != {"mesh"}:
        message = f"is required: {destination.host} has the ports {_listed(ports)}, and a gateway's port says nothing"
        yield resource.violation((*path, "port"), message)
    known = subject.subsets.get(host, set())
    if destination.subset and destination.subset not in known:
        if known:
            guess = subject.guess(destination.subset, sorted(known))
            right = f"its DestinationRule defines {', '.join(sorted(known))}{guess}"
        else:
            right = f"no DestinationRule for {destination.host} defines subsets; apply one first, or in the same call"
        message = f"is {destination.subset!r}, a subset that {destination.host} does not have; {right}"
        yield resource.violation((*path, "subset"), message)


def _missing_host(subject: Subject, resource: Resource, written: str, host: str) -> str:
    known = subject.names(resource.namespace)
    guess = subject.guess(written, known) or (f"; known are {_listed(known)}" if known else "; no service is known yet")
    meant = "" if written == host else f" ({host})"
    return f"is {written!r}{meant}, but there is no such service{guess}"


def _hosts(subject: Subject, resource: Resource, spec: VirtualServiceSpec) -> Iterator[Violation]:
    if "mesh" not in spec.gateways:
        return
    for index, written in enumerate(spec.hosts):
        host = subject.full(written, resource)
        if host in subject.ports or host.startswith("*"):
            continue
        missing = _missing_host(subject, resource, written, host)
        message = f"{missing}; the rule holds only for requests that name it themselves"
        yield resource.violation(("spec", "hosts", index), message, "warning")


def _gateways(subject: Subject, resource: Resource, spec: VirtualServiceSpec, known: list[str]) -> Iterator[Violation]:
    for index, written in enumerate(spec.gateways):
        name = gateway_name(written, resource.namespace)
        if name != "mesh" and name not in known:
            listed = f"known are {_listed(known)}" if known else "there is none yet"
            message = f"is {written!r}, but there is no Gateway {name}{subject.guess(name, known)}; {listed}"
            yield resource.violation(("spec", "gateways", index), message)
    for at, match in _matches(spec):
        for index, written in enumerate(match.gateways):
            if written not in spec.gateways:
                message = f"is {written!r}, which spec.gateways does not name; add it there"
                yield resource.violation((*at, "gateways", index), message)


def _matches(spec: VirtualServiceSpec) -> Iterator[tuple[Path, HttpMatch | TlsMatch | TcpMatch]]:
    conditions: list[tuple[str, int, Sequence[HttpMatch | TlsMatch | TcpMatch]]] = [
        *(("http", position, route.match) for position, route in enumerate(spec.http)),
        *(("tls", position, route.match) for position, route in enumerate(spec.tls)),
        *(("tcp", position, route.match) for position, route in enumerate(spec.tcp)),
    ]
    for kind, position, matches in conditions:
        for number, match in enumerate(matches):
            yield ("spec", kind, position, "match", number), match


def _credential(
    subject: Subject, resource: Resource, index: int, server: Server, chosen: Sequence[Workload]
) -> Iterator[Violation]:
    """Whether the Secret that a server names is there, in every namespace that has a gateway which needs it."""
    name = server.tls.credential_name if server.tls is not None else None
    if name is None or server.tls is None:
        return
    where: Path = ("spec", "servers", index, "tls", "credentialName")
    if subject.world.found_services is None:
        message = (
            "names a Secret of Kubernetes, and this mesh is not in a cluster; write serverCertificate and privateKey,"
        )
        yield resource.violation(where, f"{message} the paths of files beside the gateway")
        return
    for namespace in sorted({workload.namespace for workload in chosen}):
        found = subject.world.credentials.get((namespace, name))
        if found is None:
            message = f"is {name!r}, and namespace {namespace} has no such Secret of type kubernetes.io/tls that can be"
            yield resource.violation(where, f"{message} read; the server has no effect until it has", "warning")
        elif server.tls.mode == "MUTUAL" and not found.authorities_pem:
            message = f"is {name!r}, which has no ca.crt to check clients' certificates against; add it to the Secret"
            yield resource.violation(where, message, "warning")


def _gateway_workloads(subject: Subject) -> Iterator[Violation]:
    edges = [workload for workload in subject.world.workloads.values() if workload.kind == "gateway"]
    for resource in subject.world.of_kind("Gateway"):
        spec = resource.spec
        assert isinstance(spec, GatewaySpec)
        chosen = [w for w in edges if spec.selector.items() <= w.effective_labels.items()]
        for index, server in enumerate(spec.servers):
            yield from _credential(subject, resource, index, server, chosen)
        if not chosen:
            message = "selects no gateway that is registered; the Gateway has no effect until one is"
            yield resource.violation(("spec", "selector"), message, "warning")
            continue
        for index, server in enumerate(spec.servers):
            if not any(str(server.port.number) in workload.gateway_ports for workload in chosen):
                bound = sorted({int(port) for workload in chosen for port in workload.gateway_ports})
                message = f"is {server.port.number}, for which no selected gateway listens; they have {_listed(bound)}"
                yield resource.violation(("spec", "servers", index, "port", "number"), message, "warning")


def _listed(values: Iterable[object], none: str = "none") -> str:
    """The first dozen; a list is in its order already."""
    ordered = values if isinstance(values, list) else sorted(values, key=str)
    texts = ", ".join(str(value) for value in ordered[:12])
    return texts + (f" and {len(ordered) - 12} more" if len(ordered) > 12 else "") if texts else none
