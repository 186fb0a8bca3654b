"""The sidecar as a partial pod: containers, volumes, labels. Pure; what is read of the pod comes as values."""

import json
from dataclasses import dataclass, field
from typing import Any

from control.injector import names, traffic
from control.injector.annotations import PodOptions
from control.injector.names import INIT, PROXY, VALIDATION
from control.injector.settings import InjectorSettings

MAX_GRACE_S = 86_400
"""Of a pod's terminationGracePeriodSeconds, as the sidecar takes it."""

WAIT_S = 60
"""For which a classic sidecar holds the application back. The kubelet restarts what is not there by then."""

VALIDATION_S = 120
"""For which a pod waits for the node agent. The kubelet then starts remora-validation again, with growing delays."""

_STARTUP = {"periodSeconds": 1, "timeoutSeconds": 3, "failureThreshold": 600}
_READINESS = {"periodSeconds": 15, "timeoutSeconds": 3, "failureThreshold": 4}
"""Istio's: the startup probe lets a pod become ready within a second of its sidecar."""

_FIELDS = {
    "POD_NAME": "metadata.name",
    "POD_NAMESPACE": "metadata.namespace",
    "INSTANCE_IP": "status.podIP",
    "SERVICE_ACCOUNT": "spec.serviceAccountName",
    "HOST_IP": "status.hostIP",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What the sidecar is told of its pod."""

    workload: str
    """Empty: nobody knows; the sidecar takes the pod's name."""
    job: bool
    grace_s: int | None
    """None: the pod does not say, Kubernetes' 30."""
    probes: dict[str, dict[str, Any]] = field(default_factory=dict)
    scraping: dict[str, str] | None = None


def proxy_container(options: PodOptions, settings: InjectorSettings, facts: Facts) -> dict[str, Any]:
    """The sidecar. Satisfies Pod Security's `restricted` by itself."""
    container: dict[str, Any] = {
        "name": PROXY,
        "image": options.image,
        "command": ["remora"],
        "args": _arguments(options, settings),
        "env": _environment(options, settings, facts),
        "ports": [
            {"name": "remora-metrics", "containerPort": names.METRICS_PORT, "protocol": "TCP"},
            {"name": "remora-ready", "containerPort": names.READINESS_PORT, "protocol": "TCP"},
        ],
        "startupProbe": _probe(_STARTUP),
        "readinessProbe": _probe(_READINESS),
        "resources": _resources(options),
        "securityContext": _restricted(names.UID),
        "volumeMounts": [
            {"name": names.ROOT_VOLUME, "mountPath": names.ROOT_DIRECTORY, "readOnly": True},
            {"name": names.TOKEN_VOLUME, "mountPath": names.TOKEN_DIRECTORY, "readOnly": True},
            {"name": names.POD_VOLUME, "mountPath": names.POD_DIRECTORY, "readOnly": True},
            {"name": names.SCRATCH_VOLUME, "mountPath": names.SCRATCH_DIRECTORY},
        ],
    }
    if settings.image_pull_policy:
        container["imagePullPolicy"] = settings.image_pull_policy
    if settings.native_sidecars:
        container["restartPolicy"] = "Always"
    elif options.hold:
        # The kubelet starts containers in order, and waits for a hook before it starts the next.
        wait = {"exec": {"command": ["remora", "wait", "--timeout", str(WAIT_S)]}}
        container["lifecycle"] = {"postStart": wait}
    return container


def init_container(options: PodOptions, settings: InjectorSettings) -> dict[str, Any]:
    """What sets capture up: as root, with two capabilities, and nothing else."""
    container: dict[str, Any] = {
        "name": INIT,
        "image": options.image,
        "command": ["remora"],
        "args": ["init-iptables", *capture_arguments(options)],
        "resources": _resources(options),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]},
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "runAsGroup": 0,
            "runAsNonRoot": False,
            "runAsUser": 0,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        # iptables takes a lock there.
        "volumeMounts": [{"name": names.SCRATCH_VOLUME, "mountPath": "/run"}],
    }
    if settings.image_pull_policy:
        container["imagePullPolicy"] = settings.image_pull_policy
    return container


