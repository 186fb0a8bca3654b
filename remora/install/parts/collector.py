"""The collector: a StatefulSet whose volume holds what was acknowledged and not yet delivered, and the embedded
store."""

from collections.abc import Mapping
from typing import Any

from remora.install.expressions import All, Concat, Digest, Document, Node, Ref, When
from remora.install.names import (
    ADS_PORT,
    COLLECTOR,
    COLLECTOR_HEALTH_PORT,
    CONTROL_HOST,
    CSR_PORT,
    FIRST,
    FORWARD_PORT,
    OTLP_GRPC_PORT,
    OTLP_HTTP_PORT,
    labels,
    metadata,
)
from remora.install.parts import console, custom_metrics, pods

COMPONENT = "collector"
SELECTOR: Mapping[str, Node] = {"app.kubernetes.io/name": COLLECTOR}
PORTS = {"forward": FORWARD_PORT, "grpc-otlp": OTLP_GRPC_PORT, "http-otlp": OTLP_HTTP_PORT}
SETTINGS, DIRECTORY, KEY = "remora-collector-settings", "/etc/remora/collector", "collector.yaml"
KEY_DIRECTORY, CA_DIRECTORY = "/var/run/secrets/elasticsearch/key", "/var/run/secrets/elasticsearch/ca"

_ELASTICSEARCH, _REMOTE = Ref("collector.elasticsearch.urls"), Ref("collector.remoteWrite.url")
_SETTINGS_DIGEST = Digest(
    *(Ref(f"collector.{each}") for each in ("retention", "maxStoreBytes", "elasticsearch", "remoteWrite"))
)
_API_KEY, _CA = Ref("collector.elasticsearch.apiKeySecret"), Ref("collector.elasticsearch.caSecret")


def objects() -> list[Node]:
    """None of it for a revision: the mesh has one collector."""
    wanted = All(FIRST, Ref("collector.enabled"))
    return [When(wanted, each) for each in (_settings(), _service(), _stateful_set())]


def _settings() -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(COMPONENT, SETTINGS),
        "data": {KEY: Document({"exporters": _exporters(), "routes": _routes()})},
    }


def _exporters() -> dict[str, Node]:
    return {
        "local": {
            "type": "store",
            "retention": Ref("collector.retention"),
            "max_bytes": Ref("collector.maxStoreBytes"),
        },
        "elasticsearch": When(
            _ELASTICSEARCH,
            {"type": "elasticsearch", "namespace": Ref("collector.elasticsearch.namespace"), **_elasticsearch()},
        ),
        "jaeger": When(_ELASTICSEARCH, {"type": "jaeger", **_elasticsearch()}),
        "prometheus": When(_REMOTE, {"type": "remote_write", "url": _REMOTE}),
    }


def _elasticsearch() -> dict[str, Node]:
    return {
        "urls": _ELASTICSEARCH,
        "api_key_file": When(_API_KEY, f"{KEY_DIRECTORY}/api-key"),
        "ca_file": When(_CA, f"{CA_DIRECTORY}/ca.crt"),
    }


def _routes() -> list[Node]:
    """A record takes the first route of its signal; the embedded store has everything besides."""
    return [
        {"match": {"signals": ["logs"]}, "exporters": ["local", When(_ELASTICSEARCH, "elasticsearch")]},
        {"match": {"signals": ["traces"]}, "exporters": ["local", When(_ELASTICSEARCH, "jaeger")]},
        {"match": {"signals": ["metrics"]}, "exporters": ["local", When(_REMOTE, "prometheus")]},
    ]


def _service() -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(COMPONENT, COLLECTOR),
        "spec": {
            "type": "ClusterIP",
            "selector": SELECTOR,
            "ports": [
                {"name": name, "port": port, "targetPort": port, "protocol": "TCP"} for name, port in PORTS.items()
            ],
        },
    }


