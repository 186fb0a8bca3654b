"""Credentials do not get stored: values under telling names, and tokens within text, are replaced by `[redacted]`."""

import re
from operator import itemgetter
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
    # A JWT begins where no such character stands before: else a text of nothing but beginnings takes for ever.
    r"|(?<![A-Za-z0-9_\-])eyJ[A-Za-z0-9_\-]{5,}\.[A-Za-z0-9_\-]{5,}\.[A-Za-z0-9_\-]*",
    re.IGNORECASE,
)
_QUOTED_NAME = re.compile(r"[\"']\s*:")

_ACCESS_KEYS = frozenset((*ACCESS_KEYS, PRINCIPAL_KEY))
_ACCESS_TEXT = ("path", "user_agent", "authority", "x_forwarded_for", "requested_server_name")
"""What a client wrote into an access record; the other fields are the sidecar's own words."""
_texts = itemgetter(*_ACCESS_TEXT)


class Redaction:
    """A stage that hands on batches without credentials."""

    def __init__(self, then: Consumer) -> None:
        self._then = then

    async def consume(self, batch: Batch) -> None:
        """See pipeline.Consumer."""
        batch.logs = [redact_log(record) for record in batch.logs]
        # Spans share their resource: cleaned once, and shared again.
        resources: dict[int, dict[str, Any]] = {}
        batch.spans = [_redact_span(record, resources) for record in batch.spans]
        await self._then.consume(batch)


def redact_log(record: LogRecord) -> LogRecord:
    """The same record where there is nothing to hide."""
    body = record.body
    if record.tag != ACCESS_TAG or not _ACCESS_KEYS.issuperset(body):
        return record._replace(body=redact(body))
    try:
        if not may_hold_secret("\n".join(filter(None, _texts(body)))):
            return record
    except (KeyError, TypeError):  # a field is not there, or no text
        return record._replace(body=redact(body))
    for key in _ACCESS_TEXT:
        value = body[key]
        if value and may_hold_secret(value) and (clean := redact_text(value)) != value:
            body = {**body, key: clean}
    return record if body is record.body else record._replace(body=body)


def _redact_span(record: SpanRecord, resources: dict[int, dict[str, Any]]) -> SpanRecord:
    resource = resources.get(id(record.resource))
    if resource is None:
        resource = resources[id(record.resource)] = redact(record.resource)
    return record._replace(
        name=redact_text(record.name),
        attributes=redact(record.attributes),
        resource=resource,
        status_message=redact_text(record.status_message),
        events=[_redact_any(event) for event in record.events],
        links=[_redact_any(link) for link in record.links],
    )


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
    return _TOKENS.sub(_replacement, text) if may_hold_secret(text) else text


def may_hold_secret(text: str) -> bool:
    """False for text that has no token for certain: ten times cheaper to find out than by the expression itself."""
    if "=" in text or "@" in text:
        return True
    lower = text.lower()
    return (
        "earer" in lower
        or "asic" in lower
        or "egotiate" in lower
        or "uthorization" in lower
        or "eyj" in lower
        or (('"' in text or "'" in text) and _QUOTED_NAME.search(text) is not None)
    )


def _replacement(match: re.Match[str]) -> str:
    return (match["header"] or match["scheme"] or match["name"] or match["user"] or "") + REDACTED
