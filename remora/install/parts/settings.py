"""The ConfigMap of what sidecars get: the injector reads it, in the control plane and in `remora inject`."""

from remora.install.expressions import Concat, Document, Node, Ref, When
from remora.install.names import (
    ADS_PORT,
    COLLECTOR_HOST,
    CONTROL_HOST,
    CSR_PORT,
    FORWARD_PORT,
    OTLP_GRPC_PORT,
    SYSTEM_NAMESPACE,
    metadata,
    revised,
)

NAME = revised("remora-settings")
DIRECTORY, KEY = "/etc/remora/settings", "injector.yaml"
FILE = f"{DIRECTORY}/{KEY}"


def objects() -> list[Node]:
    """One ConfigMap a revision."""
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata("settings", NAME),
            "data": {KEY: Document(_injector())},
        }
    ]


def _injector() -> dict[str, Node]:
    """The fields of control.injector.settings.InjectorSettings."""
    collector = Ref("collector.enabled")
    return {
        "image": Ref("image"),
        "imagePullPolicy": Ref("imagePullPolicy"),
        "systemNamespace": SYSTEM_NAMESPACE,
        "revision": Ref("revision"),
        "controlAddress": Concat(*CONTROL_HOST.parts, f":{ADS_PORT}"),
        "caAddress": Concat(*CONTROL_HOST.parts, f":{CSR_PORT}"),
        "collectorForwardAddress": When(collector, f"{COLLECTOR_HOST}:{FORWARD_PORT}", ""),
        "collectorOtlpAddress": When(collector, f"{COLLECTOR_HOST}:{OTLP_GRPC_PORT}", ""),
        "trustDomain": Ref("trustDomain"),
        "clusterId": Ref("clusterId"),
        "nativeSidecars": Ref("sidecar.native"),
        "cni": Ref("cni.enabled"),
        "takeIstiosPlace": Ref("takeIstiosPlace"),
        **{name: Ref(f"sidecar.{name}") for name in AS_THEY_ARE},
    }


AS_THEY_ARE = (
    "holdApplicationUntilProxyStarts", "terminationDrainDuration", "rewriteAppHTTPProbers", "mergeMetrics",
    "concurrency", "logLevel", "resources", "capture", "captureDns", "templates", "defaultTemplates",
)  # fmt: skip
"""Values of `sidecar` that the injector's settings call the same."""
