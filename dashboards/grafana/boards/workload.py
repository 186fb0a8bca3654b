"""One workload: what comes in, what it asks of others, and how its sidecar is."""

from dashboards.grafana.boards.parts import (
    CHANGES,
    RESTARTS,
    answers_by_code,
    in_mutual_tls,
    latency_distribution,
    number,
    relayed_bytes,
    success_number,
)
from dashboards.grafana.boards.reasons import NO_FAILURE, NO_LOCAL_FAILURE
from dashboards.grafana.links import (
    TO_SERVICE,
    TO_SOURCE_WORKLOAD,
    WORKLOAD_UID,
)
from dashboards.grafana.model import SHOULD_BE_ZERO, Board, Panel, Query, Row, Threshold, Unit
from dashboards.grafana.promql import (
    DURATION,
    REQUESTS,
    failed,
    failed_or_none,
    per_second,
    quantile,
)
from dashboards.grafana.variables import QUANTILE, WORKLOAD, WORKLOAD_NAMESPACE

_IN = (
    'reporter="destination"',
    'destination_workload_namespace=~"$namespace"',
    'destination_workload=~"$workload"',
)
_OUT = ('reporter="source"', 'source_workload_namespace=~"$namespace"', 'source_workload=~"$workload"')
_SIDECAR = '{namespace=~"$namespace",workload=~"$workload"}'
_BY_CLIENT = "source_workload, source_workload_namespace"
_CLIENT_NAME = "{{source_workload_namespace}}/{{source_workload}}"
_GATEWAY = "a gateway is asked by nobody in the mesh"
_LEAF = "a workload that asks no other has no such series"
_CLUSTER = "{{envoy_cluster_name}}"

_GLANCE = Row(
    "At a glance",
    (
        number(
            "Requests in",
            "Requests per second that came.",
            Unit.REQUESTS,
            per_second(REQUESTS, *_IN),
            may_be_empty=_GATEWAY,
        ),
        success_number(
            "Success in",
            "Share of what came that it answered without 5xx or a gRPC status that is a server's error.",
            *_IN,
            may_be_empty=_GATEWAY,
        ),
        number(
            "Latency in p99",
            "99 of 100 requests took it less.",
            Unit.MILLISECONDS,
            quantile("0.99", DURATION, *_IN),
            may_be_empty=_GATEWAY,
        ),
        number(
            "Requests out",
            "Requests per second to others.",
            Unit.REQUESTS,
            per_second(REQUESTS, *_OUT),
            may_be_empty=_LEAF,
        ),
        number(
            "Failed out",
            "Requests per second to others that failed.",
            Unit.REQUESTS,
            failed_or_none(*_OUT),
            may_be_empty=_LEAF,
            thresholds=SHOULD_BE_ZERO,
        ),
        in_mutual_tls("Share of what came over mutual TLS.", *_IN, may_be_empty=_GATEWAY),
        number(
            "Certificate left",
            "Until the sidecar's certificate ends; it is renewed at half its life.",
            Unit.SECONDS,
            f"min(remora_agent_certificate_expiry_timestamp_seconds{_SIDECAR}) - time()",
            thresholds=(Threshold(None, "red"), Threshold(3600, "green")),
            minimum=None,
        ),
        number(
            "Control plane",
            "1 while the sidecar is connected to its control plane; without, it serves what it last accepted.",
            Unit.COUNT,
            f"min(remora_agent_xds_connected{_SIDECAR})",
            thresholds=(Threshold(None, "red"), Threshold(1, "green")),
        ),
    ),
)

_INBOUND = Row(
    "What comes in",
    (
        Panel(
            "Requests by client",
            "Requests per second by who asks.",
            Unit.REQUESTS,
            (Query(per_second(REQUESTS, *_IN, by=_BY_CLIENT), _CLIENT_NAME, _GATEWAY),),
            width=6,
            link=TO_SOURCE_WORKLOAD,
        ),
        answers_by_code(*_IN, may_be_empty=_GATEWAY, width=6),
        Panel(
            "Latency",
            "Quantiles of what application and sidecar take. A dot is one request: it leads to its trace.",
            Unit.MILLISECONDS,
            tuple(
                Query(quantile(q, DURATION, *_IN), name, _GATEWAY, exemplars=q == "0.99")
                for name, q in (("p50", "0.5"), ("p90", "0.9"), ("p99", "0.99"))
            ),
            width=6,
        ),
        latency_distribution("Distribution of latency", *_IN, may_be_empty=_GATEWAY, width=6),
    ),
)

