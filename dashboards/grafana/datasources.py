"""Grafana's data sources for the mesh, linked so that one click leads from a metric to its trace, from a trace to its
logs and metrics, from a log line to its trace. The same objects go to the HTTP API and into provisioning files.

https://grafana.com/docs/grafana/latest/datasources/ has what each `jsonData` may hold.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dashboards.grafana.links import SERVICE_UID

PROMETHEUS_UID = "remora-prometheus"
ELASTICSEARCH_UID = "remora-elasticsearch"
JAEGER_UID = "remora-jaeger"

LOG_INDEX = "logs-remora.*"
"""The data streams that the collector's Elasticsearch exporter writes."""

FINGERPRINT = "remoraFingerprint"
"""Key of `jsonData`: of what we wrote, so that a later push can tell whether somebody changed it since."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the back ends are, as Grafana itself reaches them. None: there is none, and no link leads there."""

    prometheus: str | None = None
    elasticsearch: str | None = None
    jaeger: str | None = None
    scrape_interval: str = "15s"
    """What Prometheus scrapes at; Grafana's `$__rate_interval` is never less than four of it."""

    def payloads(self) -> list[dict[str, Any]]:
        """Bodies of `POST /api/datasources`."""
        return [_signed(payload) for payload in self._plain()]

    def _plain(self) -> Iterator[dict[str, Any]]:
        if self.prometheus is not None:
            yield _source("Remora Prometheus", PROMETHEUS_UID, "prometheus", self.prometheus, self._of_prometheus())
        if self.elasticsearch is not None:
            settings = self._of_elasticsearch()
            yield _source("Remora logs", ELASTICSEARCH_UID, "elasticsearch", self.elasticsearch, settings)
        if self.jaeger is not None:
            yield _source("Remora traces", JAEGER_UID, "jaeger", self.jaeger, self._of_jaeger())

    def _of_prometheus(self) -> dict[str, Any]:
        settings: dict[str, Any] = {
            "httpMethod": "POST",
            "prometheusType": "Prometheus",
            "timeInterval": self.scrape_interval,
        }
        if self.jaeger is not None:
            settings["exemplarTraceIdDestinations"] = [
                {"name": "trace_id", "datasourceUid": JAEGER_UID, "urlDisplayLabel": "Open the trace"}
            ]
        return settings

    def _of_elasticsearch(self) -> dict[str, Any]:
        links: list[dict[str, Any]] = [
            {
                "field": "service.name",
                "url": f"/d/{SERVICE_UID}?var-service=${{__value.raw}}.*",
                "urlDisplayLabel": "Metrics of the service",
            }
        ]
        if self.jaeger is not None:
            trace = {"field": "trace.id", "url": "${__value.raw}", "datasourceUid": JAEGER_UID}
            links.insert(0, {**trace, "urlDisplayLabel": "Open the trace"})
        return {
            "index": LOG_INDEX,
            "timeField": "@timestamp",
            "maxConcurrentShardRequests": 5,
            "logMessageField": "message",
            "logLevelField": "log.level",
            "dataLinks": links,
        }

    def _of_jaeger(self) -> dict[str, Any]:
        settings: dict[str, Any] = {"nodeGraph": {"enabled": True}, "spanBar": {"type": "Duration"}}
        if self.elasticsearch is not None:
            settings["tracesToLogsV2"] = {
                "datasourceUid": ELASTICSEARCH_UID,
                # A record is written when its request ends, and clocks of machines differ a little.
                "spanStartTimeShift": "-5m",
                "spanEndTimeShift": "5m",
                "tags": [],
                "filterByTraceID": False,
                "filterBySpanID": False,
                "customQuery": True,
                "query": 'trace.id:"${__trace.traceId}"',
            }
        if self.prometheus is not None:
            settings["tracesToMetrics"] = {
                "datasourceUid": PROMETHEUS_UID,
                "spanStartTimeShift": "-15m",
                "spanEndTimeShift": "15m",
                "tags": [
                    {"key": "peer.service", "value": "destination_service_name"},
                    {"key": "destination.workload", "value": "destination_workload"},
                ],
                "queries": [
                    {
                        "name": "Requests like this one",
                        "query": "sum by (response_code) (rate(istio_requests_total{$__tags}[5m]))",
                    },
                    {
                        "name": "Their latency, p99",
                        "query": "histogram_quantile(0.99, sum by (le) "
                        "(rate(istio_request_duration_milliseconds_bucket{$__tags}[5m])))",
                    },
                ],
            }
        return settings


def fingerprint(payload: dict[str, Any]) -> str:
    """Of all that we decide about a data source."""
    settings = {key: value for key, value in (payload.get("jsonData") or {}).items() if key != FINGERPRINT}
    decided = {key: payload.get(key) for key in ("name", "type", "access", "url")} | {"jsonData": settings}
    return hashlib.sha256(json.dumps(decided, sort_keys=True).encode()).hexdigest()[:32]


def _source(name: str, uid: str, kind: str, url: str, settings: dict[str, Any]) -> dict[str, Any]:
    # Never the default: that is the user's choice, and the boards name theirs by a variable.
    return {
        "name": name,
        "uid": uid,
        "type": kind,
        "access": "proxy",
        "url": url,
        "isDefault": False,
        "jsonData": settings,
    }


def _signed(payload: dict[str, Any]) -> dict[str, Any]:
    settings = {**payload["jsonData"], FINGERPRINT: fingerprint(payload)}
    return {**payload, "jsonData": settings}
