"""Names of OpenTelemetry's metrics, units and attributes as Prometheus has them. Pure.

https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/#otlp-metric-points-to-prometheus
"""

import re
from collections.abc import Mapping
from typing import Any

from collectors.records import Labels

_UNITS = {
    "d": "days", "h": "hours", "min": "minutes", "s": "seconds", "ms": "milliseconds", "us": "microseconds",
    "ns": "nanoseconds", "By": "bytes", "KiBy": "kibibytes", "MiBy": "mebibytes", "GiBy": "gibibytes",
    "TiBy": "tibibytes", "KBy": "kilobytes", "MBy": "megabytes", "GBy": "gigabytes", "TBy": "terabytes", "B": "bytes",
    "KB": "kilobytes", "MB": "megabytes", "GB": "gigabytes", "TB": "terabytes", "m": "meters", "V": "volts",
    "A": "amperes", "J": "joules", "W": "watts", "g": "grams", "Cel": "celsius", "Hz": "hertz", "%": "percent",
}  # fmt: skip
_PER = {"s": "second", "m": "minute", "min": "minute", "h": "hour", "d": "day", "w": "week", "mo": "month", "y": "year"}

_INVALID = re.compile(r"[^a-zA-Z0-9_:]+")
_INVALID_LABEL = re.compile(r"[^a-zA-Z0-9_]")
_ANNOTATION = re.compile(r"\{[^}]*\}")


def metric_name(name: str, unit: str, *, counter: bool, gauge: bool) -> str:
    """`http.server.duration` in `ms` -> `http_server_duration_milliseconds`."""
    words = [word for word in _INVALID.sub("_", name).split("_") if word]
    if counter:
        words = [word for word in words if word != "total"]
    for word in _unit_words(unit):
        if word not in words:
            words.append(word)
    if gauge and unit == "1" and "ratio" not in words:
        words.append("ratio")
    if counter:
        words.append("total")
    joined = "_".join(words)
    return f"_{joined}" if joined[:1].isdigit() else joined


def _unit_words(unit: str) -> list[str]:
    unit = _ANNOTATION.sub("", unit).strip()
    if not unit or unit == "1":
        return []
    main, _, per = unit.partition("/")
    main, per = main.strip(), per.strip()
    words = []
    if main and main != "1":
        words += [word for word in _INVALID.sub("_", _UNITS.get(main, main)).split("_") if word]
    if per:
        divisor = [word for word in _INVALID.sub("_", _PER.get(per, per)).split("_") if word]
        words += ["per", *divisor] if divisor else []
    return words


def label_name(key: str) -> str:
    """`http.route` -> `http_route`; never one that Prometheus keeps for itself."""
    name = _INVALID_LABEL.sub("_", key)
    if name[:1].isdigit():
        return f"key_{name}"
    if name.startswith("__"):
        return f"key{name}"
    return name


def labels_of(attributes: Mapping[str, Any], more: Mapping[str, str]) -> Labels:
    """Sorted. Attributes that become one label are joined by `;` in the order of their keys, as the specification says;
    `more` wins."""
    found: dict[str, str] = {}
    for key in sorted(attributes):
        name, value = label_name(key), _text(attributes[key])
        if name and value:
            found[name] = f"{found[name]};{value}" if name in found else value
    found.update({name: value for name, value in more.items() if value})
    return tuple(sorted(found.items()))


def identity_of(resource: Mapping[str, Any]) -> dict[str, str]:
    """`job` and `instance`."""
    service, namespace = _text(resource.get("service.name", "")), _text(resource.get("service.namespace", ""))
    return {
        "job": f"{namespace}/{service}" if namespace and service else service,
        "instance": _text(resource.get("service.instance.id", "")),
    }


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | dict):
        import json

        return json.dumps(value, separators=(",", ":"))
    return "" if value is None else str(value)
