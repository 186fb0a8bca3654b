"""The choices at the boards' tops."""

from dashboards.grafana.model import Variable

_TRAFFIC = '{__name__=~"istio_requests_total|istio_tcp_connections_opened_total"'
"""Who has only connections of bytes is offered too."""

REPORTER = Variable(
    "reporter",
    "Reported by",
    "Whose side counted: source sees what never arrived, destination what came from outside the mesh",
    values=("source", "destination"),
    default="source",
)
QUANTILE = Variable(
    "quantile", "Quantile", "Of latencies and sizes", values=("0.5", "0.9", "0.95", "0.99", "0.999"), default="0.99"
)
NAMESPACE = Variable(
    "namespace",
    "Namespace",
    "Of the service that was called",
    query=f"label_values({_TRAFFIC}}}, destination_service_namespace)",
)
SERVICE = Variable(
    "service",
    "Service",
    "The service that was called, by its host name in the mesh",
    query=f'label_values({_TRAFFIC},destination_service_namespace=~"$namespace"}}, destination_service)',
    multi=False,
)
CLIENT = Variable(
    "client",
    "Client",
    "The workload that called",
    query=f'label_values({_TRAFFIC},destination_service=~"$service"}}, source_workload)',
    keep="",
)
WORKLOAD_NAMESPACE = Variable(
    "namespace",
    "Namespace",
    "Of the workload",
    query='label_values(remora_agent_xds_connected{workload!=""}, namespace)',
)
WORKLOAD = Variable(
    "workload",
    "Workload",
    "The workload whose sidecar counted",
    query='label_values(remora_agent_xds_connected{namespace=~"$namespace",workload!=""}, workload)',
    multi=False,
)
WORKLOADS = Variable(
    "workload",
    "Workload",
    "The workloads whose sidecars are shown",
    query='label_values(remora_agent_xds_connected{namespace=~"$namespace",workload!=""}, workload)',
)
