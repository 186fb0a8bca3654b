"""What a cluster's mesh stands on: the API server. Opened, wired, and what only one may keep kept by the leader."""

import asyncio
import contextlib
import logging
import os
import socket
import uuid
from collections.abc import AsyncIterator
from dataclasses import asdict, replace

from prometheus_client import CollectorRegistry, Counter, Gauge

from control.ca.audit import AuditStream
from control.ca.in_cluster import ClusterAuthority, RootSecret
from control.ca.template import DEFAULT_LIFETIMES
from control.ca.token_review import TokenReviews, by_token_review
from control.injector.settings import InjectorSettings, NamespaceFacts
from control.kubernetes.client import KubeClient
from control.kubernetes.credentials import connect
from control.kubernetes.errors import ApiError
from control.kubernetes.leadership import Leadership
from control.kubernetes.resources import NAMESPACES
from control.kubernetes.root_certificates import RootCertificates
from control.kubernetes.webhook_bundles import WebhookBundles, configurations
from control.listening import bound, spell_address
from control.options import KubernetesOptions, Options
from control.plane import COLLECTOR_ACCOUNT, Plane, Stored
from control.rest.console import AUDIENCE as CONSOLE_AUDIENCE
from control.rest.console import ConsoleDoor
from control.rest.guard import open_token
from control.rest.server import RestServer
from control.stores.kubernetes import KubernetesStore
from control.webhooks.inject import Injection, NamespaceUnknown
from control.webhooks.server import Answer, WebhookMetrics, Webhooks
from control.webhooks.settings import read_settings
from control.webhooks.validate import Validation
from control.xds.publisher import Publisher
from mesh.clock import Clock, system_rng
from mesh.files import write_atomic
from mesh.lifecycle import TaskScope
from mesh.spiffe import SpiffeId

_log = logging.getLogger("control")


@contextlib.asynccontextmanager
async def in_cluster(options: Options, clock: Clock) -> AsyncIterator["InCluster"]:
    """The cluster, its root known.

    Raises CannotStart, ClusterUnusable, BrokenAuthority, UnusableSettings, UnusableToken, OSError.
    """
    where = options.kubernetes
    assert where is not None
    # Everything that can be wrong with the command line, before the cluster is asked anything.
    settings = read_settings(where.injector_settings)
    webhook_socket = bound(options.host, where.webhook_port, "--webhook-port")
    with webhook_socket:
        options.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        tokens = open_token(options.state / "admin.token"), open_token(options.state / "prometheus.token")
        client = await connect(clock, kubeconfig=where.kubeconfig, context=where.context)
        try:
            async with TaskScope() as scope:
                made = InCluster(options, where, client, clock, scope, tokens)
                made.settings, made.webhook_socket = settings, webhook_socket
                try:
                    await made.open()
                    yield made
                finally:
                    await made.stop()
        finally:
            await client.close()


