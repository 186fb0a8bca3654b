"""Credentials do not get stored: values under telling names, and tokens within text, are replaced by `[redacted]`."""

import re
from typing import Any

from collectors.pipeline import Consumer
from collectors.records import PRINCIPAL_KEY, Batch, LogRecord, SpanRecord
from mesh.records import ACCESS_KEYS, ACCESS_TAG

REDACTED = "[redacted]"

_NAMES = re.compile(
    r"(?:^|[._\-])(?:(?:proxy[_-]?)?authorization|(?:set[_-]?)?cookie2?|passw(?:or)?d|passphrase|secret|credentials?|"
    r"(?:access|refresh|id|auth|api|session|bearer|client|csrf|xsrf)[_-]?(?:token|key|secret)|token|apikey|"
    r"private[_-]?key|jwt)$",
    re.IGNORECASE,
)
"""Keys, by their last words: `http.request.header.authorization`, `X-Api-Key`, `db_password`."""

_TOKENS = re.compile(
    # Authorization's value, where it is called so or looks like a token and not like a word;
    r"(?P<header>\bauthorization[\"']?\s*[:=]\s*[\"']?(?:(?:bearer|basic|negotiate)\s+)?)[^\s\"',;]+"
    r"|(?P<scheme>\b(?:bearer|basic|negotiate)\s+)"
    r"(?:(?=[A-Za-z0-9._~+/\-]*[0-9=_])[A-Za-z0-9._~+/=\-]{6,}|[A-Za-z0-9._~+/=\-]{16,})"
    # secrets in a query, a form or JSON; a password in a URL; a JWT anywhere.
    r"|(?P<name>(?:^|[?&;,{\s\"'])(?:[a-z_\-]*(?:token|secret|password|passwd|api_?key|signature|jwt)|sig|pwd)"
    r"(?:=|[\"']\s*:\s*[\"']?))[^&;\s\"']+"
    r"|(?P<user>://[^/\s:@]*:)[^/\s@]+(?=@)"
    r"|\beyJ[A-Za-z0-9_\-]{5,}\.[A-Za-z0-9_\-]{5,}\.[A-Za-z0-9_\-]*",
    re.IGNORECASE,
)
_HINTS = re.compile(r"[=@]|[\"']\s*:|earer|asic|egotiate|uthorization|eyJ|EARER|ASIC|EGOTIATE|UTHORIZATION")
"""Text without one of these has no token; looking for them first is much cheaper."""

_ACCESS_KEYS = frozenset((*ACCESS_KEYS, PRINCIPAL_KEY))
_ACCESS_TEXT = ("path", "user_agent", "authority", "x_forwarded_for", "requested_server_name")
"""What a client wrote into an access record; the other fields are the sidecar's own words."""


class Redaction:
    """A stage that hands on batches without credentials."""

    def __init__(self, then: Consumer) -> None:
        self._then = then

    async def consume(self, batch: Batch) -> None:
        """See pipeline.Consumer."""
        batch.logs = [_redact_log(record) for record in batch.logs]
        batch.spans = [_redact_span(record) for record in batch.spans]
        await self._then.consume(batch)


def _redact_log(record: LogRecord) -> LogRecord:
    body = record.body
    if record.tag == ACCESS_TAG and body.keys() <= _ACCESS_KEYS:
        for key in _ACCESS_TEXT:
            value = body.get(key)
            if type(value) is str and _HINTS.search(value) and (clean := redact_text(value)) != value:
                body = {**body, key: clean}
        return record if body is record.body else record._replace(body=body)
    return record._replace(body=redact(body))


def _redact_span(record: SpanRecord) -> SpanRecord:
    return record._replace(name=redact_text(record.name), attributes=redact(record.attributes))


def redact(value: dict[str, Any]) -> dict[str, Any]:
    """A copy without credentials, nested maps and lists included."""
    return {
        key: REDACTED if one not in (None, "") and _NAMES.search(key) else _redact_any(one)
        for key, one in value.items()
    }


def _redact_any(value: Any) -> Any:
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, dict):
        return redact(value)
    if isinstance(value, list):
        return [_redact_any(one) for one in value]
    return value


def redact_text(text: str) -> str:
    """Replace tokens within a text; what stands around them stays."""
    return _TOKENS.sub(_replacement, text) if _HINTS.search(text) else text


def _replacement(match: re.Match[str]) -> str:
    return (match["header"] or match["scheme"] or match["name"] or match["user"] or "") + REDACTED
