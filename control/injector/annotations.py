"""What a pod's annotations ask of its sidecar, checked, over the settings' defaults. Finds every mistake."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from control.api.scalars import shorten
from control.injector import names, proxy_config, quantities, traffic
from control.injector import pod as of
from control.injector.outcome import Finding
from control.injector.settings import LOG_LEVELS, SIDECAR, InjectorSettings, check_image

_SIDECAR = "sidecar.istio.io/"
RESOURCES = {
    "proxyCPU": ("requests", "cpu"),
    "proxyMemory": ("requests", "memory"),
    "proxyCPULimit": ("limits", "cpu"),
    "proxyMemoryLimit": ("limits", "memory"),
}
_KNOWN = {
    *(f"{_SIDECAR}{name}" for name in (*RESOURCES, "proxyImage", "logLevel")),
    *(f"{names.TRAFFIC}{field.annotation}" for field in traffic.FIELDS.values()),
    names.INJECT,
    names.STATUS,
    names.TEMPLATES,
    names.PROXY_CONFIG,
    names.REWRITE_PROBES,
}
_PREFIXES = (_SIDECAR, "inject.istio.io/", "proxy.istio.io/")
_ISTIO_LEVELS = {"trace": "debug", "critical": "error", "off": "error"}
"""Levels that Envoy has and Remora's sidecar has not, by the nearest that it has."""
_MAX_GUESSES = 50
_BOOLEANS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class PodOptions:
    """How this pod's sidecar is made."""

    image: str
    log_level: str
    concurrency: int | None
    hold: bool
    """The application's containers start when the sidecar is ready."""
    drain_s: float
    rewrite_probes: bool
    resources: dict[str, dict[str, str]]
    capture: dict[str, str]
    """By names of traffic.FIELDS."""
    annotated: frozenset[str] = frozenset()
    """Those of `capture` that come from an annotation."""
    templates: tuple[str, ...] = (SIDECAR,)
    capture_dns: bool = False
    """The application's DNS is answered by the sidecar."""


def options_of(
    pod: dict[str, Any], settings: InjectorSettings, found: list[Finding], warnings: list[Finding]
) -> PodOptions:
    """The settings with the annotations over them; what is wrong goes to `found`, what has no effect to `warnings`."""
    annotations = of.annotations(pod)
    options = _defaults(settings)

    def take(name: str, read: Callable[[str], Any]) -> Any:
        """The annotation's value; None where there is none, or a bad one."""
        if (text := annotations.get(name)) is None:
            return None
        try:
            return read(text)
        except ValueError as error:
            found.append(Finding(("metadata", "annotations", name), str(error)))
            return None

    if (image := take(f"{_SIDECAR}proxyImage", check_image)) is not None:
        options = replace(options, image=image)
    if (level := take(f"{_SIDECAR}logLevel", _log_level)) is not None:
        options = replace(options, log_level=level)
    if (rewrite := take(names.REWRITE_PROBES, _boolean)) is not None:
        options = replace(options, rewrite_probes=rewrite)
    if (templates := take(names.TEMPLATES, lambda text: _templates(text, settings))) is not None:
        options = replace(options, templates=templates)
    capture = {key: take(f"{names.TRAFFIC}{each.annotation}", each.read) for key, each in traffic.FIELDS.items()}
    given = {key: value for key, value in capture.items() if value is not None}
    options = replace(options, capture=options.capture | given, annotated=frozenset(given))
    quantity = {name: take(f"{_SIDECAR}{name}", _quantity) for name in RESOURCES}
    options = replace(options, resources=_resources(options.resources, quantity, found))
    if (text := annotations.get(names.PROXY_CONFIG)) is not None:
        config = proxy_config.parse(text, ("metadata", "annotations", names.PROXY_CONFIG), found)
        options = replace(
            options,
            hold=options.hold if config.hold is None else config.hold,
            concurrency=config.concurrency or options.concurrency,
            drain_s=options.drain_s if config.drain_s is None else config.drain_s,
            capture_dns=options.capture_dns if config.capture_dns is None else config.capture_dns,
        )
    _unknown(annotations, found, warnings)
    return options


def _defaults(settings: InjectorSettings) -> PodOptions:
    resources = {"requests": settings.resources.requests, "limits": settings.resources.limits}
    return PodOptions(
        image=settings.image,
        log_level=settings.log_level,
        concurrency=settings.concurrency,
        hold=settings.hold_application_until_proxy_starts,
        drain_s=settings.termination_drain_duration,
        rewrite_probes=settings.rewrite_app_http_probers,
        resources={kind: {str(k): v for k, v in values.items() if v} for kind, values in resources.items()},
        capture={name: getattr(settings.capture, name) for name in traffic.FIELDS},
        templates=settings.default_templates,
        capture_dns=settings.capture_dns,
    )


def _log_level(text: str) -> str:
    level = _ISTIO_LEVELS.get(text, text)
    if level not in LOG_LEVELS:
        raise ValueError(f"is {shorten(text)}; write one of {', '.join(LOG_LEVELS)}")
    return level


def _boolean(text: str) -> bool:
    if text not in _BOOLEANS:
        raise ValueError(f'is {shorten(text)}; write "true" or "false"')
    return _BOOLEANS[text]


def _quantity(text: str) -> str:
    try:
        quantities.parse(text)
    except ValueError:
        raise ValueError(f"is {shorten(text)}; write a quantity such as 100m, 0.5, 128Mi or 1Gi") from None
    return text


def _templates(text: str, settings: InjectorSettings) -> tuple[str, ...]:
    chosen = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    known = [SIDECAR, *settings.templates]
    for name in chosen:
        if name not in known:
            raise ValueError(f"names {shorten(name)}; known here are {', '.join(sorted(known))}")
    if SIDECAR not in chosen:
        raise ValueError(f"is {shorten(text)}; it must name {SIDECAR}, over which the others are merged")
    return chosen


def _resources(
    defaults: dict[str, dict[str, str]], given: dict[str, str | None], found: list[Finding]
) -> dict[str, dict[str, str]]:
    """As Istio does: one annotation, and nothing of the defaults remains."""
    if all(value is None for value in given.values()):
        return defaults
    result: dict[str, dict[str, str]] = {"requests": {}, "limits": {}}
    for name, value in given.items():
        kind, resource = RESOURCES[name]
        if value is not None:
            result[kind][resource] = value
    for name, (kind, resource) in RESOURCES.items():
        limit = result["limits"].get(resource)
        asked = result["requests"].get(resource)
        if kind == "requests" and limit and asked and quantities.parse(asked) > quantities.parse(limit):
            path = ("metadata", "annotations", f"{_SIDECAR}{name}")
            found.append(Finding(path, f"is {asked}, more than the limit of {limit}; ask for less or allow more"))
    return result


def _unknown(annotations: dict[str, str], found: list[Finding], warnings: list[Finding]) -> None:
    """What says where traffic goes is never ignored; what else Istio knows has no effect here, and is named."""
    for name in sorted(annotations.keys() - _KNOWN):
        path = ("metadata", "annotations", name)
        if name.startswith(names.TRAFFIC):
            # A guess costs more than all else of an annotation: of the first ones, which are shown.
            guessed = len(found) < _MAX_GUESSES
            close = difflib.get_close_matches(name[:200], sorted(_KNOWN), n=1, cutoff=0.8) if guessed else []
            guess = f"; did you mean {close[0]}?" if close else "; remove it"
            found.append(Finding(path, f"is not supported by Remora{guess}"))
        elif name.startswith(_PREFIXES):
            warnings.append(Finding(path, "is not supported by Remora and has no effect"))
