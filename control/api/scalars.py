"""The single values that rules are written with, checked and converted: durations, percentages, names, regexes."""

import re
import warnings
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, Strict, WithJsonSchema

from control.api.model import Model, wrong

_DURATION = re.compile(r"(?:\d+(?:\.\d+)?|\.\d+)(?:ns|us|µs|ms|s|m|h)")
_UNIT_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_MAX_DURATION_S = 10 * 365 * 86_400.0

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}\Z")
_COMMAND = re.compile(r"%[A-Z][A-Z0-9_]*(\([^)]*\))?(:\d+)?%")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")
_SUBDOMAIN = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
HOST_LABEL = r"[A-Za-z0-9_]([-A-Za-z0-9_]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,253}}\Z){HOST_LABEL}(\.{HOST_LABEL})*\.?\Z")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?\Z")
_LABEL_KEY = re.compile(r"([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?\Z")

_UNSUPPORTED = re.compile(r"(?<!\\)(?:\\\\)*(\\[bBZpPXCK]|\(\?[a-zA-Z-]*[aLmux][a-zA-Z-]*[:)])")
_COUNT = re.compile(r"(?<=[{,])(\d{1,9})(?=[,}])")

MAX_REGEX_CHARS = 1024
"""Istio's limit; Envoy's RE2 bounds the compiled program as well."""


def shorten(value: object, limit: int = 60) -> str:
    """`value` for a message: quoted, escaped, never long."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def parse_duration_s(value: object) -> float:
    """Seconds of a Go duration such as `10s`, `1h5m` or `250ms`. Raises PydanticCustomError."""
    if not isinstance(value, str):
        raise wrong(f"is {shorten(value)}; write a duration with its unit, such as 10s, 1h5m or 250ms")
    total = 0.0
    position = 0
    while match := _DURATION.match(value, position):
        unit = match[0].lstrip("0123456789.")
        total += float(match[0][: -len(unit)]) * _UNIT_S[unit]
        position = match.end()
    if position != len(value) or not value:
        raise wrong(f"is {shorten(value)}; write a duration with its unit, such as 10s, 1h5m or 250ms")
    if total > _MAX_DURATION_S:
        raise wrong(f"is {shorten(value)}; a duration is ten years at most")
    if 0 < total < 0.001:
        raise wrong(f"is {shorten(value)}; a duration is 0s or at least 1ms")
    return round(total, 9)


def _positive(value: float) -> float:
    if value <= 0:
        raise wrong("is 0s; write at least 1ms")
    return value


def _header_name(value: str) -> str:
    if not _TOKEN.match(value):
        raise wrong(f"{shorten(value)} is not a header name; use letters, digits and -")
    return value


def _header_value(value: str) -> str:
    if len(value) > 16_384 or any(c in "\r\n\0" or (ord(c) < 32 and c != "\t") or ord(c) == 127 for c in value):
        raise wrong(f"{shorten(value)} is not a header value; it must be one line without control characters")
    if _COMMAND.search(value):
        raise wrong(f"{shorten(value)} has an Envoy command such as %REQ(...)%, which Remora does not support yet")
    return value


def check_host(value: str, *, wildcard: bool) -> str:
    """A DNS name, or with `wildcard` also `*` and `*.suffix`. Raises PydanticCustomError."""
    rest = value
    if wildcard and value == "*":
        return value
    if value.startswith("*."):
        if not wildcard:
            raise wrong(f"{shorten(value)} has a wildcard; write one service's name")
        rest = value[2:]
    if not _HOST.match(rest):
        hint = " (without scheme, port or path)" if re.search(r"[:/]", value) else ""
        allowed = ", *.example.com or *" if wildcard else ""
        raise wrong(f"{shorten(value)} is not a host name{hint}; write for example reviews or reviews.default"
                    f".svc.cluster.local{allowed}")  # fmt: skip
    return value.lower().rstrip(".") or value


def check_regex(value: str) -> str:
    """Accept what RE2 (Envoy) and Python's re (our sidecar) both take. Raises PydanticCustomError."""
    if len(value) > MAX_REGEX_CHARS:
        raise wrong(f"has {len(value)} characters; a regex has at most {MAX_REGEX_CHARS}")
    if re.search(r"\(\?(?:[=!>(#]|<[=!]|P=)|(?<!\\)(?:\\\\)*\\[1-9]|[*+?}]\+", value):
        raise wrong("is no RE2 regex: look-around, back-references, possessive quantifiers do not exist there")
    if not value:
        raise wrong("is empty; write a regex, such as .*")
    unsupported = _UNSUPPORTED.search(value)
    if unsupported:
        raise wrong(f"has {shorten(unsupported[1])}, which Remora's regexes do not have; they are RE2's without it")
    if any(int(count) > 1000 for count in _COUNT.findall(value)):
        raise wrong("repeats something more than 1000 times, which RE2 refuses")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            re.compile(value)
    except (re.error, OverflowError, RecursionError, Warning) as error:
        raise wrong(f"is no regex that we understand: {error}") from error
    return value


def _label_value(value: str) -> str:
    if not _LABEL_VALUE.match(value):
        raise wrong(f"{shorten(value)} is not a label value; use at most 63 letters, digits, -, _ and .")
    return value


