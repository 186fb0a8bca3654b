"""The agent's own metrics, as values. Read at each scrape; nothing is counted twice."""

from collections.abc import Iterator
from typing import Protocol

from sidecar.agent.access_export import AccessExporter
from sidecar.agent.addons import AddonProcesses
from sidecar.agent.app_probes import AppProbes
from sidecar.agent.discovery import Discovery
from sidecar.agent.dns.wanted import DnsServing
from sidecar.agent.identity import Identity
from sidecar.agent.lifecycle import Departure
from sidecar.agent.metric_store import MetricStore
from sidecar.agent.metrics_page import MetricsPage
from sidecar.agent.span_export import SpanExporter
from sidecar.agent.supervisor import Supervisor
from sidecar.agent.taps import Taps
from sidecar.agent.vitals import Vital


class Parts(Protocol):
    """What is looked at; the agent."""

    identity: Identity
    supervisor: Supervisor
    discovery: Discovery
    access: AccessExporter | None
    span_exporter: SpanExporter | None
    store: MetricStore
    page: MetricsPage
    taps: Taps
    addons: AddonProcesses
    dns: DnsServing | None
    departure: Departure
    probes: AppProbes


def vitals(parts: Parts) -> Iterator[Vital]:
    """All of them, in no order."""
    yield from _identity(parts.identity)
    yield from _workers(parts.supervisor)
    yield from _discovery(parts.discovery)
    if parts.access is not None:
        yield from _access(parts.access)
    if parts.span_exporter is not None:
        yield from _spans(parts.span_exporter)
    if parts.dns is not None:
        yield from parts.dns.vitals()
    yield from _taps(parts.taps)
    yield from _addons(parts.addons)
    store = parts.store
    name = "remora_agent_metrics"
    yield Vital(f"{name}_overflowed_total", "Updates of series beyond the limit.", store.overflowed)
    yield Vital(f"{name}_malformed_total", "Updates whose name or labels cannot be shown.", store.malformed)
    yield from _application(parts.page)
    yield from _probes(parts.probes)
    yield Vital(
        "remora_agent_waits_for_application",
        "1 from SIGTERM on, while the application in the same pod still needs us.",
        parts.departure.waiting,
    )


def _application(page: MetricsPage) -> Iterator[Vital]:
    name = "remora_agent_app_metrics"
    if page.app_up is not None:
        yield Vital(f"{name}_up", "1 if the application's metrics could be had the last time.", page.app_up)
    yield Vital(f"{name}_failures_total", "Scrapes of the application that failed.", page.app_failures)
    yield Vital(f"{name}_left_out_total", "Lines of the application whose names are ours.", page.app_left_out)


def _probes(probes: AppProbes) -> Iterator[Vital]:
    name = "remora_agent_app_probes"
    yield Vital(f"{name}_total", "Probes and hooks of the application performed for the kubelet.", probes.performed)
    yield Vital(f"{name}_failures_total", "Of these, those that failed.", probes.failed)
    yield Vital(f"{name}_shared_total", "Answers by the outcome of another's question.", probes.shared)
    yield Vital(f"{name}_failing", "Probes that failed the last time.", probes.failing)


def _taps(taps: Taps) -> Iterator[Vital]:
    name = "remora_agent_taps"
    yield Vital(f"{name}_open", "Taps that are open.", taps.open)
    yield Vital(f"{name}_opened_total", "Taps that were opened.", taps.opened)
    yield Vital(f"{name}_dropped_total", "Tapped requests that their reader was too slow for.", taps.dropped)


def _addons(addons: AddonProcesses) -> Iterator[Vital]:
    name = "remora_agent_addons"
    processes = addons.processes
    serving = sum(process.serves and not process.trouble for process in processes)
    yield Vital(name, "Addon scripts that the configuration names.", len(processes))
    yield Vital(f"{name}_serving", "Of these, scripts that are loaded and served.", serving)
    yield Vital(f"{name}_restarts_total", "Addon processes that ended, or hung and were replaced.", addons.ends)


def _identity(identity: Identity) -> Iterator[Vital]:
    name = "remora_agent_certificate"
    issued = identity.issued
    if issued is not None:
        yield Vital(f"{name}_expiry_timestamp_seconds", "When the certificate expires.", issued.not_after)
    yield Vital(f"{name}_expiring", "1 if the certificate is near its end and could not be renewed.", identity.expiring)
    yield Vital(f"{name}_issuances_total", "Certificates received.", identity.issuances)
    yield Vital(f"{name}_failures_total", "Requests for a certificate that failed.", identity.failures)


def _workers(supervisor: Supervisor) -> Iterator[Vital]:
    yield Vital("remora_agent_workers", "Worker processes that serve.", supervisor.running)
    yield Vital("remora_agent_worker_restarts_total", "Workers that ended and were replaced.", supervisor.restarts)
    yield Vital("remora_agent_worker_hangs_total", "Workers killed since they did not answer.", supervisor.hangs)


def _discovery(discovery: Discovery) -> Iterator[Vital]:
    counts = discovery.counts
    name = "remora_agent_xds"
    yield Vital(f"{name}_connected", "1 while the control plane's stream is open.", counts.connected)
    yield Vital(f"{name}_connections_total", "Streams that were answered.", counts.connections)
    yield Vital(f"{name}_failures_total", "Streams that ended, or could not be opened.", counts.failures)
    yield Vital(f"{name}_responses_total", "Responses received.", counts.responses)
    yield Vital(f"{name}_acks_total", "Responses acknowledged.", counts.acks)
    yield Vital(f"{name}_nacks_total", "Responses refused.", counts.nacks)
    yield Vital(f"{name}_rejected", "Resource kinds whose latest response was refused.", len(counts.rejections))
    yield Vital(f"{name}_applied_total", "Configurations that the workers took.", counts.applied)
    yield Vital(f"{name}_missing", "Resources referred to but not sent.", len(discovery.ads.waiting_for))


def _access(access: AccessExporter) -> Iterator[Vital]:
    name = "remora_agent_access_log"
    yield Vital(f"{name}_acknowledged_total", "Access records that the collector has.", access.acknowledged)
    yield Vital(f"{name}_dropped_total", "Access records lost.", access.dropped)
    yield Vital(f"{name}_failures_total", "Failed attempts to send access records.", access.failures)
    yield Vital(f"{name}_buffered_bytes", "Access records not yet acknowledged.", access.buffered_bytes)


def _spans(spans: SpanExporter) -> Iterator[Vital]:
    name = "remora_agent_spans"
    yield Vital(f"{name}_sent_total", "Spans that the collector has.", spans.sent)
    yield Vital(f"{name}_dropped_total", "Spans lost.", spans.dropped)
    yield Vital(f"{name}_failures_total", "Failed attempts to send spans.", spans.failures)
    yield Vital(f"{name}_queued", "Spans that wait.", spans.queued)
