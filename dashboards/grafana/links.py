"""Where a click on a series leads: the boards' uids, with the series' labels as their choices."""

from dashboards.grafana.model import Link

MESH_UID = "remora-mesh"
SERVICE_UID = "remora-service"
WORKLOAD_UID = "remora-workload"
CONTROL_PLANE_UID = "remora-control-plane"
COLLECTORS_UID = "remora-collectors"
PERFORMANCE_UID = "remora-performance"

_KEEP = "${__url_time_range}"

TO_SERVICE = Link(
    f"/d/{SERVICE_UID}?var-service=${{__field.labels.destination_service}}&{_KEEP}",
    "Service ${__field.labels.destination_service}",
)
ROW_TO_SERVICE = Link(
    f"/d/{SERVICE_UID}?var-service=${{__data.fields.destination_service}}&{_KEEP}",
    "Open the service",
)


def _to_workload(namespace: str, workload: str) -> Link:
    """By the labels of a series that name its workload."""
    chosen = f"var-namespace=${{__field.labels.{namespace}}}&var-workload=${{__field.labels.{workload}}}"
    return Link(f"/d/{WORKLOAD_UID}?{chosen}&{_KEEP}", f"Workload ${{__field.labels.{workload}}}")


TO_SOURCE_WORKLOAD = _to_workload("source_workload_namespace", "source_workload")
TO_DESTINATION_WORKLOAD = _to_workload("destination_workload_namespace", "destination_workload")
TO_WORKLOAD = _to_workload("namespace", "workload")
