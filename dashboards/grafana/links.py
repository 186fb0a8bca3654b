"""Where a click on a series leads: the boards' uids, with the series' labels as their choices."""

MESH_UID = "remora-mesh"
SERVICE_UID = "remora-service"
WORKLOAD_UID = "remora-workload"
CONTROL_PLANE_UID = "remora-control-plane"
COLLECTORS_UID = "remora-collectors"
PERFORMANCE_UID = "remora-performance"

_KEEP = "${__url_time_range}"

TO_SERVICE = f"/d/{SERVICE_UID}?var-service=${{__field.labels.destination_service}}&{_KEEP}"
TO_SERVICE_TITLE = "Service ${__field.labels.destination_service}"
ROW_TO_SERVICE = f"/d/{SERVICE_UID}?var-service=${{__data.fields.destination_service}}&{_KEEP}"
ROW_TO_SERVICE_TITLE = "Open the service"
TO_SOURCE_WORKLOAD = (
    f"/d/{WORKLOAD_UID}?var-namespace=${{__field.labels.source_workload_namespace}}"
    f"&var-workload=${{__field.labels.source_workload}}&{_KEEP}"
)
TO_SOURCE_WORKLOAD_TITLE = "Workload ${__field.labels.source_workload}"
TO_DESTINATION_WORKLOAD = (
    f"/d/{WORKLOAD_UID}?var-namespace=${{__field.labels.destination_workload_namespace}}"
    f"&var-workload=${{__field.labels.destination_workload}}&{_KEEP}"
)
TO_DESTINATION_WORKLOAD_TITLE = "Workload ${__field.labels.destination_workload}"
TO_WORKLOAD = (
    f"/d/{WORKLOAD_UID}?var-namespace=${{__field.labels.namespace}}&var-workload=${{__field.labels.workload}}&{_KEEP}"
)
TO_WORKLOAD_TITLE = "Workload ${__field.labels.workload}"
