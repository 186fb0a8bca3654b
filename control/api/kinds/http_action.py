"""What a VirtualService's HTTP route does: destinations, redirects, rewrites, retries, faults, mirrors."""

import base64
import binascii
import builtins
import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

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
    shorten,
)


class PortSelector(Model):
    """`port: {number: 9080}`."""

    number: PortNumber


class Destination(Model):
    """A service, or a subset of it that its DestinationRule defines."""

    host: HostName
    subset: Str | None = None
    port: PortSelector | None = None


class RouteDestination(Model):
    """A share of a route's requests."""

    destination: Destination
    weight: Weight = 0
    headers: Headers | None = None


class Redirect(Model):
    """Istio `HTTPRedirect`."""

    uri: UriPath | None = None
    authority: Authority | None = None
    port: PortNumber | None = None
    derive_port: Unsupported = None
    scheme: Literal["http", "https"] | None = None
    redirect_code: Literal[301, 302, 303, 307, 308] = 301

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
    bytes: Str | None = None

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
    body: ResponseBody | None = None


class RegexRewrite(Model):
    """`uriRegexRewrite`: RE2's `\\1` refers to groups."""

    match: Regex
    rewrite: Annotated[Str, Field(max_length=1024)]

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
    authority: Authority | None = None
    uri_regex_rewrite: RegexRewrite | None = None

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


class Retry(Model):
    """Istio `HTTPRetry`. `attempts: 0` means never."""

    attempts: Annotated[Int, Field(ge=0, le=100)] = 2
    per_try_timeout: Duration | None = None
    retry_on: Str | None = None
    backoff: PositiveDuration | None = None
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
    percentage: PercentOrNumber | None = None
    percent: Annotated[Int, Field(ge=0, le=100)] | None = None
    """The older spelling of `percentage`."""
    exponential_delay: Unsupported = None


class Abort(Model):
    """Istio `HTTPFaultInjection.Abort`."""

    http_status: Annotated[Int, Field(ge=200, le=599)]
    percentage: PercentOrNumber | None = None
    percent: Annotated[Int, Field(ge=0, le=100)] | None = None
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
    abort: Abort | None = None

    @model_validator(mode="after")
    def _something(self) -> "Fault":
        if self.delay is None and self.abort is None:
            raise wrong("injects nothing; write delay or abort")
        return self


class Mirror(Model):
    """A copy of each request, or of a share, whose answer is dropped."""

    destination: Destination
    percentage: PercentOrNumber = Percent(value=100.0)
