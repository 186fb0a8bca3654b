"""What a VirtualService's HTTP route does: destinations, redirects, rewrites, retries, faults, mirrors."""

import base64
import binascii
import builtins
import re
from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema, field_validator, model_validator

from control.api.kinds.headers import Headers
from control.api.model import Model, Unsupported, wrong
from control.api.scalars import (
    Authority,
    Duration,
    HostName,
    Int,
    Percent,
    PercentOrNumber,
    PortNumber,
    PositiveDuration,
    Regex,
    Str,
    UriPath,
    Weight,
    pattern_schema,
    shorten,
)


class PortSelector(Model):
    """`port: {number: 9080}`."""

    number: PortNumber
    """The service's port."""


class Destination(Model):
    """A service, or a subset of it that its DestinationRule defines."""

    host: HostName
    """The service's name; a short one is of the rule's namespace."""
    subset: Str | None = None
    """A version of it, as its DestinationRule names them."""
    port: PortSelector | None = None
    """Which port; may be left out where the service has one."""


class RouteDestination(Model):
    """A share of a route's requests."""

    destination: Destination
    """Where requests go."""
    weight: Weight = 0
    """Share in percent; all together 100. One alone needs none."""
    headers: Headers | None = None
    """Headers set, added and removed, for this destination."""


class Redirect(Model):
    """Istio `HTTPRedirect`."""

    uri: UriPath | None = None
    """The path to go to; the same where it is left out."""
    authority: Authority | None = None
    """The host to go to."""
    port: PortNumber | None = None
    """The port to go to."""
    derive_port: Unsupported = None
    scheme: Literal["http", "https"] | None = None
    """http or https."""
    redirect_code: Literal[301, 302, 303, 307, 308] = 301
    """The status; usually 301."""

    @model_validator(mode="after")
    def _somewhere(self) -> "Redirect":
        if self.uri is not None and "%PREFIX()%" in self.uri:
            raise wrong("has %PREFIX()% in uri, which is not supported by Remora yet; write the whole path")
        if not any((self.uri, self.authority, self.port, self.scheme)):
            raise wrong("redirects to the same place; write uri, authority, scheme or port")
        return self


class ResponseBody(Model):
    """A body as text or as base64."""

    string: Annotated[Str, Field(max_length=1_048_576)] | None = None
    """As text."""
    bytes: Annotated[Str, WithJsonSchema({"type": "string", "format": "byte"})] | None = None
    """As base64."""

    @model_validator(mode="after")
    def _one(self) -> "ResponseBody":
        if (self.string is None) == (self.bytes is None):
            raise wrong("needs exactly one of string and bytes")
        if self.bytes is not None:
            try:
                base64.b64decode(self.bytes, validate=True)
            except (binascii.Error, ValueError) as error:
                raise wrong(f"bytes is no base64: {error}") from error
        return self

    @property
    def content(self) -> "builtins.bytes":
        if self.string is not None:
            return self.string.encode()
        return base64.b64decode(self.bytes or "")


class DirectResponse(Model):
    """Istio `HTTPDirectResponse`: answered by the proxy."""

    status: Annotated[Int, Field(ge=200, le=599)]
    """The status."""
    body: ResponseBody | None = None
    """What is sent along."""


class RegexRewrite(Model):
    """`uriRegexRewrite`: RE2's `\\1` refers to groups."""

    match: Regex
    """What is looked for in the path, RE2."""
    rewrite: Annotated[Str, Field(max_length=1024)]
    """What it becomes."""

    @model_validator(mode="after")
    def _groups_exist(self) -> "RegexRewrite":
        groups = re.compile(self.match).groups
        for reference in re.findall(r"\\(\d)", self.rewrite):
            if int(reference) > groups:
                raise wrong(f"rewrite names group \\{reference}, but match has {groups}")
        return self


