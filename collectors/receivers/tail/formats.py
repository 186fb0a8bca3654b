"""Lines of log files as runtimes write them: CRI (containerd, CRI-O), Docker's json-file, plain text. No I/O.

CRI: `2026-01-31T12:00:00.123456789Z stdout F text`, where P instead of F says that the line goes on in the next one
(kubernetes, pkg/kubelet/kuberuntime/logs). Docker: `{"log":"text","stream":"stdout","time":"..."}`, where a text
without a newline at its end says so.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal, NamedTuple

Format = Literal["auto", "cri", "docker", "plain"]

_STREAMS = {b"stdout": "stdout", b"stderr": "stderr"}
_SECOND_CHARS = len("2026-01-31T12:00:00")


class Line(NamedTuple):
    """What a line of a file says."""

    time: float | None
    """Seconds since the Unix epoch, by the runtime's clock; None where the file says none."""
    stream: str
    """"stdout" or "stderr"; "" where the file does not tell."""
    text: str
    whole: bool
    """False: it goes on in the next line of the same stream."""


Parse = Callable[[bytes], Line]


def parser_of(name: Format) -> Parse:
    """Every format takes a line that is not of it as plain text: nothing is lost for being odd."""
    return {"auto": parse_any, "cri": parse_cri, "docker": parse_docker, "plain": parse_plain}[name]


def parse_any(raw: bytes) -> Line:
    """Whichever it looks like."""
    return parse_docker(raw) if raw.startswith(b"{") else parse_cri(raw)


def parse_plain(raw: bytes) -> Line:
    """The line is the text."""
    return Line(None, "", _text(raw), True)


def parse_cri(raw: bytes) -> Line:
    """`TIME STREAM TAGS TEXT`; the first of the tags, which are joined by colons, says whether it is whole."""
    parts = raw.split(b" ", 3)
    if len(parts) < 3:
        return parse_plain(raw)
    stream = _STREAMS.get(parts[1])
    tag = parts[2].partition(b":")[0]
    time = parse_time(parts[0].decode("ascii", "replace")) if stream is not None else None
    if stream is None or time is None or tag not in (b"F", b"P"):
        return parse_plain(raw)
    return Line(time, stream, _text(parts[3]) if len(parts) == 4 else "", tag == b"F")


def parse_docker(raw: bytes) -> Line:
    """One JSON object with `log`, `stream` and `time`."""
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        return parse_plain(raw)
    if not isinstance(document, dict):
        return parse_plain(raw)
    text, stream, time = document.get("log"), document.get("stream", ""), document.get("time")
    if not isinstance(text, str) or not isinstance(stream, str) or not isinstance(time, str):
        return parse_plain(raw)
    return Line(parse_time(time), stream[:16], text.removesuffix("\n"), text.endswith("\n"))


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace").removesuffix("\r")


def parse_time(text: str) -> float | None:
    """RFC 3339, with any number of decimals; None for what is none."""
    second, rest = text[:_SECOND_CHARS], text[_SECOND_CHARS:]
    fraction = ""
    if rest.startswith("."):
        digits = len(rest) - 1
        zone = rest[1:].lstrip("0123456789")
        fraction = rest[: 1 + digits - len(zone)]
        rest = zone
    whole = _second(second, rest)
    if whole is None:
        return None
    return whole + float(fraction) if len(fraction) > 1 else whole


@lru_cache(maxsize=1_024)
def _second(text: str, zone: str) -> float | None:
    # Thousands of lines of one second are read for one that begins another.
    try:
        parsed = datetime.fromisoformat(text + zone)
    except ValueError:
        return None
    return (parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)).timestamp()
