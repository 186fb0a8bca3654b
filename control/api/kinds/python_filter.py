"""`extensions.remora.dev` PythonFilter: code of the user's in sidecars. Words are those of Istio's WasmPlugin where it
has them (selector, phase, priority)."""

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from control.api.kinds.peer_authentication import Selector
from control.api.model import Model, wrong
from control.api.scalars import (
    HostPattern,
    Int,
    PositiveDuration,
    Str,
    UriPath,
    duration_schema,
    pattern_schema,
    shorten,
)

MAX_SOURCE_BYTES = 64 * 1024
MAX_CONFIG_BYTES = 16 * 1024
MAX_BODY_BYTES = 16 * 1024 * 1024
MAX_TIMEOUT_S = 60.0
MAX_MATCHES = 64

Phase = Literal["AUTHN", "AUTHZ", "STATS", "UNSPECIFIED_PHASE"]
PHASES: tuple[Phase, ...] = ("AUTHN", "AUTHZ", "STATS", "UNSPECIFIED_PHASE")
"""In the order in which requests meet them."""


_TIMEOUT_RULE = f"duration(self) >= duration('1ms') && duration(self) <= duration('{MAX_TIMEOUT_S:g}s')"


def _class_name(value: str) -> str:
    if not value.isidentifier() or len(value) > 200:
        raise wrong(f"{shorten(value)} is not the name of a class")
    return value


def _prefix(value: str) -> str:
    if not value.startswith("/") or "?" in value:
        raise wrong(f"{shorten(value)} is not a path; write for example /api, without a query")
    return value


def _absolute(value: str) -> str:
    if not value.startswith("/") or len(value) > 4096 or not value.isprintable():
        raise wrong(f"{shorten(value)} is not an absolute path; the sidecar reads the file, on its own machine")
    return value


def _digest(value: str) -> str:
    if len(value) != 64 or not all(c in "0123456789abcdef" for c in value):
        raise wrong(f"{shorten(value)} is not a SHA-256; write its 64 hexadecimal digits in lower case")
    return value


def _source(value: str) -> str:
    size = len(value.encode("utf-8", "surrogatepass"))
    if size > MAX_SOURCE_BYTES:
        raise wrong(f"has {size:,} bytes; a filter has at most {MAX_SOURCE_BYTES:,}")
    return value


def _config(value: dict[str, Any]) -> dict[str, Any]:
    if len(json.dumps(value)) > MAX_CONFIG_BYTES:
        raise wrong(f"has more than {MAX_CONFIG_BYTES:,} bytes as JSON")
    return value


def _timeout(value: float) -> float:
    if value > MAX_TIMEOUT_S:
        raise wrong(f"is longer than {MAX_TIMEOUT_S:g}s")
    return value


class Match(Model):
    """Which requests meet the filter: all conditions must hold, of each any entry suffices."""

    hosts: tuple[HostPattern, ...] = Field(default=(), max_length=MAX_MATCHES)
    """Of the request."""
    routes: tuple[Annotated[Str, Field(min_length=1, max_length=256)], ...] = Field(default=(), max_length=MAX_MATCHES)
    """Names: of a VirtualService's `http[].name`, or `default`."""
    path_prefixes: tuple[Annotated[UriPath, AfterValidator(_prefix), pattern_schema(r"^/[^\x00-\x20\x7f?]*$")], ...] = (
        Field(default=(), max_length=MAX_MATCHES)
    )
    """How the path begins."""


class PythonFilterSpec(Model):
    """`spec`."""

    selector: Selector | None = None
    """Which workloads of the namespace; usually all."""
    direction: Literal["INBOUND", "OUTBOUND", "ANY"] = "INBOUND"
    """Requests to the workload (a gateway's are such), from it, or both."""
    match: Match = Match()
    """Which requests."""
    source: (
        Annotated[Str, AfterValidator(_source), WithJsonSchema({"type": "string", "maxLength": MAX_SOURCE_BYTES})]
        | None
    ) = None
    """The module's text."""
    file: Annotated[Str, AfterValidator(_absolute), pattern_schema(r"^/[^\x00-\x1f\x7f]*$", maxLength=4096)] | None = (
        None
    )
    """Path of the module where the sidecar runs."""
    sha256: Annotated[Str, AfterValidator(_digest), pattern_schema("^[0-9a-f]{64}$")] | None = None
    """The file's digest; another file is not run."""
    class_name: Annotated[
        Str,
        AfterValidator(_class_name),
        pattern_schema(r"^[^\x00-\x2f:-@\[-^`{-\x7f][^\x00-\x2f:-@\[-^`{-\x7f]*$", maxLength=200),
    ] = Field(alias="class")
    """Of the module; made once for each worker."""
    config: Annotated[dict[Str, Any], AfterValidator(_config)] = Field(default_factory=dict)
    """What the class is made with."""
    phase: Phase = "UNSPECIFIED_PHASE"
    """Where among the filters."""
    priority: Annotated[Int, Field(ge=-(2**31), le=2**31 - 1)] = 0
    """Within a phase the highest comes first."""
    timeout: Annotated[
        PositiveDuration, AfterValidator(_timeout), WithJsonSchema(duration_schema(_TIMEOUT_RULE, "is 1ms to 60s"))
    ] = 0.1
    """For each call; at most 60s."""
    failure_policy: Literal["FAIL_CLOSE", "FAIL_OPEN"] = "FAIL_CLOSE"
    """When it fails: refuse the request, or go on without it."""
    max_body_bytes: Annotated[Int, Field(ge=0, le=MAX_BODY_BYTES)] = 64 * 1024
    """Of a body that it is given; larger ones fail."""

    @model_validator(mode="after")
    def _one_text(self) -> "PythonFilterSpec":
        if (self.source is None) == (self.file is None):
            raise wrong("must have either source (the module's text) or file (its path where the sidecar runs)")
        if self.sha256 is not None and self.file is None:
            raise wrong("has sha256 without file; it says which file is meant")
        return self
