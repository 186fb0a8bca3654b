"""The one line that people read, rendered from a record's body. Everything in it is printable: control characters of
hostile values become escapes."""

from collections import defaultdict
from operator import itemgetter
from typing import Any

from mesh.logs import escape
from mesh.records import ACCESS_TAG

MAX_MESSAGE_CHARS = 32 * 1024
"""Longer lines are cut here; the body has the whole."""

_PRINTABLE = bytes(range(0x20, 0x7F))
"""ASCII's."""
_TEXT_KEYS = ("message", "msg", "log", "body")


def render(tag: str, body: dict[str, Any]) -> str:
    """An access record as Envoy's (Istio's) default text format; else its message and then `key=value`s."""
    text = _render_access(body) if tag == ACCESS_TAG else _render_other(body)
    if len(text) > MAX_MESSAGE_CHARS:
        text = text[: MAX_MESSAGE_CHARS - 1] + "…"
    # Deleting all that it may consist of takes half as long as looking each character up.
    if (text.isascii() and not text.encode().translate(None, _PRINTABLE)) or text.isprintable():
        return text
    return escape(text)


_fields = itemgetter(
    "start_time", "method", "path", "protocol", "response_code", "response_flags", "response_code_details",
    "upstream_transport_failure_reason", "bytes_received", "bytes_sent", "duration", "upstream_service_time",
    "x_forwarded_for", "user_agent", "request_id", "authority", "upstream_host", "upstream_cluster",
    "downstream_local_address", "downstream_remote_address", "requested_server_name", "route_name",
)  # fmt: skip


def _render_access(body: dict[str, Any]) -> str:
    try:
        values = _fields(body)
    except KeyError:  # a sender's own idea of an access record
        values = _fields(defaultdict(lambda: None, body))
    (
        start, method, path, protocol, code, flags, details, failure, received, sent, duration, upstream_time,
        forwarded_for, agent, request_id, authority, host, cluster, local, remote, server, route,
    ) = values  # fmt: skip
    if type(duration) is float:  # whole milliseconds, as Envoy writes durations
        duration = round(duration)
    if type(upstream_time) is float:
        upstream_time = round(upstream_time)
    # A line of Istio's. Written out since it is made for each record: a loop over the fields takes half as long again.
    return (
        f'[{"-" if start is None else start}] "{"-" if method is None else method} '
        f'{"-" if path is None else path} {"-" if protocol is None else protocol}" '
        f'{"-" if code is None else code} {"-" if flags is None else flags} {"-" if details is None else details} - '
        f'"{"-" if failure is None else failure}" '
        f'{"-" if received is None else received} {"-" if sent is None else sent} '
        f'{"-" if duration is None else duration} {"-" if upstream_time is None else upstream_time} '
        f'"{"-" if forwarded_for is None else forwarded_for}" "{"-" if agent is None else agent}" '
        f'"{"-" if request_id is None else request_id}" "{"-" if authority is None else authority}" '
        f'"{"-" if host is None else host}" {"-" if cluster is None else cluster} - '
        f'{"-" if local is None else local} {"-" if remote is None else remote} '
        f'{"-" if server is None else server} {"-" if route is None else route}'
    )  # fmt: skip


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
