"""What autoscalers may ask for, and the answers' form. Pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final


class Subject(Enum):
    """Of whom metrics are kept."""

    POD = "pod"
    WORKLOAD = "workload"
    SERVICE = "service"


@dataclass(frozen=True, slots=True)
class Load:
    """What arrives somewhere, over a window."""

    requests_per_s: float
    error_ratio: float | None
    """Share of requests that failed in the server, 0 to 1; None: nothing came."""
    p50_ms: float | None
    p99_ms: float | None


Loads = Mapping[tuple[str, str], Load]
"""By (namespace, name)."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind whose objects have metrics, as the API server spells it."""

    kind: str
    api_version: str
    subject: Subject


RESOURCES: Final[Mapping[str, Resource]] = {
    "pods": Resource("Pod", "v1", Subject.POD),
    "services": Resource("Service", "v1", Subject.SERVICE),
    "deployments.apps": Resource("Deployment", "apps/v1", Subject.WORKLOAD),
    "statefulsets.apps": Resource("StatefulSet", "apps/v1", Subject.WORKLOAD),
    "daemonsets.apps": Resource("DaemonSet", "apps/v1", Subject.WORKLOAD),
    "replicasets.apps": Resource("ReplicaSet", "apps/v1", Subject.WORKLOAD),
    "replicationcontrollers": Resource("ReplicationController", "v1", Subject.WORKLOAD),
    "jobs.batch": Resource("Job", "batch/v1", Subject.WORKLOAD),
}

METRICS: Final[Mapping[str, str]] = {
    "remora_requests_per_second": "Requests that arrived, per second.",
    "remora_error_ratio": "Share of them that failed in the server (5xx, and gRPC's likes), 0 to 1.",
    "remora_latency_p50_milliseconds": "Half of them took no longer.",
    "remora_latency_p99_milliseconds": "99 of 100 took no longer.",
}


def value_of(metric: str, load: Load) -> float | None:
    """None: there is nothing to tell, since nothing came. Raises KeyError for a metric that is none."""
    match metric:
        case "remora_requests_per_second":
            return load.requests_per_s
        case "remora_error_ratio":
            return load.error_ratio
        case "remora_latency_p50_milliseconds":
            return load.p50_ms
        case "remora_latency_p99_milliseconds":
            return load.p99_ms
    raise KeyError(metric)


def quantity(value: float) -> str:
    """A Kubernetes quantity, in thousandths: what autoscalers reckon with. Rounded up, so that little is not nothing.

    https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
    """
    milli = math.ceil(value * 1000 - 1e-9)
    return str(milli // 1000) if milli % 1000 == 0 else f"{milli}m"
