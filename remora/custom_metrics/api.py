"""The API: discovery, and values of one object or of many, in both versions that autoscalers know."""

import logging
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Final

from aiohttp import web

from control.kubernetes.errors import ApiError
from mesh.clock import Clock
from remora.custom_metrics.load import METRICS, RESOURCES, Load, Resource, Subject, quantity, value_of
from remora.custom_metrics.sources import Source, Unavailable

_log = logging.getLogger("remora.custom_metrics")

GROUP: Final = "custom.metrics.k8s.io"
VERSIONS: Final = ("v1beta1", "v1beta2")
MAX_ITEMS: Final = 10_000
_PARAMETERS: Final = frozenset({"labelSelector", "metricLabelSelector", "timeout", "timeoutSeconds"})

PodNames = Callable[[str, str], Awaitable[list[str]]]
"""(namespace, label selector) to the pods' names. Raises ApiError."""


class Api:
    """Handlers. Who may ask has been settled before."""

    def __init__(self, source: Source, pods: PodNames, clock: Clock, window_s: float) -> None:
        self._source = source
        self._pods = pods
        self._clock = clock
        self._window_s = window_s

    def add_routes(self, app: web.Application) -> None:
        """Discovery and values of every version."""
        for version in VERSIONS:
            root = f"/apis/{GROUP}/{version}"
            app.router.add_get(root, self._discover)
            app.router.add_get(root + "/namespaces/{namespace}/{resource}/{name}/{metric}", self._values)
        app.router.add_get(f"/apis/{GROUP}", _group)

    async def _discover(self, request: web.Request) -> web.Response:
        version = _version(request)
        return web.json_response(
            {
                "kind": "APIResourceList",
                "apiVersion": "v1",
                "groupVersion": f"{GROUP}/{version}",
                "resources": [
                    {
                        "name": f"{resource}/{metric}",
                        "singularName": "",
                        "namespaced": True,
                        "kind": "MetricValueList",
                        "verbs": ["get"],
                    }
                    for resource in RESOURCES
                    for metric in METRICS
                ],
            }
        )

    async def _values(self, request: web.Request) -> web.Response:
        found = request.match_info
        namespace, name, metric = found["namespace"], found["name"], found["metric"]
        resource = RESOURCES.get(found["resource"])
        if resource is None:
            kinds = ", ".join(RESOURCES)
            return refusal(404, "NotFound", f"there are no metrics of {found['resource']}; there are of {kinds}")
        if metric not in METRICS:
            return refusal(404, "NotFound", f"there is no metric {metric}; there are {', '.join(METRICS)}")
        if unknown := sorted(set(request.query) - _PARAMETERS):
            return refusal(400, "BadRequest", f"the parameter {unknown[0]} is not supported")
        if request.query.get("metricLabelSelector"):
            return refusal(400, "BadRequest", "metricLabelSelector is not supported: metrics are of all requests")
        try:
            names = await self._named(resource, namespace, name, request.query.get("labelSelector", ""))
            loads = await self._source.loads(resource.subject)
        except Unavailable as error:
            _log.warning("no answer for %s of %s/%s: %s", metric, namespace, name, error)
            return refusal(503, "ServiceUnavailable", str(error))
        except ApiError as error:
            _log.warning("pods cannot be listed: %s", error)
            return refusal(503, "ServiceUnavailable", f"the pods that are selected are not known: {error}")
        if names is None:
            if resource.subject is not Subject.POD and request.query.get("labelSelector"):
                return refusal(400, "BadRequest", "labelSelector is supported for pods; name the object itself")
            names = sorted(each for there, each in loads if there == namespace)
        items = list(self._items(request, resource, namespace, names[:MAX_ITEMS], metric, loads))
        if not items and name != "*":
            about = f"{found['resource']} {namespace}/{name}"
            return refusal(404, "NotFound", f"{metric} of {about} is not known: nothing came")
        return web.json_response(
            {"kind": "MetricValueList", "apiVersion": f"{GROUP}/{_version(request)}", "metadata": {}, "items": items}
        )

    async def _named(self, resource: Resource, namespace: str, name: str, selector: str) -> list[str] | None:
        """Whom the question is about; None: everyone that there are figures of."""
        if name != "*":
            return [name]
        if resource.subject is Subject.POD:
            return await self._pods(namespace, selector)
        return None

    def _items(
        self,
        request: web.Request,
        resource: Resource,
        namespace: str,
        names: Iterable[str],
        metric: str,
        loads: Any,
    ) -> Iterable[dict[str, Any]]:
        which: dict[str, Any] = {"metric": {"name": metric, "selector": None}}
        if _version(request) == "v1beta1":
            which = {"metricName": metric, "selector": None}
        when = datetime.fromtimestamp(self._clock.now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        for name in names:
            load: Load | None = loads.get((namespace, name))
            value = value_of(metric, load) if load is not None else None
            if value is None:
                continue  # an autoscaler has its own rules for what is not known
            yield {
                "describedObject": {
                    "kind": resource.kind,
                    "namespace": namespace,
                    "name": name,
                    "apiVersion": resource.api_version,
                },
                **which,
                "timestamp": when,
                "windowSeconds": round(self._window_s),
                "value": quantity(value),
            }


async def _group(request: web.Request) -> web.Response:
    versions = [{"groupVersion": f"{GROUP}/{version}", "version": version} for version in VERSIONS]
    return web.json_response(
        {"kind": "APIGroup", "apiVersion": "v1", "name": GROUP, "versions": versions, "preferredVersion": versions[-1]}
    )


def _version(request: web.Request) -> str:
    return request.path.split("/")[3]


def refusal(code: int, reason: str, message: str) -> web.Response:
    """Kubernetes' own form of saying no."""
    return web.json_response(
        {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            "code": code,
        },
        status=code,
    )
