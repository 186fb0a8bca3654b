"""The application's probes as the injector hands them over: the JSON of REMORA_APP_PROBES -> AppProbe. Pure.

    {"/app-health/web/livez": {"httpGet": {"path": "/live", "port": 8080}, "timeoutSeconds": 2}}

The fields are those of Kubernetes' core/v1 Probe and LifecycleHandler. What is not understood is refused by its path:
a probe that is performed otherwise than it was meant ends healthy pods, or keeps dead ones.
"""

import ipaddress
import json
import re
from collections.abc import Callable
from typing import Any

from sidecar.pod import Action, AppProbe, GrpcHealth, HttpGet, TcpSocket

MAX_PROBES = 256
MAX_TIMEOUT_S = 3600.0
PROBE_TIMEOUT_S = 1.0
"""Kubernetes' default of `timeoutSeconds`."""

HOOK_TIMEOUT_S = 600.0
"""A hook has no time of its own in Kubernetes: the kubelet gives up when the pod's grace period ends."""

_PATH = re.compile(
    r"/(app-health/[^/?#\s]+/(livez|readyz|startupz)"
    r"|app-lifecycle/(?P<of>[^/?#\s]+)/[0-9A-Za-z_-]{16,64}/(?P<hook>poststartz|prestopz))\Z"
)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_UNSAFE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?\Z")


class WrongProbe(ValueError):
    """What is wrong, with its path in the JSON text."""


def parse_probes(text: str) -> tuple[AppProbe, ...]:
    """Raises WrongProbe."""
    try:
        document = json.loads(text, object_pairs_hook=_once)
    except ValueError as error:
        raise WrongProbe(f"is no JSON: {error}") from error
    except RecursionError as error:
        raise WrongProbe("is nested too deep; a probe has five levels") from error
    if not isinstance(document, dict):
        raise WrongProbe("is no JSON object of paths to probes")
    if len(document) > MAX_PROBES:
        raise WrongProbe(f"has {len(document)} probes; at most {MAX_PROBES} are served")
    return tuple(_probe(path, spec) for path, spec in document.items())


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError(f"a key is given twice among {', '.join(sorted(key for key, _ in pairs))[:200]}")
    return found


def _probe(path: str, spec: Any) -> AppProbe:
    known = _PATH.match(path)
    if known is None:
        raise WrongProbe(
            f"[{path[:200]!r}]: is not /app-health/CONTAINER/livez, readyz or startupz, nor "
            "/app-lifecycle/CONTAINER/KEY/poststartz or prestopz with a KEY of 16 to 64 letters, digits, - and _"
        )
    fields = _Object(spec, f"[{json.dumps(path)}]")
    kinds = [kind for kind in _ACTIONS if fields.has(kind)]
    if len(kinds) != 1:
        raise fields.wrong("", f"has {' and '.join(kinds) or 'no action'}; write one of {', '.join(_ACTIONS)}")
    hook = known["hook"] is not None
    if hook and kinds[0] == "grpc":
        raise fields.wrong("grpc", "is no lifecycle hook; those are httpGet and tcpSocket")
    action = _ACTIONS[kinds[0]](_Object(fields.take(kinds[0]), fields.at(kinds[0])))
    timeout_s = fields.number("timeoutSeconds", HOOK_TIMEOUT_S if hook else PROBE_TIMEOUT_S)
    fields.done()
    return AppProbe(path, action, timeout_s, f"/app-lifecycle/{known['of']}/{known['hook']}" if hook else None)


class _Object:
    """A JSON object, read field by field; `done` refuses what nobody has read."""

    def __init__(self, value: Any, path: str) -> None:
        self._path = path
        if not isinstance(value, dict):
            raise WrongProbe(f"{path}: is no object")
        self._left = dict(value)

    def at(self, name: str) -> str:
        return f"{self._path}.{name}" if name else self._path

    def wrong(self, name: str, why: str) -> WrongProbe:
        return WrongProbe(f"{self.at(name)}: {why}")

    def has(self, name: str) -> bool:
        return self._left.get(name) is not None

    def take(self, name: str) -> Any:
        """None where it is not there; Kubernetes writes `null` for that, too."""
        return self._left.pop(name, None)

    def text(self, name: str, default: str = "") -> str:
        value = self.take(name)
        if value is None:
            return default
        if not isinstance(value, str) or len(value) > 8192:
            raise self.wrong(name, "is no text of at most 8192 characters")
        return value

    def number(self, name: str, default: float) -> float:
        value = self.take(name)
        if value is None or (value == 0 and not isinstance(value, bool)):  # 0 is Kubernetes' way to leave it out
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MAX_TIMEOUT_S:
            raise self.wrong(name, f"is {value!r}; write seconds, 1 to {MAX_TIMEOUT_S:g}")
        return float(value)

    def port(self) -> int:
        value = self.take("port")
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 65536:
            raise self.wrong("port", f"is {value!r}; write its number, 1 to 65535: a name is nothing the sidecar knows")
        return value

    def host(self) -> str | None:
        value = self.text("host")
        if not value:
            return None
        try:
            return str(ipaddress.ip_address(value))
        except ValueError:
            pass
        if not _NAME.match(value):
            raise self.wrong("host", f"{value[:200]!r} is neither an IP address nor a host name")
        return value

    def done(self) -> None:
        if self._left:
            raise self.wrong(min(self._left), "is not supported")


def _http_get(fields: _Object) -> HttpGet:
    scheme = fields.text("scheme", "HTTP") or "HTTP"
    if scheme not in ("HTTP", "HTTPS"):
        raise fields.wrong("scheme", f"is {scheme[:50]!r}; write HTTP or HTTPS")
    path = fields.text("path", "/") or "/"
    if _UNSAFE.search(path) or not path.isprintable():
        raise fields.wrong("path", "has control characters")
    action = HttpGet(
        port=fields.port(),
        path=path if path.startswith("/") else f"/{path}",
        host=fields.host(),
        https=scheme == "HTTPS",
        headers=_headers(fields),
    )
    fields.done()
    return action


def _headers(fields: _Object) -> tuple[tuple[str, str], ...]:
    listed = fields.take("httpHeaders") or []
    if not isinstance(listed, list):
        raise fields.wrong("httpHeaders", "is no list")
    headers: list[tuple[str, str]] = []
    for index, each in enumerate(listed):
        header = _Object(each, fields.at(f"httpHeaders[{index}]"))
        name, value = header.text("name"), header.text("value")
        if not _TOKEN.match(name):
            raise header.wrong("name", f"{name[:100]!r} is no name of a header")
        if _UNSAFE.search(value):
            raise header.wrong("value", "has control characters")
        header.done()
        headers.append((name, value))
    return tuple(headers)


def _tcp_socket(fields: _Object) -> TcpSocket:
    action = TcpSocket(fields.port(), fields.host())
    fields.done()
    return action


def _grpc(fields: _Object) -> GrpcHealth:
    action = GrpcHealth(fields.port(), fields.text("service"))
    fields.done()
    return action


_ACTIONS: dict[str, Callable[[_Object], Action]] = {"httpGet": _http_get, "tcpSocket": _tcp_socket, "grpc": _grpc}
