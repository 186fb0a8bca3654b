"""The parts of the control plane, opened and wired. `app` decides when they run and stop."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import grpc
from prometheus_client import CollectorRegistry, generate_latest

from control.ca.authority import Authority
from control.ca.peer import Peer, peer_of
from control.ca.service import MAX_MESSAGE_BYTES, CertificateService, Prove, by_certificate
from control.ca.serving import ServingCertificate
from control.ca.tokens import Tokens
from control.debug.metrics import AuthorityMetrics, add_common
from control.debug.targets import SYSTEM_NAMESPACE, TargetList, control_planes, discovered
from control.ir.settings import MeshSettings
from control.options import Options
from control.rest.console import ConsoleDoor
from control.rest.guard import Guard
from control.rest.routes import TARGETS_PATH, Parts, make_routes
from control.rest.rules import Rules, RuleStore
from control.rest.workloads import Addresses, Registration, WorkloadStore
from control.xds.metrics import DiscoveryMetrics
from control.xds.planner import Planner
from control.xds.publisher import Publisher
from control.xds.server import OPTIONS, DiscoveryService
from control.xds.targets import TargetsService
from mesh.clock import Clock
from mesh.spiffe import SpiffeId

MAX_STREAMS = 20_000
"""ADS streams and renewals at the same time."""
COLLECTOR_ACCOUNT = "remora-collector"
"""Of the mesh's own namespace: who may read the list of targets, and whose pod has the console."""
MAX_SIGNING = 256
"""First certificates under way at the same time; more are told to try again."""


class Store(RuleStore, WorkloadStore, Protocol):
    """Rules and workloads, wherever they are kept."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What the control plane stands on, opened: a state directory, or a cluster."""

    store: Store
    authority: Authority
    prove: Prove
    """Who asks for a first certificate."""
    is_component: Callable[[SpiffeId], bool]
    """Whether an identity is a part of the mesh itself, which may renew its certificate without being a workload."""
    admin_token: str
    prometheus_token: str
    """Opens the list of targets, and nothing else."""
    tokens: Tokens | None = None
    """Those that this control plane gives out; a cluster has its own."""
    hosts: tuple[str, ...] = ()
    """DNS names that this process is reached by, beside the usual one."""
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    clusters: Callable[[], list[dict[str, Any]]] = list
    """The other clusters of the mesh, as `GET /v1/status` tells of them."""
    console: ConsoleDoor | None = None
    """Lets a cluster's console in; a laptop's shows the administrator's token."""


class Plane:
    """Everything but sockets. Made within the event loop."""

    def __init__(self, options: Options, stored: Stored, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._registry = stored.registry
        self.stored = stored
        self.metrics = DiscoveryMetrics(self._registry)
        self.serving = ServingCertificate(stored.authority, clock, stored.hosts)
        self.planner = Planner(self._settings())
        self.publisher = Publisher(self.planner, clock, self.metrics)
        self._authority_metrics = AuthorityMetrics(self._registry, self.root_expires_at)
        add_common(self._registry, self.publisher)
        namespace = options.kubernetes.namespace if options.kubernetes is not None else SYSTEM_NAMESPACE
        collector = SpiffeId(options.trust_domain, namespace, COLLECTOR_ACCOUNT)
        self._targets = TargetsService(
            collector, TargetList(options.trust_domain).render, clock, self._identify, self._registry
        )
        self.publisher.on_change.append(self._targets.update)
        # New roots are a change of every proxy's trust, of no rule's.
        stored.authority.on_roots_changed.append(lambda: self.publisher.submit(self.publisher.world, "roots"))

    def _settings(self) -> Callable[[], MeshSettings]:
        fixed = MeshSettings(
            trust_domain=self._options.trust_domain,
            system_roots_pem=_system_roots(),
            sampling_percent=self._options.trace_sampling_percent,
            access_log=self._options.access_log,
            allow_any=self._options.outbound_traffic_policy == "ALLOW_ANY",
            cluster_id="laptop" if self._options.laptop else self._options.cluster_id,
        )
        return lambda: replace(fixed, root_pem=self.stored.authority.roots.pem)

    def root_expires_at(self) -> float:
        """Seconds since the epoch."""
        return self.stored.authority.roots.signer.certificate.not_valid_after_utc.timestamp()

    def metrics_text(self) -> bytes:
        """In Prometheus' text format."""
        return bytes(generate_latest(self._registry))

    def ads_server(self) -> Any:
        """xDS and renewal, for clients that prove themselves by their certificates."""
        server = grpc.aio.server(options=OPTIONS, maximum_concurrent_rpcs=MAX_STREAMS)
        renewal = by_certificate(self.stored.authority, self._clock, self._may_renew)
        server.add_generic_rpc_handlers(
            (
                DiscoveryService(self.publisher, self._clock, self._identify, self.metrics).handler(),
                self._certificates(renewal).handler(),
                self._targets.handler(),
            )
        )
        return server

    def csr_server(self) -> Any:
        """First certificates, for clients that prove themselves by a token."""
        limits = (("grpc.max_receive_message_length", MAX_MESSAGE_BYTES), ("grpc.max_concurrent_streams", 16))
        options = (*(each for each in OPTIONS if each[0] not in dict(limits)), *limits)
        server = grpc.aio.server(options=options, maximum_concurrent_rpcs=MAX_SIGNING)
        server.add_generic_rpc_handlers((self._certificates(self.stored.prove).handler(),))
        return server

    def rest_app(self, addresses: Addresses) -> Guard:
        """The REST interface behind its guard."""
        registration = Registration(
            self.stored.store,
            self.stored.tokens,
            self.publisher,
            self._clock,
            addresses,
            lambda: self.stored.authority.roots.pem,
            loopback_only=self._options.laptop,
        )
        parts = Parts(
            rules=Rules(self.stored.store, self.planner, self.publisher, self._clock),
            registration=registration,
            publisher=self.publisher,
            trust_domain=self._options.trust_domain,
            root_expires_at=self.root_expires_at,
            metrics=self.metrics_text,
            targets=lambda: discovered(
                self.publisher.world, self._options.trust_domain, addresses.rest, self._options.state / "collector.json"
            ),
            clusters=self.stored.clusters,
            replicas=self._replicas,
            console_edits_rules=self._options.kubernetes is None or self._options.kubernetes.console_edits_rules,
        )
        readers = {TARGETS_PATH: self.stored.prometheus_token}
        hosts = frozenset({self._options.host, *self.stored.hosts})
        return Guard(make_routes(parts), self.stored.admin_token, hosts, readers, self.stored.console)

    def _replicas(self) -> list[str]:
        return control_planes(self.publisher.world) if self._options.kubernetes is not None else []

    def _certificates(self, prove: Prove) -> CertificateService:
        return CertificateService(self.stored.authority, self._clock, prove, self._authority_metrics.count)

    def _identify(self, context: Any) -> Peer:
        return peer_of(
            context.auth_context(),
            context.peer(),
            trust_domain=self._options.trust_domain,
            anchors=self.stored.authority.roots.trusted,
            now=self._clock.now(),
        )

    def _may_renew(self, identity: SpiffeId) -> bool:
        if self.stored.is_component(identity):
            return True
        account = (identity.namespace, identity.service_account)
        return any((w.namespace, w.service_account) == account for w in self.publisher.world.workloads.values())


def _system_roots() -> str:
    """The machine's authorities for servers outside the mesh; empty where it has none in one file."""
    path = ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt"
    try:
        return Path(path).read_text("utf-8", "replace")
    except OSError:
        return ""
