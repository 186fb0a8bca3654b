"""Bookinfo for a cluster: the applications of `remora up`, as Deployments that know nothing of the mesh."""

from importlib.metadata import version
from importlib.resources import files
from typing import Any

from remora.install.parts.pods import HARDENED
from remora.install.text import documents

NAMESPACE, PORT, GATEWAY_PORT = "bookinfo", 9080, 80
IMAGE = "remora/bookinfo:" + version("remora")
APPLICATIONS: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("productpage", "v1", {}),
    ("details", "v1", {}),
    ("ratings", "v1", {}),
    ("reviews", "v1", {}),
    ("reviews", "v2", {"ENABLE_RATINGS": "true", "STAR_COLOR": "black"}),
    ("reviews", "v3", {"ENABLE_RATINGS": "true", "STAR_COLOR": "red"}),
)


def bookinfo() -> str:
    """Namespace, accounts, services and applications."""
    services = list(dict.fromkeys(service for service, _, _ in APPLICATIONS))
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": NAMESPACE, "labels": {"remora.io/injection": "enabled"}},
    }
    return documents(
        [
            namespace,
            *(_account(each) for each in services),
            *(_service(each) for each in services),
            *(_deployment(*each) for each in APPLICATIONS),
        ]
    )


def rules() -> str:
    """The laptop's rules, at the gateway's port here."""
    from ruamel.yaml import YAML

    found: list[dict[str, Any]] = []
    for file in sorted((files("remora.samples.bookinfo") / "rules").iterdir(), key=lambda each: each.name):
        found += YAML(typ="safe", pure=True).load_all(file.read_text(encoding="utf-8"))
    for rule in found:
        rule["metadata"]["namespace"] = NAMESPACE
        for server in rule["spec"].get("servers", ()):
            server["port"]["number"] = GATEWAY_PORT
    return documents(found)


def _metadata(name: str, **labels: str) -> dict[str, Any]:
    return {"name": name, "namespace": NAMESPACE, **({"labels": labels} if labels else {})}


def _account(service: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": _metadata(f"bookinfo-{service}"),
        "automountServiceAccountToken": False,
    }


def _service(service: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(service, app=service),
        "spec": {"selector": {"app": service}, "ports": [{"name": "http", "port": PORT, "targetPort": PORT}]},
    }


def _named(environment: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in environment.items()]


def _deployment(service: str, release: str, environment: dict[str, str]) -> dict[str, Any]:
    labels = {"app": service, "version": release}
    probe = {"httpGet": {"path": "/health", "port": PORT}, "periodSeconds": 5}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(f"{service}-{release}", **labels),
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "serviceAccountName": f"bookinfo-{service}",
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": 65532,
                        "runAsGroup": 65532,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "containers": [
                        {
                            "name": service,
                            "image": IMAGE,
                            "command": ["python", "-m", "remora.samples.bookinfo"],
                            "args": [service, "--host=0.0.0.0", f"--port={PORT}"],
                            **({"env": _named(environment)} if environment else {}),
                            "ports": [{"name": "http", "containerPort": PORT}],
                            "readinessProbe": probe,
                            "livenessProbe": {**probe, "periodSeconds": 10},
                            "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "192Mi"}},
                            "securityContext": HARDENED,
                        }
                    ],
                },
            },
        },
    }
