"""Secrets in tapped requests and answers, made unreadable: who looks at traffic need not be able to use it. Pure.

Credentials are known by the names of what carries them: header fields, query parameters, form fields, cookies. Of other
bodies nothing is known, so they are shown as they are.
"""

import re
from dataclasses import replace

from sidecar.config.tap import TappedMessage, TapRecord
from sidecar.http.head import Header

REDACTED = b"[redacted]"

_WHOLE = frozenset(
    [
        b"x-api-key",
        b"x-amz-security-token",
        b"x-goog-iam-authorization-token",
        b"x-forwarded-access-token",
        b"authentication-info",
        b"proxy-authentication-info",
        b"sec-websocket-key",
    ]
)
_SCHEMED = frozenset(
    [b"authorization", b"proxy-authorization", b"x-forwarded-authorization", b"x-original-authorization"]
)
"""`SCHEME credentials`: the scheme is kept."""

_URLS = frozenset([b"location", b"referer", b"content-location", b"x-envoy-original-path", b"x-original-url"])

_TELLING = re.compile(
    rb"token|secret|passw|passwd|pwd|api[-_]?key|apikey|access[-_]?key|credential|session[-_]?id|signature|private[-_]?key",
    re.IGNORECASE,
)
"""In the name of a header field, query parameter or form field."""

_PARAMETERS = frozenset([b"code", b"key", b"sig", b"auth", b"jwt", b"assertion", b"sid", b"otp", b"pin"])
"""Names of parameters that are secret as a whole: OAuth 2.0's (RFC 6749), signed URLs', one-time codes."""

_USERINFO = re.compile(rb"^([a-z][a-z0-9+.-]*://)[^/?#@]*@", re.IGNORECASE)


def redact(record: TapRecord) -> TapRecord:
    """The same request without what would let its reader act as its sender."""
    answer = record.answer
    return replace(
        record,
        target=redact_url(record.target),
        request=_message(record.request),
        answer=_message(answer) if answer is not None else None,
    )


def redact_url(url: bytes) -> bytes:
    """Userinfo and telling parameters of the query and of the fragment."""
    rest, sharp, fragment = url.partition(b"#")
    path, mark, query = rest.partition(b"?")
    path = _USERINFO.sub(rb"\1" + REDACTED + b"@", path)
    return path + mark + _parameters(query) + sharp + (_parameters(fragment) if b"=" in fragment else fragment)


def _message(message: TappedMessage) -> TappedMessage:
    body = message.body
    if any(name == b"content-type" and _is_form(value) for name, value in message.headers):
        body = _parameters(body)
    return replace(
        message,
        headers=tuple(map(_field, message.headers)),
        trailers=tuple(map(_field, message.trailers)),
        body=body,
    )


def _is_form(value: bytes) -> bool:
    return value.partition(b";")[0].strip().lower() == b"application/x-www-form-urlencoded"


def _field(field: Header) -> Header:
    name, value = field
    if name in _SCHEMED:
        scheme, space, _ = value.partition(b" ")
        return name, scheme + space + REDACTED if space else REDACTED
    if name == b"cookie":
        return name, b"; ".join(_pair(part.strip()) for part in value.split(b";"))
    if name == b"set-cookie":
        cookie, semicolon, attributes = value.partition(b";")
        return name, _pair(cookie) + semicolon + attributes
    if name in _WHOLE or _TELLING.search(name):
        return name, REDACTED
    if name in _URLS:
        return name, redact_url(value)
    return field


def _pair(pair: bytes) -> bytes:
    """A cookie keeps its name."""
    name, equals, _ = pair.partition(b"=")
    return name + equals + REDACTED if equals else REDACTED


def _parameters(query: bytes) -> bytes:
    return b"&".join(_parameter(part) for part in query.split(b"&"))


def _parameter(part: bytes) -> bytes:
    name, equals, _ = part.partition(b"=")
    # An encoded letter in the name must not hide it.
    plain = _PERCENT.sub(lambda match: bytes([int(match[1], 16)]), name)
    if equals and (plain.lower() in _PARAMETERS or _TELLING.search(plain)):
        return name + equals + REDACTED
    return part


_PERCENT = re.compile(rb"%([0-9a-fA-F]{2})")