class InCluster:
    """`open` first; then it is a ground to serve from."""

    settings: InjectorSettings
    webhook_socket: socket.socket

    def __init__(
        self,
        options: Options,
        where: KubernetesOptions,
        client: KubeClient,
        clock: Clock,
        scope: TaskScope,
        tokens: tuple[str, str],
    ) -> None:
        """`tokens` open the REST interface and the list of targets; they are this process's own, not the mesh's."""
        self._scope = scope
        self._client = client
        self._where = where
        self._state = options.state
        self._clock = clock
        self._webhooks: RestServer | None = None
        registry = CollectorRegistry()
        # A restarted container is another candidate: its predecessor may still believe that it leads.
        identity = f"{os.environ.get('POD_NAME') or socket.gethostname()}_{uuid.uuid4()}"
        self._leadership = Leadership(
            client,
            clock,
            system_rng(),
            namespace=where.namespace,
            name=where.service,
            identity=identity,
            terms=where.lease,
        )
        self._leading = scope.spawn(self._leadership.run(), name="leadership")
        lifetimes = replace(DEFAULT_LIFETIMES, leaf_s=options.certificate_lifetime_s)
        secret = RootSecret(client, where.namespace)
        self._authority = ClusterAuthority(
            secret, options.trust_domain, clock, AuditStream(), self.may_write, lifetimes
        )
        self._store = KubernetesStore(
            client,
            clock,
            system_rng(),
            registry,
            may_write=self.may_write,
            revision=where.revision,
            clusters_in=where.namespace if where.other_clusters else "",
            own_name=options.cluster_id,
        )
        self._certificates = RootCertificates(client, self._roots_pem, self._store.namespace_names, self.may_write)
        self._bundles = WebhookBundles(client, self._roots_pem, self.may_write, configurations(where.revision))
        reviews = Counter(
            "remora_token_reviews", "Service account tokens checked, by outcome", ("outcome",), registry=registry
        )
        leading = Gauge("remora_control_leading", "1 while this process leads, else 0", registry=registry)
        leading.set_function(lambda: float(self.may_write()))
        self._count_review = lambda outcome: reviews.labels(outcome).inc()
        self._reviews_elsewhere: dict[str, tuple[KubeClient, TokenReviews]] = {}
        door = TokenReviews(client, scope, self._count_review)
        consoles = TokenReviews(client, scope, self._count_review, CONSOLE_AUDIENCE)

        async def account(token: str) -> tuple[str, str]:
            found = await consoles.account(token)
            return found.namespace, found.name

        console = where.namespace, COLLECTOR_ACCOUNT
        self.stored = Stored(
            self._store,
            self._authority,
            by_token_review(door, options.trust_domain, self._reviews_of),
            self._is_component,
            *tokens,
            hosts=(f"{where.service}.{where.namespace}.svc", f"{where.service}.{where.namespace}.svc.cluster.local"),
            registry=registry,
            clusters=lambda: [asdict(each) for each in self._store.clusters()],
            console=ConsoleDoor(account, console, clock, may_edit=where.console_edits_rules),
        )

    def _reviews_of(self, cluster: str) -> TokenReviews | None:
        """Of a cluster that has no control plane of its own."""
        client = self._store.client_of(cluster)
        if client is None:
            self._reviews_elsewhere.pop(cluster, None)
            return None
        known = self._reviews_elsewhere.get(cluster)
        if known is None or known[0] is not client:
            known = client, TokenReviews(client, self._scope, self._count_review)
            self._reviews_elsewhere[cluster] = known
        return known[1]

    def may_write(self) -> bool:
        """Whether nobody else can be the leader now."""
        return self._leadership.leading

    async def open(self) -> None:
        """Return once there is a root to serve with. Raises BrokenAuthority."""
        await self._authority.open()
        self._store.start(self._scope)

    def missing(self) -> list[str]:
        """What of the cluster is not known yet."""
        return self._store.missing()

    async def synced(self) -> None:
        """Return once all of it is known."""
        await self._store.synced()

    def start(self, scope: TaskScope, plane: Plane) -> None:
        """Follow the cluster; as the leader, keep what only one may keep."""
        self._authority.on_roots_changed += [self._certificates.wake, self._bundles.wake]
        self._leadership.on_change.append(self._leadership_changed)
        self._store.on_namespaces_changed.append(self._certificates.wake)
        self._authority.on_roots_changed.append(self._write_root)
        self._write_root()
        scope.spawn(_follow(self._store, plane.publisher), name="cluster watch")
        scope.spawn(self._authority.keep(), name="root")
        scope.spawn(self._certificates.run(), name="root certificates")
        scope.spawn(self._bundles.run(), name="webhook bundles")
        answers: dict[str, Answer] = {
            "/inject": Injection(lambda: self.settings, self.namespace_facts),
            "/validate": Validation(lambda: self._store.world, self._where.revision),
        }
        webhooks = Webhooks(answers, self._clock, WebhookMetrics(self.stored.registry))
        self.webhook_socket.listen()
        self._webhooks = RestServer(webhooks, self.webhook_socket, plane.serving.ssl_context())
        scope.spawn(self._webhooks.run_until_told(), name="webhooks")
        _log.info("webhooks at %s", self.addresses()["webhooks"])

    async def wait_failed(self) -> None:
        """Of what was begun before `start`: leadership, the store's watches."""
        await self._scope.wait_failed()

    def addresses(self) -> dict[str, str]:
        """Where the API server's questions are answered."""
        host, port = self.webhook_socket.getsockname()[:2]
        return {"webhooks": spell_address(host, port)}

    async def stop(self) -> None:
        """Let the next one lead at once."""
        if self._webhooks is not None:
            self._webhooks.should_exit = True
        self._leading.cancel()
        await asyncio.wait({self._leading})
        await self._leadership.release()

    async def namespace_facts(self, name: str) -> NamespaceFacts:
        """Labels and annotations. Raises NamespaceUnknown."""
        known = self._store.namespace(name)
        if known is not None:
            return known
        # Made a moment ago, and its watch event is under way.
        try:
            found = await self._client.get(NAMESPACES, name)
        except ApiError as error:
            raise NamespaceUnknown(str(error)) from error
        metadata = found.get("metadata") or {}
        return NamespaceFacts(name, metadata.get("labels") or {}, metadata.get("annotations") or {})

    def _write_root(self) -> None:
        """For the command, which is run beside this process (`kubectl exec`) and finds all else there, too."""
        path = self._state / "ca" / "root.pem"
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            write_atomic(path, self._roots_pem().encode())
        except OSError as error:
            _log.error("cannot write %s; commands in this pod do not trust us: %s", path, error)

    def _roots_pem(self) -> str:
        return self._authority.roots.pem

    def _is_component(self, identity: SpiffeId) -> bool:
        """Accounts of the mesh's own namespace: the API server has vouched for them when they began."""
        return identity.namespace == self._where.namespace

    def _leadership_changed(self, leading: bool) -> None:
        if leading:
            self._certificates.anew()
            self._bundles.wake()


async def _follow(store: KubernetesStore, publisher: Publisher) -> None:
    async for event in store.watch():
        if event.world is not None:
            publisher.submit(event.world, "cluster")
