"""The one line that people read, rendered from a record's body. Everything in it is printable: control characters of
hostile values become escapes."""

from typing import Any

from mesh.logs import escape
from mesh.records import ACCESS_TAG

MAX_MESSAGE_CHARS = 32 * 1024
"""Longer lines are cut here; the body has the whole."""

_TEXT_KEYS = ("message", "msg", "log", "body")


def render(tag: str, body: dict[str, Any]) -> str:
    """An access record as Envoy's (Istio's) default text format; else its message and then `key=value`s."""
    text = _render_access(body) if tag == ACCESS_TAG else _render_other(body)
    if len(text) > MAX_MESSAGE_CHARS:
        text = text[: MAX_MESSAGE_CHARS - 1] + "…"
    return text if text.isprintable() else escape(text)


_ACCESS = '[%s] "%s %s %s" %s %s %s - "%s" %s %s %s %s "%s" "%s" "%s" "%s" "%s" %s - %s %s %s %s'  # one line of Istio's
_ACCESS_FIELDS = (
    "start_time", "method", "path", "protocol", "response_code", "response_flags", "response_code_details",
    "upstream_transport_failure_reason", "bytes_received", "bytes_sent", "duration", "upstream_service_time",
    "x_forwarded_for", "user_agent", "request_id", "authority", "upstream_host", "upstream_cluster",
    "downstream_local_address", "downstream_remote_address", "requested_server_name", "route_name",
)  # fmt: skip
_MILLISECONDS = tuple(_ACCESS_FIELDS.index(name) for name in ("duration", "upstream_service_time"))


def _render_access(body: dict[str, Any]) -> str:
    values = ["-" if value is None else value for value in map(body.get, _ACCESS_FIELDS)]
    for index in _MILLISECONDS:
        value = values[index]
        if isinstance(value, float):  # whole milliseconds, as Envoy writes durations
            values[index] = round(value)
    return _ACCESS % tuple(values)


def _render_other(body: dict[str, Any]) -> str:
    parts: list[str] = []
    shown = None
    for key in _TEXT_KEYS:
        if key in body:
            shown = key
            parts.append(text_of(body[key]))
            break
    parts.extend(f"{key}={text_of(value)}" for key, value in body.items() if key != shown and value is not None)
    return " ".join(parts)


def text_of(value: Any) -> str:
    """A value as text: bytes as UTF-8 with replacements, containers as Python shows them."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)
