"""The sample mesh that tests speak of: Bookinfo's services, an ingress gateway, and what a test adds in YAML."""

from collections.abc import Sequence

from control.api import Parsed, SourceFile, Workload, World, parse
from control.ir import Mesh, MeshSettings, Proxy
from control.translate import proxy_of, translate

ROOT_PEM = """-----BEGIN CERTIFICATE-----
MIIBRTCB7KADAgECAgEBMAoGCCqGSM49BAMCMA8xDTALBgNVBAMMBHJvb3QwHhcN
-----END CERTIFICATE-----
"""


def workload(name: str, service: str, version: str, number: int, **more: object) -> Workload:
    """A sidecar's record: the application at 127.0.0.1:`number`, inbound 1000 above, outbound 2000 above."""
    return Workload.model_validate(
        {
            "name": name,
            "namespace": "default",
            "service": service,
            "version": version,
            "service_account": f"bookinfo-{service}",
            "ports": [{"name": "http", "service_port": 9080, "app": f"127.0.0.1:{number}"}],
            "inbound": f"127.0.0.1:{number + 1000}",
            "outbound": f"127.0.0.1:{number + 2000}",
            **more,
        }
    )


INGRESS = Workload(
    name="ingress",
    namespace="istio-system",
    kind="gateway",
    labels={"istio": "ingressgateway"},
    service_account="ingress",
    gateway_ports={"80": "127.0.0.1:18080"},
)
WORKLOADS = (
    workload("productpage-v1", "productpage", "v1", 9001),
    workload("details-v1", "details", "v1", 9002),
    workload("reviews-v1", "reviews", "v1", 9003),
    workload("reviews-v2", "reviews", "v2", 9004),
    workload("reviews-v3", "reviews", "v3", 9005),
    workload("ratings-v1", "ratings", "v1", 9006),
    INGRESS,
)


def parsed(*texts: str) -> Parsed:
    """Texts as files `rules0.yaml`, `rules1.yaml`, ..."""
    return parse([SourceFile(f"rules{index}.yaml", text) for index, text in enumerate(texts)])


def world(*texts: str, workloads: Sequence[Workload] = WORKLOADS) -> World:
    """A World in which the texts are stored; they must be without fault."""
    rules = parsed(*texts)
    assert not rules.violations, [str(violation) for violation in rules.violations]
    return World({r.key: r for r in rules.resources}, {(w.namespace, w.name): w for w in workloads}, 1)


def mesh(*texts: str, settings: MeshSettings | None = None, workloads: Sequence[Workload] = WORKLOADS) -> Mesh:
    """The same, translated."""
    return translate(world(*texts, workloads=workloads), settings or MeshSettings(root_pem=ROOT_PEM)).mesh


def proxy(name: str, workloads: Sequence[Workload] = WORKLOADS) -> Proxy:
    """The proxy of a workload."""
    return proxy_of(next(w for w in workloads if w.name == name), "cluster.local")


def rule(kind: str, name: str, spec: str, namespace: str | None = None) -> str:
    """A document; `spec` is YAML with two spaces of indentation taken for granted."""
    group = "security.istio.io/v1" if kind == "PeerAuthentication" else "networking.istio.io/v1"
    version = "v1" if kind == "Service" else group
    lines = [f"apiVersion: {version}", f"kind: {kind}", "metadata:", f"  name: {name}"]
    if namespace:
        lines.append(f"  namespace: {namespace}")
    return "\n".join([*lines, "spec:", *(f"  {line}" for line in spec.strip("\n").splitlines())]) + "\n"
