"""One service: what its callers see, what it sees itself, who calls, which version answers."""

from dashboards.grafana.boards.parts import CHANGES, number
from dashboards.grafana.boards.reasons import NO_BYTES, NO_EJECTION, NO_FAILURE, NO_LOCAL_FAILURE, NO_RETRY
from dashboards.grafana.links import (
    SERVICE_UID,
    TO_DESTINATION_WORKLOAD,
    TO_DESTINATION_WORKLOAD_TITLE,
    TO_SOURCE_WORKLOAD,
    TO_SOURCE_WORKLOAD_TITLE,
    TO_WORKLOAD,
    TO_WORKLOAD_TITLE,
)
from dashboards.grafana.model import SHOULD_BE_WHOLE, SHOULD_BE_ZERO, Board, Kind, Panel, Query, Row, Threshold, Unit
from dashboards.grafana.promql import (
    DURATION,
    REQUEST_BYTES,
    REQUESTS,
    RESPONSE_BYTES,
    TCP_CLOSED,
    TCP_OPENED,
    TCP_RECEIVED,
    TCP_SENT,
    WINDOW,
    buckets,
    failed,
    failed_or_none,
    or_none,
    per_second,
    quantile,
    share,
    success,
)
from dashboards.grafana.variables import CLIENT, NAMESPACE, QUANTILE, REPORTER, SERVICE

_SERVICE = 'destination_service=~"$service"'
_HERE = ('reporter="$reporter"', _SERVICE, 'source_workload=~"$client"')
_CLIENTS_SIDE = ('reporter="source"', _SERVICE)
_SIDES = (("seen by clients", 'reporter="source"'), ("seen by the service", 'reporter="destination"'))
_BY_CLIENT = "source_workload, source_workload_namespace"
_BY_VERSION = "destination_workload, destination_workload_namespace, destination_version"
_CLIENT_NAME = "{{source_workload_namespace}}/{{source_workload}}"
_VERSION_NAME = "{{destination_workload_namespace}}/{{destination_workload}} {{destination_version}}"

_GLANCE = Row(
    "At a glance",
    (
        number("Requests", "Requests per second to the service.", Unit.REQUESTS, per_second(REQUESTS, *_HERE)),
        number(
            "Success",
            "Share of requests answered without 5xx and without a gRPC status that is a server's error.",
            Unit.RATIO,
            success(*_HERE),
            thresholds=SHOULD_BE_WHOLE,
            maximum=1,
            decimals=2,
        ),
        number(
            "Failed",
            "Requests per second that ended with 5xx or a gRPC status that is a server's error.",
            Unit.REQUESTS,
            failed_or_none(*_HERE),
            thresholds=SHOULD_BE_ZERO,
        ),
        number(
            "Never arrived",
            "Requests per second that their client's sidecar answered itself: no healthy endpoint, no connection, "
            "circuit breaker, injected fault. Only clients see them.",
            Unit.REQUESTS,
            or_none(
                per_second(REQUESTS, *_CLIENTS_SIDE, 'response_flags=~".*(UH|UF|UO|NR|NC|FI|RL|UAEX|OM).*"'),
                per_second(REQUESTS, *_CLIENTS_SIDE),
            ),
            thresholds=SHOULD_BE_ZERO,
        ),
        *(
            number(
                f"Latency p{name}",
                f"{name} of 100 requests take less.",
                Unit.MILLISECONDS,
                quantile(q, DURATION, *_HERE),
            )
            for name, q in (("50", "0.5"), ("99", "0.99"))
        ),
        number(
            "In mutual TLS",
            "Share of requests that came over mutual TLS, as the service's own sidecars saw it.",
            Unit.RATIO,
            share(
                per_second(REQUESTS, 'reporter="destination"', _SERVICE, 'connection_security_policy="mutual_tls"'),
                per_second(REQUESTS, 'reporter="destination"', _SERVICE),
            ),
            thresholds=(Threshold(None, "orange"), Threshold(1, "green")),
            maximum=1,
            decimals=1,
        ),
        number(
            "Clients",
            "Workloads that called in the last five minutes.",
            Unit.COUNT,
            f'count(sum by ({_BY_CLIENT}) (rate({REQUESTS}{{reporter="$reporter",{_SERVICE}}}[5m])) > 0)',
        ),
    ),
)

_BOTH = Row(
    "Seen from both sides",
    (
        Panel(
            "Requests",
            "Requests per second as clients and the service count them: a gap is requests that never arrived, or came "
            "from outside the mesh.",
            Unit.REQUESTS,
            tuple(Query(per_second(REQUESTS, side, _SERVICE), name) for name, side in _SIDES),
        ),
        Panel(
            "Success",
            "Share of requests that did not fail, as clients and the service see it.",
            Unit.RATIO,
            tuple(Query(success(side, _SERVICE), name) for name, side in _SIDES),
            minimum=None,
            maximum=1,
        ),
        Panel(
            "Latency at the quantile",
            "The chosen quantile as clients and the service see it: the gap is network, handshakes and queues between.",
            Unit.MILLISECONDS,
            tuple(
                Query(quantile("$quantile", DURATION, side, _SERVICE), name, exemplars=True) for name, side in _SIDES
            ),
        ),
    ),
)