def validation_container(options: PodOptions, settings: InjectorSettings) -> dict[str, Any]:
    """In its place where the node agent sets capture up: waits until it has, so that nothing starts uncaptured.

    The node agent reads its arguments: what is captured is decided here, and the same whoever puts the rules.
    """
    # What leaves shows whether there are rules: the other user's is captured. Where nothing that leaves is to be, what
    # the sidecar's user sends to its own pod is.
    leaving = options.capture["include_outbound_ip_ranges"] or options.capture["include_outbound_ports"]
    container: dict[str, Any] = {
        "name": VALIDATION,
        "image": options.image,
        "command": ["remora"],
        "args": ["init-iptables", f"--validate={VALIDATION_S}", *capture_arguments(options)],
        "env": [{"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
        "resources": _resources(options),
        "securityContext": _restricted(names.VALIDATION_UID if leaving else names.UID),
    }
    if settings.image_pull_policy:
        container["imagePullPolicy"] = settings.image_pull_policy
    return container


def capture_arguments(options: PodOptions) -> list[str]:
    """Flags of remora-init, each one word, for what is not its default."""
    arguments = []
    for name, each in traffic.FIELDS.items():
        value = options.capture[name]
        if value != _UNLESS_SAID.get(name, ""):
            arguments.append(f"--{each.flag}={value}")
    if options.capture_dns:
        arguments.append("--capture-dns")
    annotated = [each.flag for name, each in traffic.FIELDS.items() if name in options.annotated]
    if annotated:
        arguments.append(f"--annotated={','.join(annotated)}")
    return arguments


def _restricted(uid: int) -> dict[str, Any]:
    """A securityContext that satisfies Pod Security's `restricted`, for that user and its group."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "runAsGroup": uid,
        "runAsNonRoot": True,
        "runAsUser": uid,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


_UNLESS_SAID = {"include_inbound_ports": "*", "include_outbound_ip_ranges": "*"}
"""remora-init's own defaults; the others' are empty."""


def volumes() -> list[dict[str, Any]]:
    """What the sidecar mounts."""
    token = {
        "audience": names.TOKEN_AUDIENCE,
        "expirationSeconds": names.TOKEN_LIFETIME_S,
        "path": names.TOKEN_FILE,
    }
    root = {"name": names.ROOT_CONFIG_MAP, "items": [{"key": names.ROOT_FILE, "path": names.ROOT_FILE}]}
    pod = [{"path": each, "fieldRef": {"fieldPath": f"metadata.{each}"}} for each in ("labels", "annotations")]
    return [
        {"name": names.ROOT_VOLUME, "configMap": root},
        {"name": names.TOKEN_VOLUME, "projected": {"sources": [{"serviceAccountToken": token}]}},
        {"name": names.POD_VOLUME, "downwardAPI": {"items": pod}},
        {"name": names.SCRATCH_VOLUME, "emptyDir": {"sizeLimit": "64Mi"}},
    ]


def _arguments(options: PodOptions, settings: InjectorSettings) -> list[str]:
    flags = {
        "--ads": settings.control_address,
        "--csr": settings.ca_address,
        "--cluster-id": settings.cluster_id,
        "--collector-forward": settings.collector_forward_address,
        "--collector-otlp": settings.collector_otlp_address,
        "--concurrency": str(options.concurrency) if options.concurrency else "",
        "--log-level": options.log_level,
    }
    return ["proxy", "--pod", *(f"{flag}={value}" for flag, value in flags.items() if value)]


def _environment(options: PodOptions, settings: InjectorSettings, facts: Facts) -> list[dict[str, Any]]:
    values = {
        "REMORA_META_WORKLOAD": facts.workload,
        "REMORA_REVISION": settings.own_revision,
        "REMORA_TRUST_DOMAIN": settings.trust_domain,
        "REMORA_SIDECAR_FORM": "native" if settings.native_sidecars else "classic",
        # A native sidecar of a Job is ended by the kubelet, as any.
        "REMORA_POD_KIND": "job" if facts.job and not settings.native_sidecars else "",
        "REMORA_TERMINATION_DRAIN_DURATION": f"{options.drain_s:g}s",
        "REMORA_TERMINATION_GRACE_PERIOD": "" if facts.grace_s is None else f"{min(facts.grace_s, MAX_GRACE_S)}s",
        "REMORA_DNS_CAPTURE": "true" if options.capture_dns else "",
        names.APP_PROBES: literal(facts.probes) if facts.probes else "",
        "REMORA_PROMETHEUS_ANNOTATIONS": "" if facts.scraping is None else literal(facts.scraping),
    }
    fields = [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in _FIELDS.items()]
    return [*fields, *({"name": name, "value": value} for name, value in values.items() if value)]


def literal(value: Any) -> str:
    """JSON for a variable's value, in which Kubernetes expands `$(NAME)`: without any dollar sign."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True).replace("$", "\\u0024")


def _probe(times: dict[str, int]) -> dict[str, Any]:
    return {"httpGet": {"path": "/healthz/ready", "port": names.READINESS_PORT}, **times}


def _resources(options: PodOptions) -> dict[str, Any]:
    return {kind: dict(values) for kind, values in options.resources.items() if values}