def _label_key(value: str) -> str:
    if not _LABEL_KEY.match(value):
        raise wrong(
            f"{shorten(value)} is not a label name; use letters, digits, -, _ and ., with an optional DNS/ prefix"
        )
    return value


def _dns_label(value: str) -> str:
    if not _LABEL.match(value):
        raise wrong(f"{shorten(value)} is not a DNS label; use at most 63 lower-case letters, digits and -")
    return value


def _subdomain(value: str) -> str:
    if not _SUBDOMAIN.match(value):
        raise wrong(f"{shorten(value)} is not a DNS name; use lower-case letters, digits, - and .")
    return value


def _authority(value: str) -> str:
    host, colon, port = value.partition(":")
    if colon and not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
        raise wrong(f"{shorten(value)} is not HOST or HOST:PORT")
    check_host(host, wildcard=False)
    return value


def _path(value: str) -> str:
    if any(ord(c) <= 32 or ord(c) == 127 for c in value):
        raise wrong(f"{shorten(value)} is not a URI path; it has white space or control characters")
    return value


def pattern_schema(pattern: str, **more: object) -> WithJsonSchema:
    """What a schema can say of a text, for clusters and editors, without Python's look-ahead."""
    return WithJsonSchema({"type": "string", "pattern": pattern, **more})


def duration_schema(rule: str, message: str) -> dict[str, object]:
    """Of a duration: its form, and what else `rule` (CEL) asks for."""
    least = {"rule": rule, "message": f"a duration {message}"}
    most = {"rule": "duration(self) <= duration('87600h')", "message": "a duration is ten years at most"}
    pattern = r"^(([0-9]+(\.[0-9]+)?|\.[0-9]+)(ns|us|µs|ms|s|m|h))+$"
    return {"type": "string", "pattern": pattern, "maxLength": 64, "x-kubernetes-validations": [least, most]}


Str = Annotated[str, Strict()]
Int = Annotated[int, Strict()]
Bool = Annotated[bool, Strict()]
Percentage = Annotated[float, Strict(), Field(ge=0, le=100)]
Duration = Annotated[
    float,
    BeforeValidator(parse_duration_s),
    WithJsonSchema(
        duration_schema(
            "duration(self) == duration('0s') || duration(self) >= duration('1ms')", "is 0s or at least 1ms"
        )
    ),
]
"""Seconds; written as `10s`, `1h5m`; zero allowed."""
PositiveDuration = Annotated[
    float,
    AfterValidator(_positive),
    BeforeValidator(parse_duration_s),
    WithJsonSchema(duration_schema("duration(self) >= duration('1ms')", "is at least 1ms")),
]
HeaderName = Annotated[
    Str, AfterValidator(_header_name), pattern_schema(r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}$", maxLength=256)
]
HeaderValue = Annotated[
    Str,
    AfterValidator(_header_value),
    pattern_schema(r"^[^\x00-\x08\x0a-\x1f\x7f]*$", maxLength=16_384, **{"not": {"pattern": _COMMAND.pattern}}),
]
HostPattern = Annotated[
    Str,
    AfterValidator(lambda value: check_host(value, wildcard=True)),
    pattern_schema(rf"^(\*|(\*\.)?{HOST_LABEL}(\.{HOST_LABEL})*\.?)$", maxLength=255),
]
HostName = Annotated[
    Str,
    AfterValidator(lambda value: check_host(value, wildcard=False)),
    pattern_schema(rf"^{HOST_LABEL}(\.{HOST_LABEL})*\.?$", maxLength=253),
]
Authority = Annotated[
    Str,
    AfterValidator(_authority),
    pattern_schema(rf"^{HOST_LABEL}(\.{HOST_LABEL})*\.?(:0*[1-9][0-9]{{0,4}})?$", maxLength=260),
]
Regex = Annotated[
    Str,
    AfterValidator(check_regex),
    WithJsonSchema(
        {
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_REGEX_CHARS,
            "not": {"pattern": r"^(?:[^\\]|\\.)*(?:\\[bBZpPXCK]|\(\?[a-zA-Z-]*[aLmux][a-zA-Z-]*[:)])"},
        }
    ),
]
UriPath = Annotated[Str, AfterValidator(_path), pattern_schema(r"^[^\x00-\x20\x7f]*$")]
DnsLabel = Annotated[
    Str, AfterValidator(_dns_label), pattern_schema(r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$", maxLength=63)
]
Subdomain = Annotated[
    Str,
    AfterValidator(_subdomain),
    pattern_schema(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$", maxLength=253),
]
PortNumber = Annotated[Int, Field(ge=1, le=65_535)]
Weight = Annotated[Int, Field(ge=0, le=2**31 - 1)]
Count = Annotated[Int, Field(ge=0, le=2**31 - 1)]
PositiveCount = Annotated[Int, Field(ge=1, le=2**31 - 1)]
Labels = dict[
    Annotated[Str, AfterValidator(_label_key)],
    Annotated[
        Str,
        AfterValidator(_label_value),
        pattern_schema(r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$", maxLength=63),
    ],
]


class Percent(Model):
    """Istio's `Percent`: `{value: 12.5}`."""

    value: Percentage = 0.0
    """0 to 100."""


def _percent(value: object) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {"value": value}
    return value


PercentOrNumber = Annotated[Percent, BeforeValidator(_percent)]
"""`{value: 12.5}`, or, as people also write it, the number alone."""
