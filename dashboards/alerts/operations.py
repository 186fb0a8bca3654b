"""Alerts on the mesh itself: certificates, configuration, proxies, telemetry. Each names the command to begin with."""

from collections.abc import Iterator

from dashboards.alerts.collectors import collector_alerts
from dashboards.alerts.rules import Alert, Group

_PROXY = "{{ $labels.namespace }}/{{ $labels.workload }}"

ABSENT: dict[str, str] = {
    "envoy_cluster_outlier_detection_ejections_active": "shown where a DestinationRule asks for outlier detection",
    "envoy_cluster_upstream_rq_retry": "shown once a request was tried again",
    "remora_access_log_dropped_total": "shown once a worker dropped a record",
    "remora_spans_dropped_total": "shown once a worker dropped a span",
    "remora_metrics_overflowed_requests_total": "shown once a worker had too many series",
    "remora_worker_overloads_total": "shown where a memory limit is set",
}
"""Series that a healthy mesh does not show, each with the reason; all others are there from the start."""


def operations_groups() -> Iterator[Group]:
    """By subject."""
    yield Group("remora-certificates", tuple(_certificates()))
    yield Group("remora-configuration", tuple(_configuration()))
    yield Group("remora-proxies-alerts", tuple(_proxies()))
    yield Group("remora-telemetry", tuple(_telemetry()))
    yield Group("remora-collectors", tuple(collector_alerts()))


def _certificates() -> Iterator[Alert]:
    yield Alert(
        "RemoraCertificateNotRenewed",
        "max by (workload, namespace) (remora_agent_certificate_expiring) > 0",
        "page",
        summary=f"{_PROXY}: its certificate is near its end and could not be renewed",
        description="Half of the certificate's life is over and every attempt failed. When it ends, mutual TLS to and "
        "from this workload ends. `remora status` shows whether the control plane is reached.",
        for_s=60,
    )
    yield Alert(
        "RemoraCertificateExpiresSoon",
        "min by (workload, namespace) (remora_agent_certificate_expiry_timestamp_seconds) - time() < 3600",
        "page",
        summary=f"{_PROXY}: its certificate ends in {{{{ $value | humanizeDuration }}}}",
        description="Certificates are renewed at half their life: one with less than an hour left was not renewed, or "
        "was issued for too short a time (`remora control --certificate-lifetime`).",
        for_s=300,
    )
    yield Alert(
        "RemoraCollectorCertificateExpiresSoon",
        "min by (instance) (remora_collector_certificate_expiry_timestamp_seconds > 0) - time() < 3600",
        "page",
        summary="The collector {{ $labels.instance }}: its certificate ends in {{ $value | humanizeDuration }}",
        description="When it ends, sidecars keep their records and refuse to send them. Its log says why the renewal "
        "failed.",
        for_s=300,
    )
    yield Alert(
        "RemoraRootExpiresSoon",
        "min by (instance) (citadel_server_root_cert_expiry_timestamp) - time() < 30 * 86400",
        "ticket",
        summary="The mesh's root certificate ends in {{ $value | humanizeDuration }}",
        description="Root certificates are replaced by themselves long before: see the control plane's log for `root "
        "rotation`.",
    )
    yield Alert(
        "RemoraCertificatesRefused",
        'sum by (outcome) (rate(remora_control_certificate_requests_total{outcome!="issued"}[5m])) > 0.1',
        "ticket",
        summary="Signing requests end as {{ $labels.outcome }}: {{ $value | humanize }} a second",
        description="Somebody asks for certificates that are not for it, or with a token that is not good any more. "
        "The control plane's log names the peers.",
        for_s=300,
    )


def _configuration() -> Iterator[Alert]:
    yield Alert(
        "RemoraConfigurationRejected",
        "max by (workload, namespace) (remora_agent_xds_rejected) > 0",
        "page",
        summary=f"{_PROXY} refuses the configuration that it is sent",
        description="It goes on with the last good one, so that the newest rules do not hold there. `remora status` "
        "shows the field and the reason.",
        for_s=60,
    )
    yield Alert(
        "RemoraConfigurationStale",
        "max by (workload, namespace) (1 - remora_agent_xds_connected) > 0",
        "page",
        summary=f"{_PROXY} has had no connection to the control plane for five minutes",
        description="It serves what it has, and learns of no change and no new endpoint. `remora status`; is the "
        "control plane up, and this workload registered?",
        for_s=300,
    )
    yield Alert(
        "RemoraConfigurationSlow",
        "histogram_quantile(0.99, sum by (le) (rate(pilot_proxy_convergence_time_bucket[10m]))) > 10",
        "ticket",
        summary="A change needs {{ $value | humanizeDuration }} until every proxy has it (99th percentile)",
        description="The control plane or some proxies are short of CPU, or rules are very many. "
        "pilot_xds_push_time is the time to generate, pilot_proxy_queue_time the wait before.",
        for_s=600,
    )
    yield Alert(
        "RemoraConfigurationBroken",
        "max by (instance) (remora_control_snapshot_problems) > 0",
        "page",
        summary="The control plane has made configuration that contradicts itself",
        description="A mistake of Remora's own, please report it. Its log names the resources; proxies keep the last "
        "good configuration.",
    )


