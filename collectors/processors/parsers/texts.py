"""Formats of log texts: from a text to fields, or None where it is not of the format. No I/O.

Whatever a text holds, what comes out can be stored: text, 64-bit numbers, truth, lists and maps of a bounded depth.
"""

import re
from collections.abc import Callable
from typing import Any, Literal

import orjson

from collectors.processors.patterns import CompiledPattern
from collectors.receivers.entries import MalformedEntry, record_of

Format = Literal["json", "logfmt", "regex", "access_log"]
Parse = Callable[[str], dict[str, Any] | None]

MAX_TEXT_CHARS = 1024 * 1024
"""A longer text is not looked into."""

_PAIR = re.compile(r'([^\s="]+)(?:=(?:"((?:[^"\\]|\\.)*)"|([^\s"]*)))?')
_ESCAPE = re.compile(r'\\(["\\nrt/])')
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t"}


def parse_json(text: str) -> dict[str, Any] | None:
    """An object (RFC 8259: no NaN, no lone surrogates; integers beyond 64 bits become floats)."""
    if text.lstrip()[:1] != "{":
        return None
    try:
        return record_of(orjson.loads(text))
    except (orjson.JSONDecodeError, MalformedEntry):
        return None


def parse_logfmt(text: str) -> dict[str, Any] | None:
    """`key=value key="quoted value" flag`: values are text, a flag is true. None if there is no pair in it, or what is
    not of the format."""
    fields: dict[str, Any] = {}
    at = pairs = 0
    for match in _PAIR.finditer(text):
        if text[at : match.start()].strip():
            return None
        at = match.end()
        key, quoted, plain = match.groups()
        if quoted is not None:
            fields[key] = _ESCAPE.sub(_unescape, quoted) if "\\" in quoted else quoted
        elif plain is not None:
            fields[key] = plain
        else:
            fields[key] = True
            continue
        pairs += 1
    return fields if pairs and not text[at:].strip() else None


def _unescape(match: re.Match[str]) -> str:
    return _ESCAPED.get(match[1], match[1])


def parse_expression(expression: CompiledPattern) -> Parse:
    """The named groups of the first place where it is found."""
    names = tuple(expression.names)

    def parse(text: str) -> dict[str, Any] | None:
        match = expression.search(text)
        if match is None:
            return None
        return {name: value for name in names if (value := match.group(name)) is not None}

    return parse


# Istio's default text format (istio.io, "Envoy Access Logs"). RE2, since a user agent may have quotes in it: of an
# expression with this many open ends, any other engine would try all combinations.
_ACCESS = CompiledPattern(
    r"^\[(?P<start_time>[^\]]+)\] "
    r'"(?P<method>\S+) (?P<path>.*?) (?P<protocol>\S+)" '
    r"(?P<response_code>\d+) (?P<response_flags>\S+) (?P<response_code_details>\S+) "
    r'(?P<connection_termination_details>.*?) "(?P<upstream_transport_failure_reason>.*?)" '
    r"(?P<bytes_received>\d+) (?P<bytes_sent>\d+) (?P<duration>\S+) (?P<upstream_service_time>\S+) "
    r'"(?P<x_forwarded_for>.*?)" "(?P<user_agent>.*?)" "(?P<request_id>.*?)" "(?P<authority>.*?)" '
    r'"(?P<upstream_host>.*?)" (?P<upstream_cluster>\S+) (?P<upstream_local_address>\S+) '
    r"(?P<downstream_local_address>\S+) (?P<downstream_remote_address>\S+) "
    r"(?P<requested_server_name>\S+) (?P<route_name>\S+)\s*$"
)
_ACCESS_NAMES = tuple(_ACCESS.names)
_INTEGERS = ("response_code", "bytes_received", "bytes_sent")
_MILLISECONDS = ("duration", "upstream_service_time")
_MAX_DIGITS = 18


def parse_access_log(text: str) -> dict[str, Any] | None:
    """A line of Istio's default text format, or of its JSON one; "-" becomes None, as in records of our own sidecars
    (mesh.records.ACCESS_KEYS), except for response flags."""
    fields = parse_json(text)
    if fields is None:
        match = _ACCESS.search(text)
        if match is None:
            return None
        fields = dict(zip(_ACCESS_NAMES, match.groups(), strict=True))
    elif "response_code" not in fields or "start_time" not in fields:
        return None
    for key, value in fields.items():
        if value == "-" and key != "response_flags":
            fields[key] = None
    for key in _INTEGERS:
        if key in fields:
            fields[key] = _integer(fields[key])
    for key in _MILLISECONDS:
        if key in fields:
            number = _integer(fields[key])
            fields[key] = None if number is None else float(number)
    return fields


def _integer(value: Any) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS:
        return int(value)
    return None
