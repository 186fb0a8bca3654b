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


def _render_access(body: dict[str, Any]) -> str:
    def get(key: str) -> object:
        value = body.get(key)
        return "-" if value is None else value

    def ms(key: str) -> object:
        """Whole milliseconds, as Envoy writes durations."""
        value = body.get(key)
        return round(value) if isinstance(value, float) else get(key)

    return (
        f'[{get("start_time")}] "{get("method")} {get("path")} {get("protocol")}" {get("response_code")} '
        f'{get("response_flags")} {get("response_code_details")} - "{get("upstream_transport_failure_reason")}" '
        f"{get('bytes_received')} {get('bytes_sent')} {ms('duration')} {ms('upstream_service_time')} "
        f'"{get("x_forwarded_for")}" "{get("user_agent")}" "{get("request_id")}" "{get("authority")}" '
        f'"{get("upstream_host")}" {get("upstream_cluster")} - {get("downstream_local_address")} '
        f"{get('downstream_remote_address')} {get('requested_server_name')} {get('route_name')}"
    )


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