def _proxies() -> Iterator[Alert]:
    yield Alert(
        "RemoraTargetDown",
        'up{job=~"remora.*"} == 0',
        "page",
        summary="{{ $labels.job }} {{ $labels.instance }} cannot be scraped",
        description="The process is gone, or stands still: {{ $labels.namespace }}/{{ $labels.workload }}. "
        "`remora status`",
        for_s=120,
    )
    yield Alert(
        "RemoraProxyRestarts",
        "sum by (workload, namespace) (increase(remora_agent_worker_restarts_total[10m])) > 2",
        "ticket",
        summary=f"{_PROXY}: workers ended {{{{ $value | humanize }}}} times in ten minutes",
        description="Connections wait while a worker is replaced. The agent's log has the reason.",
    )
    yield Alert(
        "RemoraProxyHangs",
        "sum by (workload, namespace) (increase(remora_agent_worker_hangs_total[10m])) > 0",
        "page",
        summary=f"{_PROXY}: a worker stood still and was killed",
        description="Usually a filter in Python that blocks: remora_filter_suspended, and the agent's log.",
    )
    yield Alert(
        "RemoraEndpointsEjected",
        "sum by (workload, namespace, envoy_cluster_name) (envoy_cluster_outlier_detection_ejections_active) > 0",
        "ticket",
        summary=f"{_PROXY} has taken endpoints of {{{{ $labels.envoy_cluster_name }}}} out: {{{{ $value }}}}",
        description="They failed too often one after the other. The sidecar's log names them, and so does `/clusters` "
        "of its admin interface.",
        for_s=120,
    )
    yield Alert(
        "RemoraRetriesMany",
        "sum by (workload, namespace, envoy_cluster_name) (rate(envoy_cluster_upstream_rq_retry[5m])) "
        "/ (sum by (workload, namespace, envoy_cluster_name) (rate(envoy_cluster_upstream_rq_total[5m])) > 0.1) > 0.2",
        "ticket",
        summary=f"{_PROXY} sends {{{{ $value | humanizePercentage }}}} of its requests to "
        "{{ $labels.envoy_cluster_name }} again",
        description="Retries hide failures until they add to the load that causes them.",
        for_s=600,
    )


def _telemetry() -> Iterator[Alert]:
    for name, what, expression in (
        ("AccessRecords", "access records", "remora_agent_access_log_dropped_total"),
        ("Spans", "spans", "remora_agent_spans_dropped_total"),
    ):
        worker = "remora_access_log_dropped_total" if name == "AccessRecords" else "remora_spans_dropped_total"
        by = "workload, namespace"
        yield Alert(
            f"Remora{name}Dropped",
            f"sum by ({by}) (increase({expression}[10m])) > 0 or sum by ({by}) (increase({worker}[10m])) > 0",
            "ticket",
            summary=f"{_PROXY} lost {{{{ $value | humanize }}}} {what} in ten minutes",
            description="The collector is down, or slower than what comes. The agent's buffers are bounded; what does "
            "not fit is dropped and counted.",
        )
    yield Alert(
        "RemoraMetricsOverflow",
        "sum by (workload, namespace) (increase(remora_agent_metrics_overflowed_total[10m])) > 0 "
        "or sum by (workload, namespace) (increase(remora_metrics_overflowed_requests_total[10m])) > 0",
        "ticket",
        summary=f"{_PROXY} has more metric series than it may",
        description="Requests of further combinations of labels are counted under `overflow`: who calls so many "
        "services by so many names? `remora metrics cardinality`",
    )
    yield Alert(
        "RemoraApplicationMetricsMissing",
        "sum by (workload, namespace) (increase(remora_agent_app_metrics_failures_total[10m])) > 3",
        "ticket",
        summary=f"{_PROXY}: its application's metrics cannot be had",
        description="The sidecar's own go out. The agent's log says what the application answers.",
    )
