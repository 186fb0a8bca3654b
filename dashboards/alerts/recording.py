"""Recorded series: rates, error shares and latencies of services and workloads.

Both reporters are kept apart (`reporter`): what the caller's proxy saw, and what the server's saw. A request counts as
failed with a 5xx, or with a gRPC status that is the server's fault, as everywhere in Remora (collectors.store).
"""

from collections.abc import Iterator

from dashboards.alerts import slo
from dashboards.alerts.objectives import BASE, Objectives
from dashboards.alerts.rules import Group, Recording, duration

SERVICE = ("reporter", "destination_service", "destination_service_name", "destination_service_namespace")
WORKLOAD = ("reporter", "destination_workload", "destination_workload_namespace")
CLIENT = ("reporter", "source_workload", "source_workload_namespace")
MESH = ("reporter",)

LEVELS = {"service": SERVICE, "workload": WORKLOAD, "client": CLIENT, "mesh": MESH}
"""First word of the names: what requests are summed up by. `client` is the workload that calls."""

SERVER_FAULTS = "2|4|12|13|14|15"
"""gRPC: UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS."""

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


def recording_groups(objectives: Objectives) -> Iterator[Group]:
    """One group a level, so that a slow one holds up no other."""
    span = duration(objectives.range(BASE))
    for level, labels in LEVELS.items():
        recordings = tuple(_requests(level, labels, span))
        if level == "service":
            yield Group("remora-service", (*recordings, *slo.rates(objectives)), slo.interval_s(objectives))
        else:
            yield Group(f"remora-{level}", recordings)
    yield Group("remora-tcp", tuple(_tcp(span)))
    yield Group("remora-proxies", tuple(_proxies(span)))


def _requests(level: str, labels: tuple[str, ...], span: str) -> Iterator[Recording]:
    by = ", ".join(labels)
    total = f"{level}:istio_requests:rate5m"
    errors = f"{level}:istio_request_errors:rate5m"
    yield Recording(total, f"sum by ({by}) (rate(istio_requests_total[{span}]))")
    yield Recording(errors, f"sum by ({by}) ({failed(span)}) or 0 * {total}")
    yield Recording(f"{level}:istio_request_errors:ratio_rate5m", f"{errors} / ({total} > 0)")
    name = f"{level}:istio_request_duration_milliseconds"
    yield Recording(
        f"{name}_bucket:rate5m", f"sum by ({by}, le) (rate(istio_request_duration_milliseconds_bucket[{span}]))"
    )
    for quantile, share in QUANTILES.items():
        yield Recording(f"{name}:{quantile}_rate5m", f"histogram_quantile({share:g}, {name}_bucket:rate5m)")
    for what in ("request", "response"):
        yield Recording(f"{level}:istio_{what}_bytes:rate5m", f"sum by ({by}) (rate(istio_{what}_bytes_sum[{span}]))")
    if level != "client":
        # Only the server's proxy knows whether TLS was mutual; the caller's says unknown.
        secure = f'sum by ({by}) (rate(istio_requests_total{{connection_security_policy="mutual_tls"}}[{span}]))'
        inbound = f'{total}{{reporter="destination"}}'
        yield Recording(
            f"{level}:istio_requests_mutual_tls:ratio_rate5m", f"({secure} or 0 * {inbound}) / ({inbound} > 0)"
        )


def failed(span: str) -> str:
    """Rates of requests that failed, by all labels."""
    return (
        f'rate(istio_requests_total{{response_code=~"5.."}}[{span}]) or '
        f'rate(istio_requests_total{{response_code!~"5..", grpc_response_status=~"{SERVER_FAULTS}"}}[{span}])'
    )


def _tcp(span: str) -> Iterator[Recording]:
    for level in ("service", "workload"):
        by = ", ".join(LEVELS[level])
        for what in ("sent_bytes", "received_bytes", "connections_opened", "connections_closed"):
            yield Recording(f"{level}:istio_tcp_{what}:rate5m", f"sum by ({by}) (rate(istio_tcp_{what}_total[{span}]))")


def _proxies(span: str) -> Iterator[Recording]:
    """What the sidecars themselves use, by the workload that they stand beside."""
    by = "workload, namespace"
    cpu = (
        f"sum by ({by}) (rate(remora_worker_cpu_seconds_total[{span}])) + "
        f"sum by ({by}) (rate(remora_agent_process_cpu_seconds_total[{span}]))"
    )
    memory = (
        f"sum by ({by}) (remora_worker_resident_memory_bytes) + "
        f"sum by ({by}) (remora_agent_process_resident_memory_bytes)"
    )
    yield Recording("proxy:remora_cpu_seconds:rate5m", cpu)
    yield Recording("proxy:remora_resident_memory_bytes:sum", memory)
    yield Recording(
        "proxy:remora_certificate_remaining_seconds:min",
        f"min by ({by}) (remora_agent_certificate_expiry_timestamp_seconds) - time()",
    )