def _stateful_set() -> dict[str, Any]:
    storage = Ref("collector.storage.className")
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": metadata(COMPONENT, COLLECTOR),
        "spec": {
            # One writer of one volume. While it is replaced, sidecars keep what was not acknowledged.
            "replicas": 1,
            "serviceName": COLLECTOR,
            "revisionHistoryLimit": 3,
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
            "selector": {"matchLabels": SELECTOR},
            "template": {
                "metadata": {
                    "labels": {**labels(COMPONENT, COLLECTOR), "sidecar.istio.io/inject": "false"},
                    "annotations": {"remora.io/settings": _SETTINGS_DIGEST},
                },
                "spec": _pod(),
            },
            "volumeClaimTemplates": [
                {
                    "apiVersion": "v1",
                    "kind": "PersistentVolumeClaim",
                    "metadata": {"name": "state"},
                    "spec": {
                        "accessModes": ["ReadWriteOnce"],
                        "storageClassName": When(storage, storage),
                        "resources": {"requests": {"storage": Ref("collector.storage.size")}},
                    },
                }
            ],
        },
    }


def _pod() -> dict[str, Any]:
    return {
        "serviceAccountName": COLLECTOR,
        # For the custom metrics API alone, if it is here.
        "automountServiceAccountToken": When(custom_metrics.BESIDE_THE_COLLECTOR, True, False),
        **pods.placed("collector"),
        "terminationGracePeriodSeconds": 60,
        "securityContext": pods.security(fsGroupChangePolicy="OnRootMismatch"),
        "containers": [
            pods.container(
                "collector",
                _args(),
                resources="collector.resources",
                ports=[
                    *({"name": name, "containerPort": port} for name, port in PORTS.items()),
                    {"name": "http-health", "containerPort": COLLECTOR_HEALTH_PORT},
                ],
                startupProbe=_probe(period=2, failures=150),
                livenessProbe={"tcpSocket": {"port": COLLECTOR_HEALTH_PORT}, "periodSeconds": 10, "timeoutSeconds": 3},
                readinessProbe=_probe(period=5, failures=2),
                volumeMounts=[
                    {"name": "state", "mountPath": pods.STATE},
                    {"name": "settings", "mountPath": DIRECTORY, "readOnly": True},
                    {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the container's own
                    *pods.IDENTITY_MOUNTS,
                    When(_API_KEY, {"name": "elasticsearch-key", "mountPath": KEY_DIRECTORY, "readOnly": True}),
                    When(_CA, {"name": "elasticsearch-ca", "mountPath": CA_DIRECTORY, "readOnly": True}),
                ],
            ),
            When(console.WANTED, console.container()),
            When(custom_metrics.BESIDE_THE_COLLECTOR, custom_metrics.container()),
        ],
        "volumes": [
            {"name": "settings", "configMap": {"name": SETTINGS, "defaultMode": 0o444}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
            *pods.IDENTITY_VOLUMES,
            When(console.WANTED, console.volume()),
            When(_API_KEY, {"name": "elasticsearch-key", "secret": {"secretName": _API_KEY, "defaultMode": 0o440}}),
            When(_CA, {"name": "elasticsearch-ca", "secret": {"secretName": _CA, "defaultMode": 0o444}}),
        ],
    }


def _probe(*, period: int, failures: int) -> dict[str, Any]:
    # /healthz is 503 while nothing can be acknowledged: senders then wait rather than lose.
    return {
        "httpGet": {"path": "/healthz", "port": COLLECTOR_HEALTH_PORT},
        "periodSeconds": period,
        "timeoutSeconds": 3,
        "failureThreshold": failures,
    }


def _args() -> list[Node]:
    return [
        "collect",
        f"--state={pods.STATE}",
        f"--config={DIRECTORY}/{KEY}",
        Concat("--control=", *CONTROL_HOST.parts, f":{CSR_PORT}"),
        Concat("--control-ads=", *CONTROL_HOST.parts, f":{ADS_PORT}"),
        "--follow-targets",
        Concat("--scrape-interval=", Ref("collector.scrapeIntervalSeconds")),
        f"--root={pods.ROOT_FILE}",
        f"--token-file={pods.TOKEN_PATH}",
        f"--forward=0.0.0.0:{FORWARD_PORT}",
        f"--otlp-grpc=0.0.0.0:{OTLP_GRPC_PORT}",
        f"--otlp-http=0.0.0.0:{OTLP_HTTP_PORT}",
        f"--health=0.0.0.0:{COLLECTOR_HEALTH_PORT}",
        Concat("--log-level=", Ref("collector.logLevel")),
    ]
