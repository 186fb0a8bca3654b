"""One service: what its callers see, what it sees itself, who calls, which version answers."""

from dashboards.grafana.boards.parts import (
    CHANGES,
    answers_by_code,
    failed_number,
    in_mutual_tls,
    latency_distribution,
    number,
    relayed_bytes,
    relayed_connections,
    success_number,
)
from dashboards.grafana.boards.reasons import NO_EJECTION, NO_FAILURE, NO_LOCAL_FAILURE, NO_RETRY
from dashboards.grafana.links import (
    SERVICE_UID,
    TO_DESTINATION_WORKLOAD,
    TO_SOURCE_WORKLOAD,
    TO_WORKLOAD,
)
from dashboards.grafana.model import SHOULD_BE_ZERO, Board, Panel, Query, Row, Unit
from dashboards.grafana.promql import (
    DURATION,
    REQUEST_BYTES,
    REQUESTS,
    RESPONSE_BYTES,
    WINDOW,
    failed,
    or_none,
    per_second,
    quantile,
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
        success_number(
            "Success",
            "Share of requests answered without 5xx and without a gRPC status that is a server's error.",
            *_HERE,
        ),
        failed_number(*_HERE),
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
        in_mutual_tls(
            "Share of requests that came over mutual TLS, as the service's own sidecars saw it.",
            'reporter="destination"',
            _SERVICE,
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
        latency_distribution("Distribution", *_HERE, width=12),
    ),
)

_ERRORS = Row(
    "Errors",
    (
        answers_by_code(*_HERE, width=6),
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
        ),
        Panel(
            "Success by client",
            "Share of each caller's requests that did not fail.",
            Unit.RATIO,
            (Query(success(*_HERE, by=_BY_CLIENT), _CLIENT_NAME),),
            minimum=None,
            maximum=1,
            link=TO_SOURCE_WORKLOAD,
        ),
        Panel(
            "Latency by client at the quantile",
            "The chosen quantile of each caller's requests.",
            Unit.MILLISECONDS,
            (Query(quantile("$quantile", DURATION, *_HERE, by=_BY_CLIENT), _CLIENT_NAME, exemplars=True),),
            link=TO_SOURCE_WORKLOAD,
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
        ),
        Panel(
            "Success by version",
            "Share of requests that did not fail, by the workload that answered: is the new version worse?",
            Unit.RATIO,
            (Query(success(*_HERE, by=_BY_VERSION), _VERSION_NAME),),
            minimum=None,
            maximum=1,
            link=TO_DESTINATION_WORKLOAD,
        ),
        Panel(
            "Latency by version at the quantile",
            "The chosen quantile, by the workload that answered.",
            Unit.MILLISECONDS,
            (Query(quantile("$quantile", DURATION, *_HERE, by=_BY_VERSION), _VERSION_NAME, exemplars=True),),
            link=TO_DESTINATION_WORKLOAD,
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
            relayed_bytes(*_HERE),
        ),
        relayed_connections(*_HERE),
    ),
)

_TO_IT = '{envoy_cluster_name=~"outbound.*[|]$service"}'


def _resilience(
    title: str,
    description: str,
    expr: str,
    may_be_empty: str = "",
    *,
    unit: str = Unit.PER_SECOND,
    width: int = 6,
    maximum: float | None = None,
) -> Panel:
    return Panel(
        title,
        description,
        unit,
        (Query(expr, "{{namespace}}/{{workload}}", may_be_empty),),
        width=width,
        height=7,
        maximum=maximum,
        link=TO_WORKLOAD,
    )


def _per_second_to_it(metric: str) -> str:
    return f"sum by (namespace, workload) (rate({metric}{_TO_IT}[{WINDOW}]))"


def _now_of_it(metric: str) -> str:
    return f"sum by (namespace, workload) ({metric}{_TO_IT})"


_RESILIENCE = Row(
    "What clients' sidecars do about trouble",
    (
        _resilience(
            "Retries",
            "Requests per second that were tried again, by the client that did.",
            _per_second_to_it("envoy_cluster_upstream_rq_retry"),
            NO_RETRY,
        ),
        _resilience(
            "Timeouts",
            "Requests per second that the service did not answer in the route's time.",
            _per_second_to_it("envoy_cluster_upstream_rq_timeout"),
            "no request timed out",
        ),
        _resilience(
            "Circuit breakers",
            "Requests per second refused by a client's sidecar since too many were waiting already.",
            _per_second_to_it("envoy_cluster_upstream_rq_pending_overflow"),
            "no circuit breaker opened",
        ),
        _resilience(
            "Failed connections",
            "Connections per second to the service's endpoints that could not be opened.",
            _per_second_to_it("envoy_cluster_upstream_cx_connect_fail"),
            "every connection could be opened",
        ),
        _resilience(
            "Ejected endpoints",
            "Endpoints that outlier detection has taken out for now, by the client that did.",
            _now_of_it("envoy_cluster_outlier_detection_ejections_active"),
            NO_EJECTION,
            unit=Unit.COUNT,
            width=12,
        ),
        _resilience(
            "Healthy endpoints",
            "Share of the service's endpoints that each client's sidecar sends requests to.",
            f"{_now_of_it('envoy_cluster_membership_healthy')} / {_now_of_it('envoy_cluster_membership_total')}",
            unit=Unit.RATIO,
            width=12,
            maximum=1,
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
