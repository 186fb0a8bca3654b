"""What of a pod cannot be beside a sidecar (its user, ports, names), and what only behaves otherwise there."""

import re
from typing import Any

from control.api.resource import Path
from control.injector import pod as of
from control.injector.names import (
    BYPASSED_PORTS,
    INIT,
    OWN_PORTS,
    POD_VOLUME,
    PROXY,
    ROOT_VOLUME,
    SCRATCH_VOLUME,
    TOKEN_VOLUME,
    UID,
    VALIDATION,
)
from control.injector.outcome import Finding
from control.injector.settings import InjectorSettings, NamespaceFacts

VOLUMES = (TOKEN_VOLUME, ROOT_VOLUME, POD_VOLUME, SCRATCH_VOLUME)
_UID_RANGE = "openshift.io/sa.scc.uid-range"
_RANGE = re.compile(r"\s*(?P<first>[0-9]{1,19})(?P<mark>[/-])(?P<number>[0-9]{1,19})\s*")
_ENFORCE = "pod-security.kubernetes.io/enforce"


def conflicts(pod: dict[str, Any]) -> list[Finding]:
    """Whatever makes the pod impossible to inject."""
    found: list[Finding] = []
    for group in of.CONTAINER_LISTS:
        for index, container in enumerate(of.containers(pod, group)):
            here: Path = ("spec", group, index)
            if container["name"] in (PROXY, INIT, VALIDATION):
                found.append(
                    Finding((*here, "name"), f"is {container['name']}, the sidecar's; give the container another")
                )
            if group == "containers":
                _user(pod, container, here, found)
            _ports(container, here, found)
    for index, volume in enumerate(of.spec(pod).get("volumes") or []):
        if volume["name"] in VOLUMES:
            found.append(
                Finding(
                    ("spec", "volumes", index, "name"), f"is {volume['name']}, the sidecar's; give the volume another"
                )
            )
    return found


def _user(pod: dict[str, Any], container: dict[str, Any], here: Path, found: list[Finding]) -> None:
    for key, what in (("runAsUser", "user"), ("runAsGroup", "group")):
        path, value = _effective(pod, container, here, key)
        if value == UID and not isinstance(value, bool):
            finding = Finding(
                path,
                f"is {UID}, the sidecar's {what}, whose traffic is not captured: container {container['name']} would "
                "be outside of the mesh; run it as another",
            )
            if finding.path not in (each.path for each in found):
                found.append(finding)


def _effective(pod: dict[str, Any], container: dict[str, Any], here: Path, key: str) -> tuple[Path, Any]:
    own = (container.get("securityContext") or {}).get(key)
    if own is not None:
        return (*here, "securityContext", key), own
    return ("spec", "securityContext", key), (of.spec(pod).get("securityContext") or {}).get(key)


def _ports(container: dict[str, Any], here: Path, found: list[Finding]) -> None:
    seen: set[str] = set()
    for index, port in enumerate(container.get("ports") or []):
        number, name = port.get("containerPort"), port.get("name")
        path = (*here, "ports", index)
        if isinstance(number, bool) or not isinstance(number, int) or not 0 < number < 65_536:
            found.append(Finding((*path, "containerPort"), "is no port; write a number, 1 to 65535"))
        elif number in OWN_PORTS and port.get("protocol", "TCP") in (None, "TCP"):
            found.append(Finding((*path, "containerPort"), f"is {number}, where the sidecar listens; use another port"))
        if isinstance(name, str) and name:
            if name in seen:
                found.append(Finding((*path, "name"), f"is {name[:60]!r}, as that of another port; give each its own"))
            seen.add(name)


def remarks(pod: dict[str, Any], namespace: NamespaceFacts, settings: InjectorSettings) -> list[Finding]:
    """What somebody should know about this pod in the mesh."""
    found: list[Finding] = []
    for group in of.CONTAINER_LISTS:
        for index, container in enumerate(of.containers(pod, group)):
            _remarks_on(pod, container, group, ("spec", group, index), settings, found)
    uids = namespace.annotations.get(_UID_RANGE)
    if uids is not None and not _contains(uids, UID):
        found.append(
            Finding(
                (),
                f"namespace {namespace.name} allows users {uids[:60]!r} only, and the sidecar runs as {UID}: grant "
                "its service accounts the security context constraint nonroot-v2",
            )
        )
    enforced = namespace.labels.get(_ENFORCE)
    if enforced in ("baseline", "restricted") and not settings.cni:
        found.append(
            Finding(
                (),
                f"namespace {namespace.name} enforces Pod Security {enforced}, which refuses {INIT}'s NET_ADMIN: "
                "have the node agent capture (cni: true), or enforce privileged there",
            )
        )
    return found


def _remarks_on(
    pod: dict[str, Any],
    container: dict[str, Any],
    group: str,
    here: Path,
    settings: InjectorSettings,
    found: list[Finding],
) -> None:
    name = container["name"]
    initial = group == "initContainers"
    own_user = UID in (_effective(pod, container, here, key)[1] for key in ("runAsUser", "runAsGroup"))
    if initial and own_user:
        found.append(Finding(here, f"init container {name} runs as {UID}: its traffic is outside of the mesh"))
    elif initial and not settings.native_sidecars:
        found.append(Finding(here, f"init container {name} {_BEFORE_SIDECAR}"))
    taken: set[tuple[Any, Any]] = set()
    for index, port in enumerate(container.get("ports") or []):
        number, protocol = port.get("containerPort"), port.get("protocol") or "TCP"
        path = (*here, "ports", index, "containerPort")
        if (number, protocol) in taken:
            found.append(Finding(path, f"is {number}/{protocol}, as that of another port of this container"))
        taken.add((number, protocol))
        if number in BYPASSED_PORTS and protocol == "TCP":
            found.append(
                Finding(path, f"is {number}, which is never captured: what comes there is outside of the mesh")
            )


_BEFORE_SIDECAR = (
    "runs before the sidecar: what it sends is outside of the mesh, without mutual TLS; use native sidecars "
    "(nativeSidecars: true) if it needs services of the mesh"
)


def _contains(ranges: str, uid: int) -> bool:
    """OpenShift's `1000650000/10000`, or `first-last`, several with commas between. What is no range has no user."""
    for match in map(_RANGE.fullmatch, ranges.split(",")):
        if match is not None:
            first, number = int(match["first"]), int(match["number"])
            if first <= uid < (first + number if match["mark"] == "/" else number + 1):
                return True
    return False
