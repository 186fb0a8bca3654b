"""Panels and marks that several boards have."""

from dashboards.grafana.boards.reasons import NO_BYTES
from dashboards.grafana.links import TO_WORKLOAD
from dashboards.grafana.model import (
    SHOULD_BE_WHOLE,
    SHOULD_BE_ZERO,
    Annotation,
    Kind,
    Panel,
    Query,
    Row,
    Threshold,
    Unit,
)
from dashboards.grafana.promql import (
    DURATION,
    REQUESTS,
    TCP_CLOSED,
    TCP_OPENED,
    TCP_RECEIVED,
    TCP_SENT,
    WINDOW,
    buckets,
    failed_or_none,
    per_second,
    share,
    success,
)

CHANGES = Annotation(
    "Rules changed",
    'sum(changes(pilot_push_triggers{type="rules"}[1m])) > 0',
    "Rules changed",
    "blue",
)
RESTARTS = Annotation(
    "Worker restarted",
    "sum by (namespace, workload) (changes(remora_agent_worker_restarts_total[1m])) > 0",
    "Worker of {{namespace}}/{{workload}} restarted",
    "red",
)


def number(
    title: str,
    description: str,
    unit: str,
    expr: str,
    *,
    may_be_empty: str = "",
    thresholds: tuple[Threshold, ...] = (Threshold(None, "text"),),
    maximum: float | None = None,
    decimals: int | None = None,
    minimum: float | None = 0,
    width: int = 3,
) -> Panel:
    """One value with its recent course."""
    return Panel(
        title,
        description,
        unit,
        (Query(expr, title, may_be_empty),),
        kind=Kind.NUMBER,
        width=width,
        height=4,
        thresholds=thresholds,
        minimum=minimum,
        maximum=maximum,
        decimals=decimals,
    )


REJECTING = number(
    "Rejecting",
    "Proxies that refused their latest configuration and serve the one before it.",
    Unit.COUNT,
    "sum(remora_agent_xds_rejected)",
    thresholds=SHOULD_BE_ZERO,
)
CERTIFICATES_THAT_END_FIRST = Panel(
    "Certificates that end first",
    "Time left of the ten certificates that expire next. They are renewed at half their life.",
    Unit.SECONDS,
    (Query("bottomk(10, remora_agent_certificate_expiry_timestamp_seconds - time())", "{{namespace}}/{{workload}}"),),
    minimum=None,
    link=TO_WORKLOAD,
)


def success_number(title: str, description: str, *matchers: str, may_be_empty: str = "") -> Panel:
    """Share of the requests with these labels that did not fail."""
    return number(
        title,
        description,
        Unit.RATIO,
        success(*matchers),
        may_be_empty=may_be_empty,
        thresholds=SHOULD_BE_WHOLE,
        maximum=1,
        decimals=2,
    )


def failed_number(*matchers: str) -> Panel:
    """Requests with these labels that did."""
    return number(
        "Failed",
        "Requests per second that ended with 5xx or a gRPC status that is a server's error.",
        Unit.REQUESTS,
        failed_or_none(*matchers),
        thresholds=SHOULD_BE_ZERO,
    )


def in_mutual_tls(description: str, *matchers: str, may_be_empty: str = "") -> Panel:
    """Share of the requests with these labels that came over mutual TLS; only their destination's sidecar knows."""
    return number(
        "In mutual TLS",
        description,
        Unit.RATIO,
        share(
            per_second(REQUESTS, *matchers, 'connection_security_policy="mutual_tls"'), per_second(REQUESTS, *matchers)
        ),
        may_be_empty=may_be_empty,
        thresholds=(Threshold(None, "orange"), Threshold(1, "green")),
        maximum=1,
        decimals=1,
    )


def answers_by_code(*matchers: str, may_be_empty: str = "", width: int = 8) -> Panel:
    """Requests with these labels by their HTTP status."""
    return Panel(
        "Answers by code",
        "Requests per second by HTTP status; 0 is a caller that left before there was one.",
        Unit.REQUESTS,
        (Query(per_second(REQUESTS, *matchers, by="response_code"), "{{response_code}}", may_be_empty),),
        stacked=True,
        width=width,
    )


def latency_distribution(title: str, *matchers: str, may_be_empty: str = "", width: int = 8) -> Panel:
    """Requests with these labels by what they took."""
    return Panel(
        title,
        "How many requests took how long; a dot is one request: it leads to its trace.",
        Unit.MILLISECONDS,
        (Query(buckets(DURATION, *matchers), "{{le}}", may_be_empty, exemplars=True),),
        kind=Kind.HEATMAP,
        width=width,
    )


def relayed_bytes(*matchers: str, prefix: str = "") -> tuple[Query, ...]:
    """Bytes per second of the connections with these labels, a query for each direction."""
    return (
        Query(per_second(TCP_RECEIVED, *matchers), f"{prefix}received", NO_BYTES),
        Query(per_second(TCP_SENT, *matchers), f"{prefix}sent", NO_BYTES),
    )


def relayed_connections(*matchers: str, width: int = 8, height: int = 8) -> Panel:
    """Connections of bytes with these labels that begin and end."""
    return Panel(
        "Connections",
        "Relayed connections per second that began and ended.",
        Unit.PER_SECOND,
        (
            Query(per_second(TCP_OPENED, *matchers), "opened", NO_BYTES),
            Query(per_second(TCP_CLOSED, *matchers), "closed", NO_BYTES),
        ),
        width=width,
        height=height,
    )


def the_process(prefix: str, only: str = "") -> Row:
    """What every process says of itself. `only`, behind each metric, picks one kind's among those of the same name."""
    return Row(
        "The process",
        (
            Panel(
                "CPU",
                "100 % is a whole core.",
                Unit.CORES,
                (Query(f"rate({prefix}_cpu_seconds_total[{WINDOW}]){only}", "{{instance}}"),),
            ),
            Panel(
                "Memory",
                "Resident memory.",
                Unit.BYTES,
                (Query(f"{prefix}_resident_memory_bytes{only}", "{{instance}}"),),
            ),
            Panel(
                "Descriptors",
                "Open files and connections, and how many there may be.",
                Unit.COUNT,
                (
                    Query(f"{prefix}_open_fds{only}", "open {{instance}}"),
                    Query(f"{prefix}_max_fds{only}", "limit {{instance}}"),
                ),
            ),
        ),
        collapsed=True,
    )
