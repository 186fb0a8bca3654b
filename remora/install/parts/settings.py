"""The ConfigMap of what sidecars get: the injector reads it, in the control plane and in `remora inject`."""

from remora.install.expressions import Document, Node, Ref
from remora.install.names import CONTROL_HOST, metadata, revised

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
    sidecar = {
        name: Ref(f"sidecar.{name}")
        for name in (
            "resources", "logLevel", "concurrency", "holdApplicationUntilProxyStarts", "rewriteAppHttpProbers",
            "terminationDrainDuration", "includeOutboundIPRanges", "excludeOutboundIPRanges", "excludeOutboundPorts",
            "excludeInboundPorts",
        )
    }  # fmt: skip
    return {
        "image": Ref("image"),
        "imagePullPolicy": Ref("imagePullPolicy"),
        "revision": Ref("revision"),
        "control": CONTROL_HOST,
        "trustDomain": Ref("trustDomain"),
        "clusterId": Ref("clusterId"),
        "nativeSidecars": Ref("sidecar.native"),
        "cni": Ref("sidecar.cni"),
        "takeIstiosPlace": Ref("takeIstiosPlace"),
        "proxy": sidecar,
    }
