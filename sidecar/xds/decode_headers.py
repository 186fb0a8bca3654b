"""Header changes of route configurations, virtual hosts, routes and weighted clusters."""

import re

from sidecar.config.route import HeaderEdits
from sidecar.xds.fields import Fields

_ADD = "APPEND_IF_EXISTS_OR_ADD"
_SET = "OVERWRITE_IF_EXISTS_OR_ADD"

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")  # RFC 9110 5.6.2 token
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\U0010ffff]*\Z")

_UNTOUCHABLE = frozenset({"host", "content-length", "transfer-encoding", "connection"})
"""Framing belongs to the codecs; `host` is changed by host_rewrite_literal."""


def decode_header_edits(fields: Fields) -> HeaderEdits | None:
    """None where nothing is changed."""
    request_set, request_add = _decode_options(fields, "request_headers_to_add")
    response_set, response_add = _decode_options(fields, "response_headers_to_add")
    edits = HeaderEdits(
        request_set,
        request_add,
        _decode_removals(fields, "request_headers_to_remove"),
        response_set,
        response_add,
        _decode_removals(fields, "response_headers_to_remove"),
    )
    return edits if edits != HeaderEdits() else None


def _decode_removals(fields: Fields, name: str) -> tuple[str, ...]:
    return tuple(_check_name(fields, name, text) for text in fields.texts(name))


def _check_name(fields: Fields, field: str, text: str) -> str:
    lower = text.lower()
    if not _NAME.match(text):
        raise fields.reject(field, f"{text[:100]!r} is not a header name")
    if lower in _UNTOUCHABLE:
        raise fields.reject(field, f"{lower} cannot be changed")
    return lower


def _decode_options(fields: Fields, name: str) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]:
    """(set, add)."""
    to_set: list[tuple[str, str]] = []
    to_add: list[tuple[str, str]] = []
    for option in fields.children(name):
        header = option.must("header")
        key = _check_name(header, "key", header.required("key"))
        value = _literal(header, header.text("value"))
        action = option.only("append_action", (_ADD, _SET))
        # `append` is the older spelling of append_action; where given, it decides, as in Envoy.
        append = bool(option.wrapped("append", action == _ADD))
        if not value and not option.value("keep_empty_value"):
            continue  # Envoy drops empty values unless told to keep them
        option.informational("keep_empty_value")
        (to_add if append else to_set).append((key, value))
    return tuple(to_set), tuple(to_add)


def _literal(fields: Fields, text: str) -> str:
    """A value without Envoy's %COMMAND% operators, which are not supported; `%%` is a percent sign."""
    if not _VALUE.match(text):
        raise fields.reject("value", "holds control characters")
    if "%" in text.replace("%%", ""):
        raise fields.reject("value", "%COMMANDS% are not supported; write %% for a percent sign")
    return text.replace("%%", "%")
