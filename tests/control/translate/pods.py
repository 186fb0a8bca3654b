"""A mesh of pods, whose connections are captured; and a connection sent through what is generated for one of them,
decided by the sidecar's own decoder, matchers and router."""

from dataclasses import dataclass

from control.api import Workload
from control.ir import Mesh, Proxy
from sidecar.config.endpoint import Address
from sidecar.config.listener import FilterChain, Http, Listener
from sidecar.listeners.match import Destinations, Facts, choose
from tests.control.translate.bookinfo import mesh, proxy, rule
from tests.control.translate.simulation import Simulation


def pod(name: str, service: str, address: str, *ports: tuple[str, int], **more: object) -> Workload:
    """A pod with a sidecar, the first address in `more["addresses"]` where there are several."""
    return Workload.model_validate(
        {
            "name": name,
            "labels": {"app": service},
            "service_account": service,
            "addresses": [address],
            "capture": True,
            "ports": [{"name": label, "service_port": number, "app": f"{address}:{number}"} for label, number in ports],
            **more,
        }
    )


PODS = (
    pod("productpage-1", "productpage", "10.0.0.1", ("http", 9080)),
    pod("reviews-1", "reviews", "10.0.0.2", ("http", 8000), ("grpc-admin", 8001), ("tcp-db", 5432), ("auto", 9000)),
    pod("reviews-2", "reviews", "10.0.0.3", ("http", 8000), ("grpc-admin", 8001), ("tcp-db", 5432), ("auto", 9000)),
    pod("mysql-0", "mysql", "10.0.0.4", ("mysql", 3306)),
    pod("mysql-1", "mysql", "10.0.0.5", ("mysql", 3306)),
    pod("whatever-1", "whatever", "10.0.0.6", ("any", 7000)),
    pod("legacy-1", "legacy", "10.0.0.7", ("http", 80), capture=False),
    pod(
        "dual-1",
        "dual",
        "10.0.0.8",
        ("http", 8080),
        ("tcp-x", 8081),
        addresses=["10.0.0.8", "fd00::8"],
        labels={"app": "dual"},
    ),
    pod("search-0", "search", "10.0.0.9", ("http", 9200)),
)


def service(name: str, address: str, *ports: str) -> str:
    """`ports` as YAML mappings."""
    text = f"selector: {{app: {name}}}\nclusterIP: {address}\nports:\n" + "".join(f"- {each}\n" for each in ports)
    return rule("Service", name, text)


SERVICES = (
    service("productpage", "10.96.0.1", "{port: 80, name: http, targetPort: 9080}"),
    service(
        "reviews",
        "10.96.0.2",
        "{port: 80, name: http, targetPort: 8000}",
        "{port: 8001, name: grpc-admin}",
        "{port: 5432, name: tcp-db}",
        "{port: 9000, name: auto}",
    ),
    service("mysql", "None", "{port: 3306, name: mysql}"),
    service("whatever", "10.96.0.6", "{port: 7000, name: any}"),
    service("legacy", "10.96.0.7", "{port: 80, name: http}"),
    rule(
        "Service",
        "dual",
        """
selector: {app: dual}
clusterIP: 10.96.0.8
clusterIPs: [10.96.0.8, "fd96::8"]
ports: [{port: 80, name: http, targetPort: 8080}, {port: 8081, name: tcp-x}]
""",
    ),
    service("search", "None", "{port: 9200, name: http}"),
)


def of_case(rules: str) -> tuple[Mesh, Proxy]:
    """The mesh and the proxy that a golden case asks for in its comments: `# proxy: NAME`, and `# pods` for this mesh
    instead of Bookinfo's."""
    comments = [line for line in rules.splitlines() if line.startswith("#")]
    name = next(line.removeprefix("# proxy: ") for line in comments if line.startswith("# proxy: "))
    if "# pods" not in comments:
        return mesh(rules), proxy(name)
    own = [rules] if len(comments) < len(rules.splitlines()) else []
    return mesh(*SERVICES, *own, workloads=PODS), proxy(name, PODS)


@dataclass(frozen=True)
class Way:
    """What became of a connection."""

    listener: str
    chain: FilterChain
    cluster: str | None
    """None: its requests are routed, and none was asked about, or none was answered by a cluster."""


HTTP = Facts(False, None, ("http/1.1",))


def journey(sidecar: Simulation, to: str, facts: Facts = HTTP, url: str | None = None, *, inbound: bool = False) -> Way:
    """A redirected connection that was going to `to`, an `ADDRESS:PORT`, and on it a request for `url`."""
    host, _, port = to.rpartition(":")
    destination = Address(host.strip("[]"), int(port))
    listener = _first(sidecar, destination, inbound=inbound)
    if listener.hand_over:
        listener = _handed(sidecar, destination) or listener
    chains = [(each, each) for each in listener.filter_chains]
    candidates = Destinations(listener, chains).of(destination)
    chain = choose(facts, candidates.chains, listener.default_chain)
    assert chain is not None, f"{listener.name} takes no such connection"
    if chain.tcp is not None:
        return Way(listener.name, chain, chain.tcp.targets[0].cluster)
    assert chain.http is not None
    return Way(listener.name, chain, None if url is None else _routed(sidecar, chain.http, url))


def _first(sidecar: Simulation, destination: Address, *, inbound: bool) -> Listener:
    anywhere = "::" if ":" in destination.host else "0.0.0.0"
    at = Address(anywhere, 15006 if inbound else 15001)
    return next(each for each in sidecar.listeners.values() if each.address == at)


def _handed(sidecar: Simulation, destination: Address) -> Listener | None:
    anywhere = "::" if ":" in destination.host else "0.0.0.0"
    for at in (destination, Address(anywhere, destination.port)):
        for each in sidecar.listeners.values():
            if each.address == at and not each.original_destination:
                assert not each.bound
                return each
    return None


def _routed(sidecar: Simulation, http: Http, url: str) -> str | None:
    if http.routes is not None:
        sidecar.routes["inline"] = http.routes
    found = sidecar.where(url, table=http.route_name or "inline")
    return found if isinstance(found, str) else None
