"""The application's probes and lifecycle hooks by way of the sidecar.

The kubelet has no certificate of the mesh, and a TCP probe of a captured port finds the sidecar alive, not the
application. So the kubelet asks the sidecar, on a port that is not captured, and the sidecar does what the original
says: https://istio.io/latest/docs/ops/configuration/mesh/app-health-check/. Commands (exec) are run in the
container and need no network of the mesh.

Whoever reaches the sidecar's port can have a probe performed. A hook has effects, so its path has a segment that only
the pod's own description tells: the kubelet knows it, and who may read the pod.
"""

import hashlib
import ipaddress
import json
import re
from dataclasses import dataclass, field
from typing import Any

from control.api.resource import Path
from control.api.scalars import shorten
from control.injector import pod as of
from control.injector.names import METRICS_PORT
from control.injector.outcome import Finding

PROBES = {"livenessProbe": "livez", "readinessProbe": "readyz", "startupProbe": "startupz"}
HOOKS = {"postStart": "poststartz", "preStop": "prestopz"}

MAX_PROBES = 256
MAX_TIMEOUT_S = 3600
MAX_TEXT = 8192
"""What the sidecar takes: a probe beyond it would keep the sidecar from starting."""

_FIELDS = {
    "httpGet": ("path", "port", "host", "scheme", "httpHeaders"),
    "tcpSocket": ("port", "host"),
    "grpc": ("port", "service"),
}
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?\Z")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The original probes by the path at which the sidecar is asked, and what is wrong with some."""

    originals: dict[str, dict[str, Any]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


def hook_key_of(pod: dict[str, Any], namespace: str) -> str:
    """For a manifest, which is to come to the same each time: nobody guesses it who does not know the manifest."""
    return hashlib.sha256(json.dumps([namespace, pod], sort_keys=True).encode()).hexdigest()[:32]


def rewrite(pod: dict[str, Any], hook_key: str) -> Rewritten:
    """Let the kubelet ask the sidecar: changes `pod`, the caller's own copy. `hook_key` goes into hooks' paths."""
    done = Rewritten()
    for group in of.CONTAINER_LISTS:
        for index, container in enumerate(of.containers(pod, group)):
            _container(container, ("spec", group, index), hook_key, done)
    if len(done.originals) > MAX_PROBES:
        done.findings.append(
            Finding(("spec",), f"has {len(done.originals)} probes; a sidecar serves at most {MAX_PROBES}")
        )
    return done


def _container(container: dict[str, Any], path: Path, hook_key: str, done: Rewritten) -> None:
    name = container["name"]
    for key, last in PROBES.items():
        probe = container.get(key)
        if isinstance(probe, dict):
            here = f"/app-health/{name}/{last}"
            container[key] = _handler(probe, container, (*path, key), here, done, timeout=True)
    hooks = container.get("lifecycle")
    for key, last in HOOKS.items():
        hook = hooks.get(key) if isinstance(hooks, dict) else None
        if isinstance(hook, dict):
            here = f"/app-lifecycle/{name}/{hook_key}/{last}"
            hooks = {**(hooks or {}), key: _handler(hook, container, (*path, "lifecycle", key), here, done)}
            container["lifecycle"] = hooks


def _handler(
    handler: dict[str, Any], container: dict[str, Any], path: Path, here: str, done: Rewritten, *, timeout: bool = False
) -> dict[str, Any]:
    """The probe or hook as the kubelet is to have it."""
    kinds = [kind for kind in _FIELDS if handler.get(kind) is not None]
    if not kinds:
        return handler  # exec, sleep, or nothing, which is not ours to judge
    if len(kinds) > 1:
        done.findings.append(Finding(path, f"has both {' and '.join(kinds)}; keep one of them"))
        return handler
    kind = kinds[0]
    if kind == "grpc" and not timeout:
        done.findings.append(Finding((*path, kind), "is no lifecycle hook; those are exec, httpGet and tcpSocket"))
        return handler
    before = len(done.findings)
    original: dict[str, Any] = {kind: _action(handler[kind], kind, container, (*path, kind), done.findings)}
    if timeout and (seconds := handler.get("timeoutSeconds")) is not None:
        if not isinstance(seconds, int) or isinstance(seconds, bool) or not 0 <= seconds <= MAX_TIMEOUT_S:
            done.findings.append(
                Finding((*path, "timeoutSeconds"), f"is {shorten(seconds)}; write seconds, 1 to {MAX_TIMEOUT_S}")
            )
        original["timeoutSeconds"] = seconds
    if len(done.findings) > before:
        return handler
    done.originals[here] = original
    asked = {"path": here, "port": METRICS_PORT}
    return {("httpGet" if key == kind else key): (asked if key == kind else value) for key, value in handler.items()}


def _action(action: Any, kind: str, container: dict[str, Any], path: Path, found: list[Finding]) -> dict[str, Any]:
    """The action as the sidecar performs it: ports as numbers, nothing that it does not know."""
    if not isinstance(action, dict):
        found.append(Finding(path, "is no mapping"))
        return {}
    found += (
        Finding((*path, key), f"is no field of {kind}; known are {', '.join(_FIELDS[kind])}")
        for key in action
        if key not in _FIELDS[kind]
    )
    result = {key: value for key, value in action.items() if value is not None and value != ""}
    result["port"] = _port(action.get("port"), container, (*path, "port"), found, named=kind != "grpc")
    for key in ("path", "host", "scheme", "service"):
        value = result.get(key)
        if value is not None and (not isinstance(value, str) or len(value) > MAX_TEXT or _CONTROL.search(value)):
            found.append(
                Finding((*path, key), f"is no text of at most {MAX_TEXT:,} characters without control characters")
            )
            del result[key]
    if (path_text := result.get("path")) is not None and not path_text.isprintable():
        found.append(Finding((*path, "path"), "has characters that are not printable"))
    if (host := result.get("host")) is not None and not _is_host(host):
        found.append(Finding((*path, "host"), f"is {shorten(host)}, neither an IP address nor a host name"))
    if result.get("scheme") not in (None, "HTTP", "HTTPS"):
        found.append(Finding((*path, "scheme"), f"is {shorten(result['scheme'])}; write HTTP or HTTPS"))
    if "httpHeaders" in result:
        _headers(result["httpHeaders"], (*path, "httpHeaders"), found)
    return result


def _port(value: Any, container: dict[str, Any], path: Path, found: list[Finding], *, named: bool) -> int:
    """As the kubelet resolves it: a name is one of this container's ports, or after all a number."""
    number = value
    if isinstance(value, str) and named:
        ports = container.get("ports") or []
        number = next((port.get("containerPort") for port in ports if port.get("name") == value), None)
        if number is None and value.isascii() and value.isdigit() and len(value) <= 5:
            number = int(value)
        if number is None:
            known = ", ".join(str(port["name"]) for port in ports if port.get("name"))
            hint = f"its ports are called {known}" if known else "none of its ports has a name"
            found.append(Finding(path, f"is {shorten(value)}, which this container has no port of; {hint}"))
            return 0
    if not isinstance(number, int) or isinstance(number, bool) or not 0 < number < 65_536:
        found.append(Finding(path, f"is {shorten(value)}; write a port, 1 to 65535"))
        return 0
    return number


def _is_host(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return bool(_HOST.match(text))
    return True


def _headers(value: Any, path: Path, found: list[Finding]) -> None:
    if not isinstance(value, list):
        found.append(Finding(path, "is no list"))
        return
    for index, header in enumerate(value):
        name = header.get("name") if isinstance(header, dict) else None
        text = header.get("value", "") if isinstance(header, dict) else None
        if not isinstance(name, str) or not _TOKEN.match(name) or len(name) > MAX_TEXT:
            found.append(Finding((*path, index, "name"), f"is {shorten(name)}, which is no header's name"))
        elif not isinstance(text, str) or _CONTROL.search(text) or len(text) > MAX_TEXT or len(header) > 2:
            found.append(Finding((*path, index), "is no header; write name and value, one line each"))
