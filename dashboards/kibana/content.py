"""What is in Kibana: one data view of all log streams, two saved searches, one dashboard."""

from typing import Any

from dashboards.kibana.columns import Column, count, over_time, percentile, top
from dashboards.kibana.objects import COLUMNS, LAYER, Lens, Object, Panel, SearchOf, dashboard, data_view, search

INDEX = "logs-remora.*"
"""The data streams that the collector's Elasticsearch exporter writes."""

VIEW = "remora-logs"
REQUESTS = "remora-requests"
FAILURES = "remora-failures"
DASHBOARD = "remora-overview"

_ACCESS = 'event.dataset : "remora.access"'
_LINES = 'event.dataset : "remora.app"'
# A hop is told by both its sides; who looks at requests wants each once.
_SERVED = f'{_ACCESS} and remora.direction : ("inbound" or "gateway")'
_FAILED = f"{_SERVED} and http.response.status_code >= 500"


def objects() -> list[Object]:
    """In the order of their references."""
    return [
        data_view(
            VIEW,
            "Remora logs",
            INDEX,
            {
                "event.duration": {
                    "id": "duration",
                    "params": {"inputFormat": "nanoseconds", "outputFormat": "asMilliseconds", "outputPrecision": 1},
                },
                "http.request.bytes": {"id": "bytes"},
                "http.response.bytes": {"id": "bytes"},
            },
        ),
        search(
            REQUESTS,
            "Remora: requests",
            "Every request that the mesh served, with what Envoy's access log says of it.",
            VIEW,
            _ACCESS,
            (
                "service.name", "http.request.method", "url.path", "http.response.status_code", "remora.response_flags",
                "remora.duration_ms", "remora.source_workload", "trace.id",
            ),
        ),
        search(
            FAILURES,
            "Remora: what went wrong",
            "Failed requests, and lines that applications logged as warnings or errors.",
            VIEW,
            f'({_ACCESS} and event.outcome : "failure") or ({_LINES} and log.level : ("warning" or "error"))',
            ("service.name", "log.level", "message", "remora.response_flags", "error.type", "trace.id"),
        ),
        dashboard(
            DASHBOARD,
            "Remora: overview",
            "Requests, latency and failures of the mesh's services, and what their applications log.",
            VIEW,
            _panels(),
        ),
    ]  # fmt: skip


def _panels() -> list[Panel]:
    half, third = COLUMNS // 2, COLUMNS // 3
    statuses = {
        f"status{digit}": count(f"{digit}xx", f"http.response.status_code >= {digit}00 and "
                                f"http.response.status_code <= {digit}99")
        for digit in (2, 3, 4, 5)
    }  # fmt: skip
    latencies = {f"p{percent}": percentile("remora.duration_ms", percent, f"p{percent}") for percent in (50, 95, 99)}
    levels = {
        level: count(level, f'log.level : "{level}"') for level in ("error", "warning", "info", "debug")
    }  # fmt: skip
    return [
        Panel("Requests by status", 0, 0, half, 12, _lines(_SERVED, statuses, "bar_stacked")),
        Panel("Latency of requests", half, 0, half, 12, _lines(_SERVED, latencies, "line")),
        Panel("Services that fail", 0, 12, third, 12, _table(_FAILED, "service.name", "Service", "Failed requests")),
        Panel("Why they fail", third, 12, third, 12, _table(_FAILED, "remora.response_flags", "Flags", "Requests")),
        Panel("Paths that fail", 2 * third, 12, third, 12, _table(_FAILED, "url.path", "Path", "Failed requests")),
        Panel("Lines of applications by level", 0, 24, half, 12, _lines(_LINES, levels, "bar_stacked")),
        Panel("Applications that log errors", half, 24, half, 12,
              _table(f'{_LINES} and log.level : "error"', "service.name", "Service", "Lines")),
        Panel("What went wrong", 0, 36, COLUMNS, 18, SearchOf(FAILURES)),
    ]  # fmt: skip


def _lines(query: str, values: dict[str, Column], series: str) -> Lens:
    drawn: dict[str, Any] = {
        "legend": {"isVisible": True, "position": "bottom"},
        "valueLabels": "hide",
        "preferredSeriesType": series,
        "axisTitlesVisibilitySettings": {"x": False, "yLeft": False, "yRight": False},
        "layers": [
            {
                "layerId": LAYER,
                "layerType": "data",
                "seriesType": series,
                "xAccessor": "time",
                "accessors": list(values),
            }
        ],
    }
    return Lens("lnsXY", query, {"time": over_time(), **values}, drawn)


def _table(query: str, field: str, label: str, counted: str) -> Lens:
    columns = {"value": top(field, label, "number"), "number": count(counted)}
    drawn = {"layerId": LAYER, "layerType": "data", "columns": [{"columnId": each} for each in columns]}
    return Lens("lnsDatatable", query, columns, drawn)
