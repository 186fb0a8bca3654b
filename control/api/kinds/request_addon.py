"""`inspect.remora.dev` RequestAddon: a mitmproxy addon script for requests that pass a workload's sidecar."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from control.api.kinds.peer_authentication import Selector
from control.api.model import Model, wrong
from control.api.scalars import (
    HeaderName,
    Int,
    Percentage,
    PositiveDuration,
    Str,
    duration_schema,
    pattern_schema,
    shorten,
)

MAX_TIMEOUT_S = 30.0
MAX_BODY_BYTES = 16 * 1024 * 1024

_SCRIPT_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\.py"
_SCRIPT = re.compile(rf"{_SCRIPT_NAME}\Z")
_METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}\Z")
_HOST = re.compile(r"[A-Za-z0-9._*?:\[\]-]{1,253}\Z")


_TIMEOUT_RULE = f"duration(self) >= duration('1ms') && duration(self) <= duration('{MAX_TIMEOUT_S:g}s')"


def _script(value: str) -> str:
    if not _SCRIPT.match(value):
        raise wrong(
            f"is {shorten(value)}; write the name of a .py file in the sidecar's addon directory, without a directory"
        )
    return value


def _method(value: str) -> str:
    if not _METHOD.match(value):
        raise wrong(f"{shorten(value)} is no method; write GET, POST, ...")
    return value


def _path(value: str) -> str:
    if value[:1] not in ("/", "*", "?", "[") or not value.isprintable() or len(value) > 1024:
        raise wrong(f"is {shorten(value)}; write how the path begins, such as /reviews, or a glob such as */reviews/*")
    return value


def _host(value: str) -> str:
    if not _HOST.match(value):
        raise wrong(f"{shorten(value)} is no glob of host names, such as reviews* or *.example.com")
    return value.lower()


def _glob(value: str) -> str:
    if not value.isprintable() or len(value) > 1024:
        raise wrong(f"{shorten(value)} is no glob of one line")
    return value


def _timeout(value: float) -> float:
    if value > MAX_TIMEOUT_S:
        raise wrong(f"is {value:g}s; a request waits {MAX_TIMEOUT_S:g}s at most")
    return value


class AddonMatch(Model):
    """All conditions must hold; of hosts, methods and routes any entry suffices."""

    path: (
        Annotated[Str, AfterValidator(_path), pattern_schema(r"^[/*?\[][^\x00-\x1f\x7f]*$", maxLength=1024)] | None
    ) = None
    """How the path begins, or a glob."""
    methods: tuple[
        Annotated[Str, AfterValidator(_method), pattern_schema(r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$")], ...
    ] = Field(default=(), max_length=16)
    """GET, POST, ..."""
    hosts: tuple[Annotated[Str, AfterValidator(_host), pattern_schema(r"^[A-Za-z0-9._*?:\[\]-]{1,253}$")], ...] = Field(
        default=(), max_length=16
    )
    """Globs of host names."""
    headers: dict[HeaderName, Annotated[Str, AfterValidator(_glob)]] = Field(default_factory=dict, max_length=16)
    """By name, a glob of the value; `*` for any."""
    routes: tuple[Annotated[Str, Field(min_length=1, max_length=253)], ...] = Field(default=(), max_length=16)
    """Names of routes, as VirtualServices give them."""


class RequestAddonSpec(Model):
    """`spec`."""

    selector: Selector | None = None
    """None: every workload of the namespace."""
    direction: Literal["inbound", "outbound", "gateway"] = "inbound"
    """Requests to the workload, from it, or through a gateway."""
    match: AddonMatch = AddonMatch()
    """Which requests."""
    script: Annotated[Str, AfterValidator(_script), pattern_schema(rf"^{_SCRIPT_NAME}$")]
    """A .py file in the sidecar's addon directory."""
    timeout: Annotated[
        PositiveDuration, AfterValidator(_timeout), WithJsonSchema(duration_schema(_TIMEOUT_RULE, "is 1ms to 30s"))
    ] = 0.5
    """For each request; at most 30s."""
    on_failure: Literal["open", "close"] = "close"
    """open: go on without it; close: refuse the request."""
    max_body_bytes: Annotated[Int, Field(ge=0, le=MAX_BODY_BYTES)] = 64 * 1024
    """Of a body that it is given; larger ones pass by."""
    sample: Percentage = 100.0
    """Percent of the requests that match."""
