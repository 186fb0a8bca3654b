"""The mesh as a whole: is it well, and if not, which service is not."""

from dashboards.grafana.boards.parts import (
    CERTIFICATES_THAT_END_FIRST,
    CHANGES,
    REJECTING,
    RESTARTS,
    answers_by_code,
    failed_number,
    in_mutual_tls,
    latency_distribution,
    number,
    relayed_bytes,
    relayed_connections,
    success_number,
)
from dashboards.grafana.boards.reasons import NO_BYTES, NO_FAILURE, NO_LOCAL_FAILURE, NO_REJECTION
from dashboards.grafana.links import (
    MESH_UID,
    ROW_TO_SERVICE,
    TO_SERVICE,
    TO_WORKLOAD,
)
from dashboards.grafana.model import (
    Board,
    Kind,
    Panel,
    Query,
    Row,
    Unit,
)
from dashboards.grafana.promql import (
    DURATION,
    REQUESTS,
    TCP_RECEIVED,
    TCP_SENT,
    failed,
    or_none,
    per_second,
    quantile,
    selector,
    success,
)
from dashboards.grafana.variables import NAMESPACE, QUANTILE, REPORTER

_HERE = ('reporter="$reporter"', 'destination_service_namespace=~"$namespace"')
_BY_SERVICE = "destination_service"

_GLANCE = Row(
    "At a glance",
    (
        number(
            "Requests",
            "HTTP and gRPC requests per second to services of the chosen namespaces.",
            Unit.REQUESTS,
            per_second(REQUESTS, *_HERE),
        ),
        success_number(
            "Success",
            "Share of requests answered without 5xx and without a gRPC status that is a server's error.",
            *_HERE,
        ),
        failed_number(*_HERE),
        number(
            "Refused",
            "Requests per second that ended with 4xx: the callers' mistakes, policies and rate limits.",
            Unit.REQUESTS,
            or_none(per_second(REQUESTS, *_HERE, 'response_code=~"4.."'), per_second(REQUESTS, *_HERE)),
        ),
        number(
            "Latency at the quantile",
            "Of all requests, the network between sidecars included where the source reports.",
            Unit.MILLISECONDS,
            quantile("$quantile", DURATION, *_HERE),
        ),
        in_mutual_tls(
            "Share of requests that came over mutual TLS, as their destinations saw it.",
            'reporter="destination"',
            _HERE[1],
        ),
        number("Proxies", "Sidecars and gateways connected to the control plane.", Unit.COUNT, "sum(pilot_xds)"),
        REJECTING,
    ),
)

_SERVICES = Row(
    "Services",
    (
        Panel(
            "Services of HTTP and gRPC",
            "Rate, success and latency of every service over the last five minutes. A row leads to its service.",
            Unit.COUNT,
            tuple(
                Query(expr, "{{destination_service}}", column=column)
                for column, expr in (
                    ("Requests", f"sum by ({_BY_SERVICE}) (rate({REQUESTS}{selector(*_HERE)}[5m]))"),
                    ("Success", success(*_HERE, by=_BY_SERVICE).replace("$__rate_interval", "5m")),
                    ("p50", quantile("0.5", DURATION, *_HERE, by=_BY_SERVICE).replace("$__rate_interval", "5m")),
                    ("p90", quantile("0.9", DURATION, *_HERE, by=_BY_SERVICE).replace("$__rate_interval", "5m")),
                    ("p99", quantile("0.99", DURATION, *_HERE, by=_BY_SERVICE).replace("$__rate_interval", "5m")),
                )
            ),
            kind=Kind.TABLE,
            width=14,
            height=9,
            link=ROW_TO_SERVICE,
            units=(
                ("Requests", Unit.REQUESTS),
                ("Success", Unit.RATIO),
                ("p50", Unit.MILLISECONDS),
                ("p90", Unit.MILLISECONDS),
                ("p99", Unit.MILLISECONDS),
            ),
        ),
        Panel(
            "Services of bytes",
            "Bytes per second over relayed connections, by service, over the last five minutes.",
            Unit.BYTES_PER_SECOND,
            (
                Query(
                    f"sum by ({_BY_SERVICE}) (rate({TCP_RECEIVED}{selector(*_HERE)}[5m]))",
                    "{{destination_service}}",
                    NO_BYTES,
                    column="Received",
                ),
                Query(
                    f"sum by ({_BY_SERVICE}) (rate({TCP_SENT}{selector(*_HERE)}[5m]))",
                    "{{destination_service}}",
                    NO_BYTES,
                    column="Sent",
                ),
            ),
            kind=Kind.TABLE,
            width=10,
            height=9,
            link=ROW_TO_SERVICE,
        ),
    ),
)

