"""What the mesh costs: CPU, memory and time of sidecars, by workload and by request."""

from dashboards.grafana.boards.parts import RESTARTS, number
from dashboards.grafana.links import PERFORMANCE_UID, TO_WORKLOAD
from dashboards.grafana.model import Board, Panel, Query, Row, Unit
from dashboards.grafana.promql import DURATION, WINDOW, quantile
from dashboards.grafana.variables import QUANTILE, WORKLOAD_NAMESPACE, WORKLOADS

_SIDECARS = '{namespace=~"$namespace",workload=~"$workload"}'
_NAME = "{{namespace}}/{{workload}}"
_BY = "namespace, workload"
_WORKERS = f"sum by ({_BY}) (rate(remora_worker_cpu_seconds_total{_SIDECARS}[{WINDOW}]))"
_AGENTS = f"sum by ({_BY}) (rate(remora_agent_process_cpu_seconds_total{_SIDECARS}[{WINDOW}]))"
_WORKER_BYTES = f"sum by ({_BY}) (remora_worker_resident_memory_bytes{_SIDECARS})"
_AGENT_BYTES = f"sum by ({_BY}) (remora_agent_process_resident_memory_bytes{_SIDECARS})"
_SENT = f"rate(envoy_cluster_upstream_rq_total{_SIDECARS}[{WINDOW}])"
_NO_REQUEST = "no request passed this sidecar"


def _by_workload(title: str, description: str, unit: str, expr: str, may_be_empty: str = "") -> Panel:
    return Panel(
        title,
        description,
        unit,
        (Query(expr, _NAME, may_be_empty),),
        link=TO_WORKLOAD,
    )


_GLANCE = Row(
    "At a glance",
    (
        number(
            "CPU of sidecars",
            "Workers and agents. 100 % is a whole core.",
            Unit.CORES,
            f"sum({_WORKERS}) + sum({_AGENTS})",
            width=4,
        ),
        number(
            "Memory of sidecars",
            "Resident memory of workers and agents.",
            Unit.BYTES,
            f"sum({_WORKER_BYTES}) + sum({_AGENT_BYTES})",
            width=4,
        ),
        number(
            "Requests",
            "Requests per second that sidecars sent on, to applications and to others.",
            Unit.REQUESTS,
            f"sum({_SENT})",
            width=4,
        ),
        number(
            "CPU for 1000 requests per second",
            "What workers used, divided by what they sent on. 100 % is a whole core.",
            Unit.CORES,
            f"1000 * sum({_WORKERS}) / (sum({_SENT}) > 0)",
            may_be_empty=_NO_REQUEST,
            width=4,
        ),
        number(
            "Memory of a sidecar",
            "Worker and agent, on average.",
            Unit.BYTES,
            f"(sum({_WORKER_BYTES}) + sum({_AGENT_BYTES})) / count(remora_agent_xds_connected{_SIDECARS})",
            width=4,
        ),
        number(
            "Worker restarts",
            "In the last hour.",
            Unit.COUNT,
            f"sum(increase(remora_agent_worker_restarts_total{_SIDECARS}[1h]))",
            width=4,
        ),
    ),
)

_COST = Row(
    "CPU and memory",
    (
        _by_workload("CPU of workers", "The processes that forward. 100 % is a whole core.", Unit.CORES, _WORKERS),
        _by_workload(
            "CPU of agents",
            "The processes beside them, which do everything slow. 100 % is a whole core.",
            Unit.CORES,
            _AGENTS,
        ),
        _by_workload(
            "CPU of a worker for each request",
            "What a request costs, in seconds of CPU: a sidecar that gets dearer has more to match, log or encrypt.",
            Unit.SECONDS,
            f"{_WORKERS} / (sum by ({_BY}) ({_SENT}) > 0)",
            _NO_REQUEST,
        ),
        _by_workload("Memory of workers", "Resident.", Unit.BYTES, _WORKER_BYTES),
        _by_workload("Memory of agents", "Resident.", Unit.BYTES, _AGENT_BYTES),
        _by_workload(
            "Descriptors of agents",
            "Share of the files and connections that an agent may have open.",
            Unit.RATIO,
            f"max by ({_BY}) (remora_agent_process_open_fds{_SIDECARS} / remora_agent_process_max_fds{_SIDECARS})",
        ),
    ),
)

_TIME = Row(
    "Time",
    (
        Panel(
            "What the way between costs",
            "Median latency as clients' sidecars see it less what services' sidecars see: network and two proxies.",
            Unit.MILLISECONDS,
            (
                Query(
                    quantile("0.5", DURATION, 'reporter="source"', by="destination_service")
                    + " - "
                    + quantile("0.5", DURATION, 'reporter="destination"', by="destination_service"),
                    "{{destination_service}}",
                ),
            ),
            minimum=None,
            width=12,
        ),
        Panel(
            "Latency at the quantile",
            "As clients' sidecars see it, by service. A dot is one request: it leads to its trace.",
            Unit.MILLISECONDS,
            (
                Query(
                    quantile("$quantile", DURATION, 'reporter="source"', by="destination_service"),
                    "{{destination_service}}",
                    exemplars=True,
                ),
            ),
            width=12,
        ),
    ),
)

_LOAD = Row(
    "Load",
    (
        _by_workload(
            "Requests sent on",
            "Per second, to applications and to others; retries count.",
            Unit.REQUESTS,
            f"sum by ({_BY}) ({_SENT})",
        ),
        _by_workload(
            "Connections from clients",
            "Open at each sidecar's listeners.",
            Unit.COUNT,
            f"sum by ({_BY}) (envoy_listener_downstream_cx_active{_SIDECARS})",
        ),
        _by_workload(
            "Connections to upstreams",
            "Open to each sidecar's clusters.",
            Unit.COUNT,
            f"sum by ({_BY}) (envoy_cluster_upstream_cx_active{_SIDECARS})",
        ),
        _by_workload(
            "New connections from clients",
            "Per second: each costs a handshake.",
            Unit.PER_SECOND,
            f"sum by ({_BY}) (rate(envoy_listener_downstream_cx_total{_SIDECARS}[{WINDOW}]))",
        ),
        _by_workload(
            "Refused for want of memory",
            "Requests per second that a worker near its memory limit refused.",
            Unit.REQUESTS,
            f"sum by ({_BY}) (rate(envoy_http_downstream_rq_overload_close{_SIDECARS}[{WINDOW}]))",
            "no worker came near its memory limit",
        ),
        _by_workload(
            "Workers that hung or ended",
            "Per second; each is replaced at once.",
            Unit.PER_SECOND,
            f"sum by ({_BY}) (rate(remora_agent_worker_restarts_total{_SIDECARS}[{WINDOW}]) "
            f"+ rate(remora_agent_worker_hangs_total{_SIDECARS}[{WINDOW}]))",
        ),
    ),
)

PERFORMANCE = Board(
    PERFORMANCE_UID,
    "Remora / Performance",
    "What the mesh costs: CPU, memory and time of sidecars, by workload and by request.",
    (WORKLOAD_NAMESPACE, WORKLOADS, QUANTILE),
    (_GLANCE, _COST, _TIME, _LOAD),
    (RESTARTS,),
)
