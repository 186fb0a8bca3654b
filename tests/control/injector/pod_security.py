"""Pod Security's level `restricted`, for what it says of single containers and of volumes.

After https://kubernetes.io/docs/concepts/security/pod-security-standards/ as of Kubernetes 1.34 (hosts of probes).
"""

from typing import Any

_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def objections(pod: dict[str, Any], container: dict[str, Any]) -> list[str]:
    """What `restricted` has against a container of the pod."""
    found = []
    whole, own = pod["spec"].get("securityContext") or {}, container.get("securityContext") or {}
    effective = whole | {key: value for key, value in own.items() if value is not None}
    capabilities = own.get("capabilities") or {}
    checks = {
        "privileged": not own.get("privileged"),
        "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
        "runAsNonRoot": effective.get("runAsNonRoot") is True,
        "runAsUser": effective.get("runAsUser") != 0,
        "seccompProfile": (effective.get("seccompProfile") or {}).get("type") in ("RuntimeDefault", "Localhost"),
        "capabilities.drop": "ALL" in (capabilities.get("drop") or []),
        "capabilities.add": set(capabilities.get("add") or []) <= {"NET_BIND_SERVICE"},
        "procMount": own.get("procMount") in (None, "Default"),
        "hostPort": not any(port.get("hostPort") for port in container.get("ports") or []),
        "seLinuxOptions": not own.get("seLinuxOptions"),
        "appArmorProfile": (own.get("appArmorProfile") or {}).get("type") in (None, "RuntimeDefault", "Localhost"),
        "windowsOptions": not (own.get("windowsOptions") or {}).get("hostProcess"),
    }
    found += [name for name, fine in checks.items() if not fine]
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        found += [f"{name}.host" for action in (container.get(name) or {}).values() if _has_host(action)]
    for name, hook in (container.get("lifecycle") or {}).items():
        found += [f"lifecycle.{name}.host" for action in (hook or {}).values() if _has_host(action)]
    return found


def _has_host(action: Any) -> bool:
    return isinstance(action, dict) and bool(action.get("host"))


def objections_to_volumes(volumes: list[dict[str, Any]]) -> list[str]:
    """Volumes of a kind that `restricted` does not have."""
    return [volume["name"] for volume in volumes if not (volume.keys() - {"name"}) <= _VOLUMES]
