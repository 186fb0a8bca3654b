"""The annotation `proxy.istio.io/config`: YAML of Istio's ProxyConfig, of which four fields are supported, and of
`proxyMetadata` one key.

https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#ProxyConfig
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic_core import PydanticCustomError

from control.api.resource import Path
from control.api.scalars import parse_duration_s, shorten
from control.api.yaml_documents import NotYaml, read
from control.injector.outcome import Finding

MAX_BYTES = 16_384
MAX_CONCURRENCY = 64
"""Worker processes, as the sidecar takes."""


@dataclass(frozen=True, slots=True)
class ProxyConfig:
    """None: not said."""

    hold: bool | None = None
    concurrency: int | None = None
    drain_s: float | None = None
    capture_dns: bool | None = None
    """The sidecar answers the application's DNS."""


def parse(text: str, path: Path, found: list[Finding]) -> ProxyConfig:
    """What it says; mistakes, each with its field, go to `found`."""
    if len(text) > MAX_BYTES:
        found.append(Finding(path, f"has {len(text):,} characters; it has at most {MAX_BYTES:,}"))
        return ProxyConfig()
    documents = list(read(text))
    if not documents:
        return ProxyConfig()
    document = documents[0]
    if isinstance(document, NotYaml):
        found.append(Finding(path, f"line {document.line}: {document.path} {document.message}".replace(":  ", ": ")))
        return ProxyConfig()
    if len(documents) > 1 or not isinstance(document.value, dict):
        found.append(Finding(path, "is no mapping; write YAML such as holdApplicationUntilProxyStarts: true"))
        return ProxyConfig()
    values: dict[str, Any] = {}
    for key, value in document.value.items():
        if key not in _FIELDS:
            found.append(Finding(path, f"{key} is not supported by Remora; supported are {', '.join(_FIELDS)}"))
            continue
        name, read_value = _FIELDS[key]
        try:
            values[name] = read_value(value)
        except (ValueError, PydanticCustomError) as error:
            message = error.message() if isinstance(error, PydanticCustomError) else str(error)
            found.append(Finding(path, f"{key} {message}"))
    return ProxyConfig(**values)


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"is {shorten(value)}; write true or false")
    return value


def _concurrency(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_CONCURRENCY:
        raise ValueError(f"is {shorten(value)}; write a number of worker processes, 1 to {MAX_CONCURRENCY}")
    return value


def _drain(value: object) -> float:
    seconds = parse_duration_s(value)
    if seconds > MAX_DRAIN_S:
        raise ValueError(f"is {shorten(value)}; it is {MAX_DRAIN_S:g}s at most")
    return seconds


def _metadata(value: object) -> bool | None:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ValueError(f'is {shorten(value)}; write a mapping of texts, such as {DNS_CAPTURE}: "true"')
    for key in value:
        if key != DNS_CAPTURE:
            raise ValueError(f"has {shorten(key)}, which Remora does not support; supported is {DNS_CAPTURE}")
    said = value.get(DNS_CAPTURE)
    if said not in (None, "true", "false"):
        raise ValueError(f'has {DNS_CAPTURE}: {shorten(said)}; write "true" or "false", in quotes')
    return None if said is None else said == "true"


DNS_CAPTURE = "ISTIO_META_DNS_CAPTURE"
"""How Istio's users ask for it."""
MAX_DRAIN_S = 3600.0
_FIELDS: dict[str, tuple[str, Callable[[object], object]]] = {
    "holdApplicationUntilProxyStarts": ("hold", _boolean),
    "concurrency": ("concurrency", _concurrency),
    "terminationDrainDuration": ("drain_s", _drain),
    "proxyMetadata": ("capture_dns", _metadata),
}
