"""The application's own metrics, fetched and fitted into our answer. It may be slow, wrong or down: ours go out."""

import http.client
import re
from urllib.parse import urlsplit

TIMEOUT_S = 2.0
MAX_BYTES = 8 * 1024 * 1024

_SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[^"\\]|"(?:[^"\\]|\\.)*")*\})? +[^ ]+( +-?[0-9]+)?\Z')
_COMMENT = re.compile(r"# (?:HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*)")


class Unscrapable(Exception):
    """The application's metrics could not be had."""


def fetch(url: str, timeout_s: float = TIMEOUT_S) -> str:
    """The text at `url`. Blocks; raises Unscrapable. No proxies, no redirects: the URL is the operator's."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=timeout_s)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", target, headers={"accept": "text/plain;version=0.0.4", "accept-encoding": "identity"})
        response = connection.getresponse()
        if response.status != 200:
            raise Unscrapable(f"{url} answered {response.status}")
        body = response.read(MAX_BYTES + 1)
    except (OSError, http.client.HTTPException) as error:
        raise Unscrapable(f"{url}: {type(error).__name__}: {error}") from error
    finally:
        connection.close()
    if len(body) > MAX_BYTES:
        raise Unscrapable(f"{url} answered more than {MAX_BYTES} bytes")
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise Unscrapable(f"{url} answered no UTF-8 text") from error


def fit(theirs: str, ours: str) -> str:
    """Their lines without the families that we have as well: Prometheus refuses a family given twice. Raises
    Unscrapable if a line is no exposition, since it would spoil the whole answer."""
    taken = {match[1] for line in ours.splitlines() if (match := _COMMENT.match(line))}
    kept: list[str] = []
    for line in theirs.splitlines():
        if line.startswith("#"):
            match = _COMMENT.match(line)
            if match is not None and match[1] not in taken:
                kept.append(line)
        elif line.strip():
            sample = _SAMPLE.match(line)
            if sample is None:
                raise Unscrapable(f"not a line of metrics: {line[:100]!r}")
            if not _families(sample[1]) & taken:
                kept.append(line)
    return "".join(f"{line}\n" for line in kept)


def _families(sample: str) -> set[str]:
    """Names that a sample's family may have."""
    suffixes = ("_bucket", "_sum", "_count", "_total", "_created")
    return {sample, *(sample.removesuffix(suffix) for suffix in suffixes)}