_TRAFFIC = Row(
    "Traffic",
    (
        Panel(
            "Requests by service",
            "Requests per second to each service.",
            Unit.REQUESTS,
            (Query(per_second(REQUESTS, *_HERE, by=_BY_SERVICE), "{{destination_service}}"),),
            link=TO_SERVICE,
        ),
        Panel(
            "Failed requests by service",
            "Requests per second that ended with 5xx or a gRPC status that is a server's error.",
            Unit.REQUESTS,
            (Query(failed(*_HERE, by=_BY_SERVICE), "{{destination_service}}", NO_FAILURE),),
            link=TO_SERVICE,
        ),
        Panel(
            "Latency by service at the quantile",
            "The chosen quantile of each service's latency. A dot is one request: it leads to its trace.",
            Unit.MILLISECONDS,
            (
                Query(
                    quantile("$quantile", DURATION, *_HERE, by=_BY_SERVICE),
                    "{{destination_service}}",
                    exemplars=True,
                ),
            ),
            link=TO_SERVICE,
        ),
        latency_distribution("Latency of all requests", *_HERE),
        answers_by_code(*_HERE),
        Panel(
            "Answers by a proxy, by response flag",
            "Requests per second that a proxy answered or ended: UH no healthy upstream, UF connection failure, UO "
            "circuit breaker, NR no route, URX retries used up, UT timeout, DC caller gone, FI fault, RL rate limited.",
            Unit.REQUESTS,
            (
                Query(
                    per_second(REQUESTS, *_HERE, 'response_flags!="-"', by="response_flags"),
                    "{{response_flags}}",
                    NO_LOCAL_FAILURE,
                ),
            ),
            stacked=True,
        ),
    ),
)

_BYTES = Row(
    "Connections of bytes",
    (
        Panel(
            "Bytes",
            "Bytes per second over relayed connections, received from and sent to those who opened them.",
            Unit.BYTES_PER_SECOND,
            relayed_bytes(*_HERE),
            width=12,
            height=7,
        ),
        relayed_connections(*_HERE, width=12, height=7),
    ),
)

_SAFETY = Row(
    "Identity and configuration",
    (
        Panel(
            "Requests by security",
            "Requests per second by how they reached their destination: mutual_tls or none.",
            Unit.REQUESTS,
            (
                Query(
                    per_second(REQUESTS, 'reporter="destination"', _HERE[1], by="connection_security_policy"),
                    "{{connection_security_policy}}",
                ),
            ),
            stacked=True,
        ),
        CERTIFICATES_THAT_END_FIRST,
        Panel(
            "Proxies that rejected configuration",
            "Refusals per second, by proxy: `remora status` says which field, and why.",
            Unit.PER_SECOND,
            (
                Query(
                    "sum by (namespace, workload) (rate(remora_agent_xds_nacks_total[$__rate_interval])) > 0",
                    "{{namespace}}/{{workload}}",
                    NO_REJECTION,
                ),
            ),
            link=TO_WORKLOAD,
        ),
    ),
)

MESH = Board(
    MESH_UID,
    "Remora / Mesh",
    "Is the mesh well, and if not, which service is not.",
    (NAMESPACE, REPORTER, QUANTILE),
    (_GLANCE, _SERVICES, _TRAFFIC, _BYTES, _SAFETY),
    (CHANGES, RESTARTS),
)
