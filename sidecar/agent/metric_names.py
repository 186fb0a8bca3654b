"""Help texts of the metrics that workers send, and what a family without one is called."""

HELP: dict[str, str] = {
    "istio_requests_total": "Requests handled, by Istio's standard labels.",
    "istio_request_duration_milliseconds": "Time from the first byte of a request to the last byte of its answer.",
    "istio_request_bytes": "Sizes of request bodies.",
    "istio_response_bytes": "Sizes of response bodies.",
    "istio_request_messages_total": "Messages of gRPC requests, by Istio's standard labels.",
    "istio_response_messages_total": "Messages of gRPC answers.",
    "istio_tcp_connections_opened_total": "Connections relayed as bytes that were opened, by Istio's standard labels.",
    "istio_tcp_connections_closed_total": "Connections relayed as bytes that were closed.",
    "istio_tcp_received_bytes_total": "Bytes received from the clients of relayed connections.",
    "istio_tcp_sent_bytes_total": "Bytes sent to the clients of relayed connections.",
    "envoy_cluster_upstream_cx_total": "Connections opened to the cluster.",
    "envoy_cluster_upstream_cx_active": "Connections open to the cluster.",
    "envoy_cluster_upstream_cx_connect_fail": "Connections to the cluster that failed to open.",
    "envoy_cluster_upstream_cx_connect_timeout": "Connections to the cluster that took too long to open.",
    "envoy_cluster_upstream_cx_overflow": "Times that the cluster's connection limit was met.",
    "envoy_cluster_upstream_rq_total": "Requests sent to the cluster, retries included.",
    "envoy_cluster_upstream_rq_active": "Requests in flight to the cluster.",
    "envoy_cluster_upstream_rq_pending_active": "Requests that wait for a connection to the cluster.",
    "envoy_cluster_upstream_rq_pending_overflow": "Requests refused since too many waited already.",
    "envoy_cluster_upstream_rq_retry": "Requests to the cluster that were tried again.",
    "envoy_cluster_upstream_rq_timeout": "Requests that the cluster did not answer in time.",
    "envoy_cluster_http2_keepalive_timeout": "Connections to the cluster cut since a PING was not answered.",
    "envoy_cluster_outlier_detection_ejections_active": "Endpoints that are left out since they failed.",
    "envoy_cluster_outlier_detection_ejections_enforced_total": "Endpoints that were ejected.",
    "envoy_cluster_outlier_detection_ejections_enforced_consecutive_5xx": "Ejected for answers of 500 or above.",
    "envoy_cluster_outlier_detection_ejections_enforced_consecutive_gateway_failure": "Ejected for 502, 503 or 504.",
    "envoy_cluster_outlier_detection_ejections_enforced_consecutive_local_origin_failure": (
        "Ejected since they could not be connected to, or did not answer."
    ),
    "envoy_cluster_outlier_detection_ejections_overflow": "Endpoints not ejected since too many were.",
    "envoy_cluster_membership_total": "Endpoints of the cluster.",
    "envoy_cluster_membership_healthy": "Endpoints of the cluster that are not reported unhealthy, and not ejected.",
    "envoy_cluster_membership_degraded": "Endpoints that are used where healthy ones do not suffice: none.",
    "envoy_cluster_membership_excluded": "Endpoints that do not count when it is asked how many are healthy: none.",
    "envoy_listener_downstream_cx_total": "Connections accepted by the listener.",
    "envoy_listener_downstream_cx_active": "Connections of the listener that are open.",
    "envoy_listener_downstream_cx_overflow": "Connections closed at once since the listener had as many as it may.",
    "envoy_listener_downstream_global_cx_overflow": "Connections closed at once since the worker had all it may.",
    "remora_listener_cx_shed_total": "Connections closed at once for want of descriptors.",
    "remora_listener_cx_loop_total": "Connections closed since they were going to the very listener that took them.",
    "envoy_http_downstream_cx_idle_timeout": "Connections closed since no request came for too long.",
    "envoy_http_downstream_cx_max_requests_reached": "Connections that ended with the last request they may carry.",
    "envoy_http_downstream_cx_max_duration_reached": "Connections that ended since they were too old.",
    "envoy_http_downstream_rq_header_timeout": "Requests whose head was not whole in time.",
    "envoy_http_downstream_rq_timeout": "Requests that were not whole in time.",
    "envoy_http_downstream_rq_idle_timeout": "Requests ended since nothing moved for too long.",
    "envoy_http_downstream_rq_max_duration_reached": "Requests whose answers were not whole in time.",
    "envoy_http_downstream_rq_overload_close": "Requests refused since memory was short.",
    "envoy_http_downstream_cx_upgrades_total": "Requests that left HTTP: upgrades and CONNECT.",
    "envoy_http_downstream_flow_control_paused_reading_total": "Times that a client was not read from for a while.",
    "remora_worker_overloads_total": "Times that a worker came near its memory limit.",
    "remora_worker_memory_limit_bytes": "Resident memory that a worker may use.",
    "remora_metrics_overflowed_requests_total": "Requests counted under `overflow` since there are too many series.",
    "remora_filter_calls_total": "Calls of filters in Python, by hook.",
    "remora_filter_failures_total": "Calls of filters in Python that came to nothing, by reason.",
    "remora_filter_replies_total": "Requests and answers that a filter in Python answered itself.",
    "remora_filter_duration_microseconds_total": "Time that filters in Python held the proxy, waiting not counted.",
    "remora_filter_pending": "Calls of a filter in Python that wait.",
    "remora_filter_suspended": "1 while a filter in Python is switched off since it blocked the proxy.",
    "remora_access_log_dropped_total": "Access records that a worker dropped since the agent was too slow.",
    "remora_spans_dropped_total": "Spans that a worker dropped since the agent was too slow.",
}

OF_THE_NEWEST = "envoy_cluster_membership_"
"""Gauges that start so say what a worker knows, not what it has: of several workers the newest is right."""


def help_of(name: str) -> str:
    """One sentence; for a statistic not listed above, where to read about it."""
    text = HELP.get(name)
    if text is not None:
        return text
    if name.startswith("envoy_"):
        return f"Envoy's statistic {name.removeprefix('envoy_')}."
    return f"Count of {name.removeprefix('remora_').removesuffix('_total').replace('_', ' ')}."