_LATENCY = Row(
    "Latency",
    (
        Panel(
            "Quantiles",
            "Of 1000 requests, 500, 900, 990 and 999 take less. A dot is one request: it leads to its trace.",
            Unit.MILLISECONDS,
            tuple(
                Query(quantile(q, DURATION, *_HERE), name, exemplars=q == "0.99")
                for name, q in (("p50", "0.5"), ("p90", "0.9"), ("p99", "0.99"), ("p99.9", "0.999"))
            ),
            width=12,
        ),
        Panel(
            "Distribution",
            "How many requests took how long; a dot is one request: it leads to its trace.",
            Unit.MILLISECONDS,
            (Query(buckets(DURATION, *_HERE), "{{le}}", exemplars=True),),
            kind=Kind.HEATMAP,
            width=12,
        ),
    ),
)

_ERRORS = Row(
    "Errors",
    (
        Panel(
            "Answers by code",
            "Requests per second by HTTP status; 0 is a caller that left before there was one.",
            Unit.REQUESTS,
            (Query(per_second(REQUESTS, *_HERE, by="response_code"), "{{response_code}}"),),
            stacked=True,
            width=6,
        ),
        Panel(
            "gRPC statuses",
            "gRPC requests per second by status number; 0 is OK.",
            Unit.REQUESTS,
            (
                Query(
                    per_second(REQUESTS, *_HERE, 'request_protocol="grpc"', by="grpc_response_status"),
                    "{{grpc_response_status}}",
                    "only services that speak gRPC have these series",
                ),
            ),
            stacked=True,
            width=6,
        ),
        Panel(
            "Response flags",
            "Requests per second that a proxy answered or ended, by reason, as clients see it: UH no healthy upstream, "
            "UF connection failure, UO circuit breaker, URX retries used up, UT timeout, DC caller gone, FI fault.",
            Unit.REQUESTS,
            (
                Query(
                    per_second(REQUESTS, 'reporter="source"', _SERVICE, 'response_flags!="-"', by="response_flags"),
                    "{{response_flags}}",
                    NO_LOCAL_FAILURE,
                ),
            ),
            stacked=True,
            width=6,
        ),
        Panel(
            "Failed requests by client",
            "Whose requests fail: 5xx and gRPC statuses that are a server's errors.",
            Unit.REQUESTS,
            (Query(failed(*_HERE, by=_BY_CLIENT), _CLIENT_NAME, NO_FAILURE),),
            link=TO_SOURCE_WORKLOAD,
            link_title=TO_SOURCE_WORKLOAD_TITLE,
            width=6,
        ),
    ),
)

_CLIENTS = Row(
    "Clients",
    (
        Panel(
            "Requests by client",
            "Requests per second of each workload that calls.",
            Unit.REQUESTS,
            (Query(per_second(REQUESTS, *_HERE, by=_BY_CLIENT), _CLIENT_NAME),),
            link=TO_SOURCE_WORKLOAD,
            link_title=TO_SOURCE_WORKLOAD_TITLE,
        ),
        Panel(
            "Success by client",
            "Share of each caller's requests that did not fail.",
            Unit.RATIO,
            (Query(success(*_HERE, by=_BY_CLIENT), _CLIENT_NAME),),
            minimum=None,
            maximum=1,
            link=TO_SOURCE_WORKLOAD,
            link_title=TO_SOURCE_WORKLOAD_TITLE,
        ),
        Panel(
            "Latency by client at the quantile",
            "The chosen quantile of each caller's requests.",
            Unit.MILLISECONDS,
            (Query(quantile("$quantile", DURATION, *_HERE, by=_BY_CLIENT), _CLIENT_NAME, exemplars=True),),
            link=TO_SOURCE_WORKLOAD,
            link_title=TO_SOURCE_WORKLOAD_TITLE,
        ),
    ),
)

