"""The agent: puts its parts together, starts them, and brings them down in the order in which nothing is lost."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from mesh.clock import Clock
from mesh.inspection import Inspection
from mesh.lifecycle import TaskScope, announce, follow_lifeline, on_stop_signals
from sidecar.agent import config_dump
from sidecar.agent.access_export import AccessExporter
from sidecar.agent.addons import AddonProcesses
from sidecar.agent.admin import Views
from sidecar.agent.app_probes import AppProbes
from sidecar.agent.backoff import Backoff
from sidecar.agent.certificates import Issued
from sidecar.agent.channels import Credentials
from sidecar.agent.collector_tls import secure
from sidecar.agent.discovery import Discovery
from sidecar.agent.dns.wanted import DnsServing, dns_layers, dns_of
from sidecar.agent.endpoints import Endpoints
from sidecar.agent.exposition import Labels
from sidecar.agent.file_secrets import UnreadableSecret, fingerprint
from sidecar.agent.health import vitals
from sidecar.agent.identity import Authority, Identity
from sidecar.agent.lifecycle import Departure, layers
from sidecar.agent.limit_flags import limit_flags
from sidecar.agent.metric_store import MetricStore
from sidecar.agent.metrics_page import MetricsPage
from sidecar.agent.node import snapshot_node, span_resource, xds_node
from sidecar.agent.outbound_activity import outbound_connections
from sidecar.agent.pod_sockets import PodSockets, own_processes
from sidecar.agent.root_file import RootFile
from sidecar.agent.servers import Servers
from sidecar.agent.span_export import SpanExporter
from sidecar.agent.supervisor import Supervisor, Telemetry
from sidecar.agent.taps import Taps
from sidecar.agent.whole_snapshot import whole_snapshot
from sidecar.agent.worker_process import COMMAND, start_worker
from sidecar.bootstrap import Bootstrap
from sidecar.compiled import usable
from sidecar.config.messages import AccessLog, Metrics, Refused, Spans, TapCounts, Tapped
from sidecar.config.snapshot import Snapshot
from sidecar.xds.ads import Ads
from sidecar.xds.configuration import Configuration
from sidecar.xds.decode_tls import LOCAL_ANCHORS

FLUSH_S = 2.0
"""How long the collector may take for the last records and spans."""

EXPIRE_EVERY_S = 60.0
FILES_EVERY_S = 2.0
"""How often certificates in files are looked at."""

_log = logging.getLogger("remora.agent")


class Agent(Views, Telemetry):
    """One sidecar or gateway. `run` once."""

    def __init__(
        self,
        bootstrap: Bootstrap,
        roots_pem: str,
        roots: RootFile,
        endpoints: Endpoints,
        clock: Clock,
        rng: random.Random,
        worker_command: tuple[str, ...] = tuple(COMMAND),
    ) -> None:
        self._bootstrap = bootstrap
        self._roots = roots
        self._endpoints = endpoints
        self._clock = clock
        self._node = snapshot_node(bootstrap)
        self._stop = asyncio.Event()
        self._certified = asyncio.Event()
        self._applying = asyncio.Lock()
        self._configuration: Configuration | None = None
        self._files_seen: tuple[tuple[str, int, int], ...] = ()
        self._winding_down = False
        self._draining = False
        self._announced = False
        self._exporting: asyncio.Task[None] | None = None
        self._scope = TaskScope()
        self.store = MetricStore(clock)
        authority = Authority(
            bootstrap.identity,
            bootstrap.csr,
            bootstrap.ads,
            bootstrap.token_file,
            bootstrap.cluster_id,
            bootstrap.pod.name if bootstrap.pod is not None else "",
        )
        self.identity = Identity(authority, roots_pem, self._on_issued, clock, rng)
        self.supervisor = Supervisor(
            bootstrap.concurrency,
            endpoints.traffic,
            self,
            partial(start_worker, (*worker_command, *limit_flags(bootstrap)), packages=usable()),
            clock,
            lambda: Backoff(rng, base_s=0.2, max_s=10.0),
        )
        self.discovery = Discovery(
            bootstrap.ads,
            xds_node(bootstrap),
            Ads(gateway=bootstrap.kind == "gateway", runtime=layers(bootstrap.pod) | dns_layers(bootstrap)),
            self.identity.credentials,
            self._apply,
            self._on_served,
            clock,
            Backoff(rng, base_s=0.2, max_s=10.0),
        )
        self.dns: DnsServing | None = dns_of(bootstrap, endpoints.dns, clock, self._scope)
        self.departure = Departure(bootstrap.pod, PodSockets(self._processes).foreign, self._opened, clock)
        self.probes = AppProbes(bootstrap.pod, clock)
        self.taps = Taps(self.supervisor, bootstrap.workload, clock)
        self.addons = AddonProcesses(
            bootstrap.addons, Inspection.of_user(), lambda: Backoff(rng, base_s=0.5, max_s=30.0), clock
        )
        self._node = replace(self._node, addon_sockets=self.addons.sockets)
        self.page = MetricsPage(self.store, partial(vitals, self), lambda: self.supervisor.pids, bootstrap.app_metrics)
        self.access = self._access_exporter(rng)
        self.span_exporter = self._span_exporter(rng)

    def _access_exporter(self, rng: random.Random) -> AccessExporter | None:
        address = self._bootstrap.collector_forward
        if address is None:
            return None
        trust_domain = self._bootstrap.identity.trust_domain
        return AccessExporter(address, secure(self._credentials, trust_domain), self._clock, rng)

    def _span_exporter(self, rng: random.Random) -> SpanExporter | None:
        address = self._bootstrap.collector_otlp
        if address is None:
            return None
        backoff = Backoff(rng, base_s=0.2, max_s=5.0)
        return SpanExporter(address, span_resource(self._bootstrap), self._credentials, backoff)

    def _credentials(self) -> Credentials:
        return self.identity.credentials()

    async def run(self) -> int:
        """Until told to stop; returns the exit status."""
        undo = on_stop_signals(self._signalled)
        try:
            async with self._scope as scope:
                await self._start(scope)
                stopping = scope.spawn(self._leave(), name="stop")
                failing = scope.spawn(scope.wait_failed(), name="failure")
                await asyncio.wait({stopping, failing}, return_when=asyncio.FIRST_COMPLETED)
                if failing.done():
                    failing.result()
                await self._drain()
                await self._servers_close()
        finally:
            undo()
            self.addons.close()
            self._endpoints.close()
        return 0

    async def _start(self, scope: TaskScope) -> None:
        # Workers first: their start-up overlaps with getting the certificate and the configuration.
        scope.spawn(self.supervisor.run(), name="workers")
        scope.spawn(self.identity.run(), name="identity")
        scope.spawn(self._discover(), name="discovery")
        scope.spawn(self._expire_metrics(), name="metrics")
        scope.spawn(self._watch_files(), name="files")
        if self._bootstrap.lifeline_fd is not None:
            gone = partial(self.stop, "the parent process is gone")
            scope.spawn(follow_lifeline(self._bootstrap.lifeline_fd, gone), name="lifeline")
        self._servers = Servers(self, self._endpoints, scope, in_pod=self._bootstrap.pod is not None)
        await self._servers.start()
        if self.dns is not None:
            await self.dns.start()

    async def _discover(self) -> None:
        await self._certified.wait()
        if self.access is not None:
            self.access.start()
        if self.span_exporter is not None:
            self._exporting = self._scope.spawn(self.span_exporter.run(), name="spans")
        await self.discovery.run()

    async def _expire_metrics(self) -> None:
        while True:
            await asyncio.sleep(EXPIRE_EVERY_S)
            self.store.expire()

    async def _servers_close(self) -> None:
        await self._servers.close()
        if self.dns is not None:
            await self.dns.close()

    async def _leave(self) -> None:
        """Return when it is time to drain."""
        await self._stop.wait()
        if self.departure.stays:
            self.wind_down("the pod ends")
        await self.departure.wait()

    async def _drain(self) -> None:
        self._draining = True
        deadline_s = self.departure.drain_s(self._bootstrap.drain_deadline_s)
        self.taps.end("the sidecar stops")
        _log.info("draining, at most %.1f s", deadline_s)
        abandoned = await self.supervisor.drain(deadline_s)
        if abandoned:
            _log.warning("%d requests were cut off at the deadline", abandoned)
        await asyncio.gather(self._flush_access(), self._flush_spans())
        _log.info("drained")

    async def _flush_access(self) -> None:
        if self.access is not None:
            await asyncio.get_running_loop().run_in_executor(None, self.access.stop, self.departure.flush_s(FLUSH_S))

    async def _flush_spans(self) -> None:
        if self.span_exporter is not None and self._exporting is not None:
            self._exporting.cancel()
            await asyncio.wait([self._exporting])
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.departure.flush_s(FLUSH_S)):
                    await self.span_exporter.flush()

    # Certificates and configuration.

    def _on_issued(self, issued: Issued) -> None:
        if not self._certified.is_set():
            self._certified.set()
            return
        self.discovery.reconnect()
        if self.access is not None:
            self.access.reconnect()
        if self.span_exporter is not None:
            self.span_exporter.reconnect()
        self._scope.spawn(self._apply_certificate(), name="apply certificate")

    async def _apply(self, configuration: Configuration) -> Refused | None:
        async with self._applying:
            try:
                snapshot = self._snapshot(configuration)
            except UnreadableSecret as error:
                return Refused(0, error.listener, "transport_socket", error.reason)
            # Scripts before the listeners that name them, as clusters before routes.
            await self.addons.use(_scripts(configuration) | _scripts(self._configuration), self._scope)
            refused = await self.supervisor.apply(snapshot)
            if refused is None:
                self._configuration = configuration
                self._trust(configuration)
                if self.dns is not None and configuration.names is not None:
                    self.dns.use(configuration.names)
                if configuration.finished:
                    self.stop("the application has ended")
            await self.addons.use(_scripts(self._configuration), self._scope)
            return refused

    async def _apply_certificate(self) -> None:
        async with self._applying:
            if self._configuration is None:
                return
            try:
                snapshot = self._snapshot(self._configuration)
            except UnreadableSecret as error:
                _log.error("a listener's certificate is not renewed: %s", error.reason)
                return
            refused = await self.supervisor.apply(snapshot)
            if refused is not None:
                _log.error("the workers refuse the new certificate: %s", refused.reason)

    def _trust(self, configuration: Configuration) -> None:
        for anchors in configuration.trust_anchors:
            if anchors.name == LOCAL_ANCHORS and anchors.pem != self.identity.roots_pem:
                _log.info("the control plane has changed the trust anchors")
                self.identity.trust(anchors.pem)

    def _snapshot(self, configuration: Configuration) -> Snapshot:
        self._files_seen = fingerprint(configuration.listeners)
        return whole_snapshot(configuration, self._node, self.identity)

    async def _watch_files(self) -> None:
        """Certificates and trust anchors that files hold are renewed by whoever writes the files."""
        while True:
            await asyncio.sleep(FILES_EVERY_S)
            roots_pem = self._roots.news()
            if roots_pem not in (None, self.identity.roots_pem):
                _log.info("%s has other trust anchors", self._bootstrap.root)
                self.identity.trust(roots_pem)
            configuration = self._configuration
            if configuration is not None and self._files_seen != fingerprint(configuration.listeners):
                await self._apply_certificate()

    def _on_served(self) -> None:
        if self._announced or not self.discovery.ads.has_listeners:
            return
        self._announced = True
        _log.info("ready: admin %s, metrics %s", self._endpoints.admin_url, self._endpoints.metrics_url)
        ready = {
            "node_id": self._bootstrap.node_id,
            "admin": self._endpoints.admin_url,
            "metrics": self._endpoints.metrics_url,
        }
        with contextlib.suppress(OSError):  # the parent may have lost interest
            announce(self._bootstrap.ready_fd, ready)

    # Telemetry: what the workers say.

    def measured(self, worker: int, metrics: Metrics) -> None:
        self.store.add(worker, metrics)

    def access_log(self, records: AccessLog) -> None:
        if self.access is not None:
            self.access.offer(records)

    def spans(self, spans: Spans) -> None:
        if self.span_exporter is not None:
            self.span_exporter.offer(spans.spans)

    def tapped(self, tapped: Tapped) -> None:
        self.taps.tapped(tapped)

    def tap_counts(self, worker: int, counts: TapCounts) -> None:
        self.taps.counted(worker, counts)

    def worker_gone(self, worker: int) -> None:
        self.store.forget(worker)
        self.taps.worker_gone(worker)

    # Views: what the endpoints show.

    def stop(self, why: str) -> None:
        self.departure.go()
        if not self._stop.is_set():
            _log.info("stopping: %s", why)
            self._stop.set()

    def _signalled(self) -> None:
        """The first time, a pod's sidecar waits for its application; whoever sends a second signal does not."""
        if self._stop.is_set() or not self.departure.stays:
            self.stop("signal")
        else:
            _log.info("stopping: signal")
            self._stop.set()

    def wind_down(self, why: str) -> None:
        if not self._winding_down:
            self._winding_down = True
            _log.info("winding down, %s: inbound connections end with their next answers", why)
            self.supervisor.wind_down()

    def _processes(self) -> set[int]:
        return {*own_processes(), *self.supervisor.pids}

    def _opened(self) -> float:
        serving = self.supervisor.serving
        return outbound_connections(self.store.totals(), serving.listeners if serving is not None else ())

    def state(self) -> str:
        if self._draining or self._winding_down or self._stop.is_set():
            return "DRAINING"
        if not self.discovery.ads.has_listeners:
            return "PRE_INITIALIZING"
        return "LIVE" if self.supervisor.running else "INITIALIZING"

    def config_dump(self) -> str:
        return config_dump.render(self.discovery.ads, self.identity.issued)

    async def inspect(self, what: str) -> list[str]:
        return await self.supervisor.inspect(what)

    async def replace_workers(self) -> int:
        return await self.supervisor.replace(self._bootstrap.drain_deadline_s)

    async def metrics(self, *, openmetrics: bool) -> bytes:
        return await self.page.render(openmetrics_wanted=openmetrics)

    def totals(self) -> Iterable[tuple[str, Labels, float]]:
        yield from self.store.totals()
        yield from ((vital.name, (), vital.value) for vital in vitals(self))


def _scripts(configuration: Configuration | None) -> set[str]:
    """Of addons, that its listeners name."""
    if configuration is None:
        return set()
    chains = [chain for listener in configuration.listeners for chain in listener.filter_chains]
    return {addon.script for chain in chains if chain.http is not None for addon in chain.http.addons}
