"""What Istio's public dashboards ask Prometheus: the facts that a mesh with Istio's metrics must have an answer for.
Dashboards: Istio Mesh, Istio Service, Istio Workload (grafana.com 7639, 7636, 7630). `$` names their variables."""

_REQUESTS = "istio_requests_total"
_SIZES = ("istio_request_bytes", "istio_response_bytes")
_TCP = ("istio_tcp_received_bytes_total", "istio_tcp_sent_bytes_total")
_ROUND = "round(sum(irate({metric}{{{matchers}}}[5m])){by}, 0.001)"
_SHARE = 'sum(irate({metric}{{{matchers},response_code!~"5.*"}}[5m])){by} / sum(irate({metric}{{{matchers}}}[5m])){by}'
_QUANTILE = "histogram_quantile({q}, sum(irate({metric}_bucket{{{matchers}}}[1m])) by ({labels}le))"


def _http(matchers: str, by: str = "", *, code: bool = True) -> list[str]:
    """Rate, success, latency and sizes as the dashboards ask for them, for a place in the mesh."""
    labels = f"{by}, " if by else ""
    counted = f" by ({labels}response_code)" if by and code else f" by ({by})" if by else ""
    whole = f" by ({by})" if by else ""
    asked = [
        _ROUND.format(metric=_REQUESTS, matchers=matchers, by=counted),
        _SHARE.format(metric=_REQUESTS, matchers=matchers, by=whole),
    ]
    for q in ("0.50", "0.90", "0.95", "0.99"):
        # In seconds where milliseconds are not there: the dashboards join both.
        latency = _QUANTILE.format(q=q, metric="istio_request_duration_milliseconds", matchers=matchers, labels=labels)
        older = _QUANTILE.format(q=q, metric="istio_request_duration_seconds", matchers=matchers, labels=labels)
        asked.append(f"({latency} / 1000) or {older}")
    asked += [
        _QUANTILE.format(q=q, metric=size, matchers=matchers, labels=labels)
        for size in _SIZES
        for q in ("0.50", "0.99")
    ]
    return asked


def _tcp(matchers: str, by: str = "") -> list[str]:
    whole = f" by ({by})" if by else ""
    return [f"round(sum(irate({metric}{{{matchers}}}[1m])){whole}, 0.001)" for metric in _TCP]


_SOURCE = 'reporter=~"source|waypoint"'
_TABLE = 'label_join({}, "destination_workload_var", ".", "destination_workload", "destination_workload_namespace")'

MESH = [
    f"round(sum by () (rate({_REQUESTS}{{{_SOURCE}}}[$__rate_interval])), 0.01)",
    f'sum by () (rate({_REQUESTS}{{{_SOURCE},response_code!~"5.."}}[$__rate_interval])) '
    f"/ sum by () (rate({_REQUESTS}{{{_SOURCE}}}[$__rate_interval]))",
    *(
        f'round(sum by () (rate({_REQUESTS}{{{_SOURCE},response_code=~"{code}"}}[$__rate_interval])), 0.01) '
        "or vector(0)"
        for code in ("4..", "5..")
    ),
    _TABLE.format(
        f"sum by (destination_workload,destination_workload_namespace,destination_service) "
        f"(rate({_REQUESTS}{{{_SOURCE}}}[$__rate_interval]))"
    ),
    *(
        _TABLE.format(
            f"histogram_quantile({q}, sum by (le,destination_workload,destination_workload_namespace) "
            f"(rate(istio_request_duration_milliseconds_bucket{{{_SOURCE}}}[$__rate_interval])))"
        )
        for q in ("0.5", "0.9", "0.99")
    ),
    "sum by (component,tag) (istio_build)",
]

MESH_TCP = [
    _TABLE.format(
        f"sum by (destination_workload,destination_workload_namespace,destination_service) "
        f"(rate({metric}{{{_SOURCE}}}[$__rate_interval]))"
    )
    for metric in _TCP
]

_SERVICE = 'reporter=~"$qrep",destination_service=~"$service"'
_CLIENTS = "source_workload, source_workload_namespace"
_SERVERS = "destination_workload, destination_workload_namespace"
_FROM = 'source_workload=~"$srcwl",source_workload_namespace=~"$srcns"'
_TO = 'destination_workload=~"$dstwl",destination_workload_namespace=~"$dstns"'

SERVICE = [
    *_http(_SERVICE),
    *_http('reporter="destination",destination_service=~"$service"'),
    *_http(
        f'connection_security_policy="mutual_tls",reporter="destination",destination_service=~"$service",{_FROM}',
        _CLIENTS,
    ),
    *_http(
        f'connection_security_policy!="mutual_tls",reporter="source",destination_service=~"$service",{_FROM}', _CLIENTS
    ),
    *_http(
        f'connection_security_policy="mutual_tls",reporter="destination",destination_service=~"$service",{_TO}',
        _SERVERS,
    ),
    "sum(istio_requests_total{}) by (destination_service) or "
    "sum(istio_tcp_sent_bytes_total{}) by (destination_service)",
    'sum(istio_requests_total{reporter=~"$qrep", destination_service="$service"}) by (source_workload_namespace) '
    'or sum(istio_tcp_sent_bytes_total{reporter=~"$qrep", destination_service=~"$service"}) '
    "by (source_workload_namespace)",
]

SERVICE_TCP = [
    *_tcp('reporter=~"$qrep",destination_service=~"$service"'),
    *_tcp(f'reporter="source",destination_service=~"$service",{_FROM}', _CLIENTS),
    *_tcp(
        f'reporter="destination",connection_security_policy="mutual_tls",destination_service=~"$service",{_TO}',
        _SERVERS,
    ),
]

_IN = 'reporter=~"$qrep",destination_workload_namespace=~"$namespace",destination_workload=~"$workload"'
_OUT = (
    'reporter="source",source_workload_namespace=~"$namespace",source_workload=~"$workload",'
    'destination_service=~"$dstsvc"'
)

WORKLOAD = [
    *_http(_IN),
    *_http(f'{_IN},connection_security_policy="mutual_tls",{_FROM}', _CLIENTS),
    *_http(f'destination_principal=~"spiffe.*",{_OUT}', "destination_service"),
    "sum(istio_requests_total) by (destination_workload_namespace) or "
    "sum(istio_tcp_sent_bytes_total) by (destination_workload_namespace)",
    'sum(istio_requests_total{destination_workload_namespace=~"$namespace"}) by (destination_workload) or '
    'sum(istio_requests_total{source_workload_namespace=~"$namespace"}) by (source_workload)',
]

WORKLOAD_TCP = [
    *_tcp(_IN),
    *_tcp(_OUT, "destination_service"),
]

CONTROL_PLANE = [
    "sum by (type) (irate(pilot_xds_pushes[$__rate_interval]))",
    "sum by (type) (pilot_total_xds_rejects)",
    "sum by () (pilot_xds)",
    "sum(rate(pilot_xds_push_time_bucket{}[1m])) by (le)",
    "sum by (type) (rate(pilot_push_triggers[$__rate_interval]))",
]
