"""The application's own metrics, fetched and fitted into our answer. It may be slow, wrong or down: ours go out."""

import http.client
import re
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import urlsplit

from mesh.clock import SystemClock
from sidecar.agent import openmetrics

TIMEOUT_S = 2.0
"""For all of it."""
MAX_BYTES = 8 * 1024 * 1024
OURS = ("istio_", "remora_")
"""What begins so is what a sidecar measured. An application that says it would speak for others."""

_PIECE_BYTES = 1 << 16
_TEXT_ONLY = "text/plain;version=0.0.4"
_EITHER = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
_LABELS = r'\{(?:[^"\\]|"(?:[^"\\]|\\.)*")*\}'
_SAMPLE = re.compile(rf"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:{_LABELS})? +[^ ]+( +-?[0-9]+)? *\Z")
_OPEN_SAMPLE = re.compile(
    rf"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:{_LABELS})? [^ ]+( -?[0-9][0-9.e+-]*)?( # {_LABELS} [^ ]+( [0-9.e+-]+)?)?\Z"
)
_OUR_TYPE = re.compile(r"^# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) ", re.MULTILINE)
_COMMENT = re.compile(r"# (?:HELP|TYPE|UNIT) ([a-zA-Z_:][a-zA-Z0-9_:]*)")


class Unscrapable(Exception):
    """The application's metrics could not be had."""


class Scraped(NamedTuple):
    """What it answered."""

    text: str
    is_open: bool
    """OpenMetrics, and not the text format."""


class Fitted(NamedTuple):
    """What of it goes beside ours."""

    text: str
    left_out: int
    """Lines whose names are ours."""


def fetch(
    url: str,
    timeout_s: float = TIMEOUT_S,
    *,
    openmetrics_wanted: bool = False,
    monotonic: Callable[[], float] = SystemClock.monotonic,
) -> Scraped:
    """The answer of `url`. Blocks; raises Unscrapable. No proxies, no redirects: the URL is the operator's."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    deadline = monotonic() + timeout_s
    connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=timeout_s)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        accept = _EITHER if openmetrics_wanted else _TEXT_ONLY
        connection.request("GET", target, headers={"accept": accept, "accept-encoding": "identity"})
        response = connection.getresponse()
        if response.status != 200:
            raise Unscrapable(f"{url} answered {response.status}")
        is_open = response.headers.get_content_type() == openmetrics.MEDIA_TYPE
        if is_open and not openmetrics_wanted:
            raise Unscrapable(f"{url} answered in OpenMetrics though it was asked for the text format")
        body = bytearray()
        # The socket's time-out is for each piece; an application that sends one now and then is bounded here.
        while piece := response.read1(_PIECE_BYTES):
            body += piece
            if len(body) > MAX_BYTES:
                raise Unscrapable(f"{url} answered more than {MAX_BYTES} bytes")
            if monotonic() > deadline:
                raise Unscrapable(f"{url} was not done within {timeout_s:g} s")
        if response.length:
            raise Unscrapable(f"{url}: the answer was cut off")
    except (OSError, http.client.HTTPException) as error:
        raise Unscrapable(f"{url}: {type(error).__name__}: {error}") from error
    finally:
        connection.close()
    try:
        return Scraped(body.decode(), is_open)
    except UnicodeDecodeError as error:
        raise Unscrapable(f"{url} answered no UTF-8 text") from error


def fit(theirs: Scraped, ours: str) -> Fitted:
    """Their lines without the families that we have as well: Prometheus refuses a family given twice. `ours` may be in
    either format, or in both; theirs stays in its own. Raises Unscrapable if a line is no exposition, since it would
    spoil the whole answer."""
    taken = {match[1] for match in _OUR_TYPE.finditer(ours)}
    if theirs.is_open:
        taken |= {name.removesuffix("_total") for name in taken}
    pattern = _OPEN_SAMPLE if theirs.is_open else _SAMPLE
    kept: list[str] = []
    left_out = 0
    for line in theirs.text.splitlines():
        if line.startswith("#"):
            match = _COMMENT.match(line)
            if match is not None and not match[1].startswith(OURS) and not _families(match[1]) & taken:
                kept.append(line)
        elif line.strip():
            sample = pattern.match(line)
            if sample is None:
                raise Unscrapable(f"not a line of metrics: {line[:100]!r}")
            if sample[1].startswith(OURS) or _families(sample[1]) & taken:
                left_out += 1
            else:
                kept.append(line)
    return Fitted("".join(f"{line}\n" for line in kept), left_out)


def _families(sample: str) -> set[str]:
    """Names that a sample's family may have."""
    suffixes = ("_bucket", "_sum", "_count", "_total", "_created")
    return {sample, *(sample.removesuffix(suffix) for suffix in suffixes)}