_VERSIONS = Row(
    "Versions",
    (
        Panel(
            "Requests by version",
            "Which workload of the service answers: how a split by weight comes out.",
            Unit.REQUESTS,
            (Query(per_second(REQUESTS, *_HERE, by=_BY_VERSION), _VERSION_NAME),),
            stacked=True,
            link=TO_DESTINATION_WORKLOAD,
            link_title=TO_DESTINATION_WORKLOAD_TITLE,
        ),
        Panel(
            "Success by version",
            "Share of requests that did not fail, by the workload that answered: is the new version worse?",
            Unit.RATIO,
            (Query(success(*_HERE, by=_BY_VERSION), _VERSION_NAME),),
            minimum=None,
            maximum=1,
            link=TO_DESTINATION_WORKLOAD,
            link_title=TO_DESTINATION_WORKLOAD_TITLE,
        ),
        Panel(
            "Latency by version at the quantile",
            "The chosen quantile, by the workload that answered.",
            Unit.MILLISECONDS,
            (Query(quantile("$quantile", DURATION, *_HERE, by=_BY_VERSION), _VERSION_NAME, exemplars=True),),
            link=TO_DESTINATION_WORKLOAD,
            link_title=TO_DESTINATION_WORKLOAD_TITLE,
        ),
    ),
)

_SIZES = Row(
    "Sizes and bytes",
    (
        Panel(
            "Size of requests and answers at the quantile",
            "Bytes of bodies, at the chosen quantile.",
            Unit.BYTES,
            (
                Query(quantile("$quantile", REQUEST_BYTES, *_HERE), "requests"),
                Query(quantile("$quantile", RESPONSE_BYTES, *_HERE), "answers"),
            ),
        ),
        Panel(
            "Bytes of connections",
            "Bytes per second over relayed connections, received from and sent to clients.",
            Unit.BYTES_PER_SECOND,
            (
                Query(per_second(TCP_RECEIVED, *_HERE), "received", NO_BYTES),
                Query(per_second(TCP_SENT, *_HERE), "sent", NO_BYTES),
            ),
        ),
        Panel(
            "Connections",
            "Relayed connections per second that began and ended.",
            Unit.PER_SECOND,
            (
                Query(per_second(TCP_OPENED, *_HERE), "opened", NO_BYTES),
                Query(per_second(TCP_CLOSED, *_HERE), "closed", NO_BYTES),
            ),
        ),
    ),
)

_TO_IT = '{envoy_cluster_name=~"outbound.*[|]$service"}'


def _resilience(title: str, description: str, name: str, may_be_empty: str) -> Panel:
    return Panel(
        title,
        description,
        Unit.PER_SECOND,
        (
            Query(
                f"sum by (namespace, workload) (rate({name}{_TO_IT}[{WINDOW}]))",
                "{{namespace}}/{{workload}}",
                may_be_empty,
            ),
        ),
        width=6,
        height=7,
        link=TO_WORKLOAD,
        link_title=TO_WORKLOAD_TITLE,
    )


_RESILIENCE = Row(
    "What clients' sidecars do about trouble",
    (
        _resilience(
            "Retries",
            "Requests per second that were tried again, by the client that did.",
            "envoy_cluster_upstream_rq_retry",
            NO_RETRY,
        ),
        _resilience(
            "Timeouts",
            "Requests per second that the service did not answer in the route's time.",
            "envoy_cluster_upstream_rq_timeout",
            "no request timed out",
        ),
        _resilience(
            "Circuit breakers",
            "Requests per second refused by a client's sidecar since too many were waiting already.",
            "envoy_cluster_upstream_rq_pending_overflow",
            "no circuit breaker opened",
        ),
        _resilience(
            "Failed connections",
            "Connections per second to the service's endpoints that could not be opened.",
            "envoy_cluster_upstream_cx_connect_fail",
            "every connection could be opened",
        ),
        Panel(
            "Ejected endpoints",
            "Endpoints that outlier detection has taken out for now, by the client that did.",
            Unit.COUNT,
            (
                Query(
                    f"sum by (namespace, workload) (envoy_cluster_outlier_detection_ejections_active{_TO_IT})",
                    "{{namespace}}/{{workload}}",
                    NO_EJECTION,
                ),
            ),
            width=12,
            height=7,
            link=TO_WORKLOAD,
            link_title=TO_WORKLOAD_TITLE,
        ),
        Panel(
            "Healthy endpoints",
            "Share of the service's endpoints that each client's sidecar sends requests to.",
            Unit.RATIO,
            (
                Query(
                    f"sum by (namespace, workload) (envoy_cluster_membership_healthy{_TO_IT}) "
                    f"/ sum by (namespace, workload) (envoy_cluster_membership_total{_TO_IT})",
                    "{{namespace}}/{{workload}}",
                    "shown for clusters whose endpoints' health is watched",
                ),
            ),
            width=12,
            height=7,
            maximum=1,
            link=TO_WORKLOAD,
            link_title=TO_WORKLOAD_TITLE,
        ),
    ),
    collapsed=True,
)

SERVICE_BOARD = Board(
    SERVICE_UID,
    "Remora / Service",
    "One service: what its callers see, what it sees itself, who calls, which version answers.",
    (NAMESPACE, SERVICE, CLIENT, REPORTER, QUANTILE),
    (_GLANCE, _BOTH, _LATENCY, _ERRORS, _CLIENTS, _VERSIONS, _RESILIENCE, _SIZES),
    (CHANGES,),
)