_OUTBOUND = Row(
    "What it asks of others",
    (
        Panel(
            "Requests by service",
            "Requests per second to each service.",
            Unit.REQUESTS,
            (Query(per_second(REQUESTS, *_OUT, by="destination_service"), "{{destination_service}}", _LEAF),),
            width=6,
            link=TO_SERVICE,
        ),
        Panel(
            "Failed by service",
            "Requests per second that failed, by the service that they were for.",
            Unit.REQUESTS,
            (Query(failed(*_OUT, by="destination_service"), "{{destination_service}}", NO_FAILURE),),
            width=6,
            link=TO_SERVICE,
        ),
        Panel(
            "Latency by service at the quantile",
            "The chosen quantile of what others take, network included. A dot leads to a trace.",
            Unit.MILLISECONDS,
            (
                Query(
                    quantile("$quantile", DURATION, *_OUT, by="destination_service"),
                    "{{destination_service}}",
                    _LEAF,
                    exemplars=True,
                ),
            ),
            width=6,
            link=TO_SERVICE,
        ),
        Panel(
            "Response flags",
            "Requests per second that this sidecar answered itself or ended, by reason.",
            Unit.REQUESTS,
            (
                Query(
                    per_second(REQUESTS, *_OUT, 'response_flags!="-"', by="destination_service, response_flags"),
                    "{{response_flags}} {{destination_service}}",
                    NO_LOCAL_FAILURE,
                ),
            ),
            width=6,
            stacked=True,
            link=TO_SERVICE,
        ),
    ),
)

_CONNECTIONS = Row(
    "Connections",
    (
        Panel(
            "Open to upstreams",
            "Connections that the sidecar holds to each cluster, the application (inbound) included.",
            Unit.COUNT,
            (Query(f"sum by (envoy_cluster_name) (envoy_cluster_upstream_cx_active{_SIDECAR})", _CLUSTER),),
        ),
        Panel(
            "In flight to upstreams",
            "Requests that wait for an answer of each cluster.",
            Unit.COUNT,
            (Query(f"sum by (envoy_cluster_name) (envoy_cluster_upstream_rq_active{_SIDECAR})", _CLUSTER),),
        ),
        Panel(
            "Opened to upstreams",
            "New connections per second to each cluster: many under steady traffic mean that they are not reused.",
            Unit.PER_SECOND,
            (
                Query(
                    f"sum by (envoy_cluster_name) (rate(envoy_cluster_upstream_cx_total{_SIDECAR}[$__rate_interval]))",
                    _CLUSTER,
                ),
            ),
        ),
        Panel(
            "Open from clients",
            "Connections at each listener.",
            Unit.COUNT,
            (
                Query(
                    f"sum by (envoy_listener_address) (envoy_listener_downstream_cx_active{_SIDECAR})",
                    "{{envoy_listener_address}}",
                ),
            ),
            width=12,
            height=7,
        ),
        Panel(
            "Bytes of connections",
            "Bytes per second over relayed connections, as this workload's sidecar counts them.",
            Unit.BYTES_PER_SECOND,
            (*relayed_bytes(*_IN, prefix="in, "), *relayed_bytes(*_OUT, prefix="out, ")),
            width=12,
            height=7,
        ),
    ),
)

_SIDE = Row(
    "Its sidecar",
    (
        Panel(
            "CPU",
            "Of the worker, which forwards, and the agent, which does everything slow. 100 % is a whole core.",
            Unit.CORES,
            (
                Query(f"sum(rate(remora_worker_cpu_seconds_total{_SIDECAR}[$__rate_interval]))", "worker"),
                Query(f"sum(rate(remora_agent_process_cpu_seconds_total{_SIDECAR}[$__rate_interval]))", "agent"),
            ),
            stacked=True,
        ),
        Panel(
            "Memory",
            "Resident memory of worker and agent.",
            Unit.BYTES,
            (
                Query(f"sum(remora_worker_resident_memory_bytes{_SIDECAR})", "worker"),
                Query(f"sum(remora_agent_process_resident_memory_bytes{_SIDECAR})", "agent"),
            ),
            stacked=True,
        ),
        Panel(
            "Telemetry that did not leave",
            "Access records and spans dropped by the agent, and requests of the control plane that failed, per second.",
            Unit.PER_SECOND,
            (
                Query(
                    f"sum(rate(remora_agent_access_log_dropped_total{_SIDECAR}[$__rate_interval]))",
                    "access records dropped",
                ),
                Query(f"sum(rate(remora_agent_spans_dropped_total{_SIDECAR}[$__rate_interval]))", "spans dropped"),
                Query(
                    f"sum(rate(remora_agent_xds_failures_total{_SIDECAR}[$__rate_interval]))",
                    "control plane connections failed",
                ),
                Query(f"sum(rate(remora_agent_worker_restarts_total{_SIDECAR}[$__rate_interval]))", "worker restarts"),
            ),
        ),
    ),
)

WORKLOAD_BOARD = Board(
    WORKLOAD_UID,
    "Remora / Workload",
    "One workload: what comes in, what it asks of others, and how its sidecar is.",
    (WORKLOAD_NAMESPACE, WORKLOAD, QUANTILE),
    (_GLANCE, _INBOUND, _OUTBOUND, _CONNECTIONS, _SIDE),
    (CHANGES, RESTARTS),
)
