"""Names that cross process boundaries: labels of Istio's metrics, keys of the access-log record, span fields.

The worker writes them, the agent passes them on, the collector stores them, the console asks for them.
"""

from dataclasses import dataclass

HTTP_LABELS: tuple[str, ...] = (
    "reporter",
    "source_workload",
    "source_canonical_service",
    "source_canonical_revision",
    "source_workload_namespace",
    "source_principal",
    "source_app",
    "source_version",
    "source_cluster",
    "destination_workload",
    "destination_workload_namespace",
    "destination_principal",
    "destination_app",
    "destination_version",
    "destination_service",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_service_name",
    "destination_service_namespace",
    "destination_cluster",
    "request_protocol",
    "response_code",
    "grpc_response_status",
    "response_flags",
    "connection_security_policy",
)
"""Labels of Istio's HTTP metrics, in Istio's order."""

TCP_LABELS: tuple[str, ...] = tuple(
    label for label in HTTP_LABELS if label not in ("response_code", "grpc_response_status")
)
"""Labels of Istio's TCP metrics, in Istio's order."""

DURATION_BUCKETS_MS: tuple[float, ...] = (
    0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000, 600_000,
    1_800_000, 3_600_000,
)  # fmt: skip
"""Upper bounds of `istio_request_duration_milliseconds`: Envoy's default histogram buckets."""

SIZE_BUCKETS_BYTES: tuple[float, ...] = DURATION_BUCKETS_MS
"""Upper bounds of `istio_request_bytes` and `istio_response_bytes`: Envoy uses the same buckets for all."""

ACCESS_TAG = "remora.access"
"""Forward-protocol tag of access-log records."""

ACCESS_KEYS: tuple[str, ...] = (
    "id",  # "NODE-ID/WORKER-EPOCH/SEQUENCE": unique for ever, equal when sent again
    "workload",  # whose sidecar wrote it
    "namespace",
    "direction",  # "inbound" | "outbound" | "gateway"
    "start_time",  # RFC 3339 with microseconds, UTC
    "method",
    "path",
    "protocol",
    "response_code",  # int
    "response_flags",  # "-" when none
    "response_code_details",
    "bytes_received",  # int, body
    "bytes_sent",  # int, body
    "duration",  # float, milliseconds
    "upstream_service_time",  # float, milliseconds, or None
    "x_forwarded_for",
    "user_agent",
    "request_id",
    "authority",
    "upstream_host",
    "upstream_cluster",
    "upstream_transport_failure_reason",
    "downstream_local_address",
    "downstream_remote_address",
    "requested_server_name",
    "route_name",
    "trace_id",  # 32 hex digits
    "span_id",  # 16 hex digits
    "source_principal",  # SPIFFE id of the peer, or None
    "source_workload",
    "destination_service",
    "attempts",  # int: 1, more when retried
)
"""Keys of an access-log record, every one present in every record, None where there is nothing to say."""

GRPC_STATUS_KEY = "grpc_status"
"""In records of gRPC calls, and in no others: the call's status, an integer."""

FILTER_METADATA_KEY = "filter_metadata"
"""In records of requests for which filters noted something, and in no others: a map of texts, numbers, truth values."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Who a workload says it is, for metric labels. `unknown` where not known."""

    name: str = "unknown"
    namespace: str = "unknown"
    app: str = "unknown"
    version: str = "unknown"
    canonical_service: str = "unknown"
    canonical_revision: str = "latest"
    cluster: str = "unknown"
    principal: str = "unknown"
    """The SPIFFE id's URI, proven by mTLS; never taken from a header."""