class Rewrite(Model):
    """Istio `HTTPRewrite`."""

    uri: UriPath | None = None
    """The path, or in place of the prefix that matched."""
    authority: Authority | None = None
    """The Host header."""
    uri_regex_rewrite: RegexRewrite | None = None
    """Parts of the path, by a regex."""

    @model_validator(mode="after")
    def _something(self) -> "Rewrite":
        if self.uri is not None and self.uri_regex_rewrite is not None:
            raise wrong("has both uri and uriRegexRewrite; write one")
        if self.uri is None and self.authority is None and self.uri_regex_rewrite is None:
            raise wrong("changes nothing; write uri, authority or uriRegexRewrite")
        return self


RETRY_CONDITIONS = frozenset(
    {
        "connect-failure", "refused-stream", "reset", "reset-before-request", "gateway-error", "5xx", "retriable-4xx",
        "retriable-status-codes", "cancelled", "deadline-exceeded", "resource-exhausted", "unavailable", "internal",
    }
)  # fmt: skip
"""Envoy's `retry_on` as far as the sidecar has it; a status code may be written too, as in Istio."""

_CONDITION = rf" *({'|'.join(sorted(RETRY_CONDITIONS))}|[1-5][0-9]{{2}})? *"
_RETRY_ON = pattern_schema(rf"^{_CONDITION}(,{_CONDITION})*$", maxLength=1024)


class Retry(Model):
    """Istio `HTTPRetry`. `attempts: 0` means never."""

    attempts: Annotated[Int, Field(ge=0, le=100)] = 2
    """Besides the first; 0: none."""
    per_try_timeout: Duration | None = None
    """For each attempt."""
    retry_on: Annotated[Str, _RETRY_ON] | None = None
    """Envoy's conditions and status codes, with commas."""
    backoff: PositiveDuration | None = None
    """The least wait between attempts."""
    retry_remote_localities: Unsupported = None
    retry_ignore_previous_hosts: Unsupported = None

    @field_validator("retry_on")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        for condition in (value or "").split(","):
            word = condition.strip()
            if (
                word
                and word not in RETRY_CONDITIONS
                and not (word.isascii() and word.isdigit() and 100 <= int(word) < 600)
            ):
                raise wrong(f"has {shorten(word)}; known are {', '.join(sorted(RETRY_CONDITIONS))} and status codes")
        return value


class Delay(Model):
    """Istio `HTTPFaultInjection.Delay`."""

    fixed_delay: PositiveDuration
    """How long requests wait."""
    percentage: PercentOrNumber | None = None
    """Share of the requests; none where it is left out."""
    percent: Annotated[Int, Field(ge=0, le=100)] | None = None
    """The older spelling of `percentage`."""
    exponential_delay: Unsupported = None


class Abort(Model):
    """Istio `HTTPFaultInjection.Abort`."""

    http_status: Annotated[Int, Field(ge=200, le=599)]
    """The status to answer with."""
    percentage: PercentOrNumber | None = None
    """Share of the requests; none where it is left out."""
    percent: Annotated[Int, Field(ge=0, le=100)] | None = None
    """The older spelling of `percentage`."""
    grpc_status: Unsupported = None
    http2_error: Unsupported = None


def percent_of(fault: Delay | Abort) -> float:
    """0 to 100; where nothing is written, as in Istio, no request is affected."""
    if fault.percentage is not None:
        return fault.percentage.value
    return float(fault.percent or 0)


class Fault(Model):
    """Trouble on purpose."""

    delay: Delay | None = None
    """Let requests wait."""
    abort: Abort | None = None
    """Answer with an error."""

    @model_validator(mode="after")
    def _something(self) -> "Fault":
        if self.delay is None and self.abort is None:
            raise wrong("injects nothing; write delay or abort")
        return self


class Mirror(Model):
    """A copy of each request, or of a share, whose answer is dropped."""

    destination: Destination
    """Where the copy goes."""
    percentage: PercentOrNumber = Percent(value=100.0)
    """Share of the requests; usually all."""
