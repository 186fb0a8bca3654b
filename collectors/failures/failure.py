"""A failure as the records tell it, and the fingerprint that makes two of them one."""

import hashlib
from typing import NamedTuple

KINDS = ("exception", "message", "response", "span")
"""An exception with its frames; a line that was logged as an error; an answer of 5xx; a span with the status error."""

MAX_TITLE_CHARS = 300
MAX_SAMPLE_CHARS = 8 * 1024
MAX_NAME_CHARS = 253
"""Of a service, a workload; a DNS name's longest."""


class Failure(NamedTuple):
    """One occurrence."""

    key: tuple[str, str]
    """The record that tells of it: (log id, "") or (trace id, span id)."""
    fingerprint: str
    """16 hexadecimal digits, the same for the same failure of another time, place and version."""
    kind: str
    """Of KINDS."""
    service: str
    """Who failed: a workload's name without its version, or what the application calls itself."""
    workload: str
    title: str
    culprit: str
    """Where: the innermost frame, the route, the span's name."""
    release: str
    """Version of who failed; "" where nothing says."""
    time: float
    trace_id: str | None
    sample: str
    """This occurrence in full, as far as it is kept."""


def fingerprint(*parts: str) -> str:
    """Of what makes a failure this one."""
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "replace"), digest_size=8).hexdigest()


def cut(text: str, most: int) -> str:
    """At most so many characters, and a sign that there were more; half characters (lone surrogates), which no database
    takes, as question marks."""
    text = text if len(text) <= most else text[: most - 1] + "…"
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
