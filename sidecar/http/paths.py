"""The one spelling of a path, decided before anybody looks at it: route, policy, log and upstream see the same.

Istio's default, Envoy's `normalize_path` (RFC 3986 6.2.2): dot segments go, a backslash is a slash, escapes of
unreserved characters are undone, characters that no URL may have are escaped. Repeated slashes and `%2f` stay:
applications tell them apart.
"""

import re
from typing import Final

from sidecar.http.errors import ProtocolError

_ESCAPE: Final = re.compile(rb"%([0-9a-fA-F]{2})")
_UNRESERVED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")

_NO_URL: Final = re.compile(rb'["<>^`{|}]')
_odd: Final = re.compile(rb'/\.|[%\\"<>^`{|}]').search


def is_odd(target: bytes) -> bool:
    """Whether `normalize` might change `target`. Cheap: it runs for every request."""
    return _odd(target) is not None


def normalize(target: bytes) -> bytes:
    """Origin-form in, origin-form out; the query is left alone. Raises ProtocolError (400) for an escaped NUL."""
    path, mark, query = target.partition(b"?")
    if not is_odd(path):
        return target
    path = _ESCAPE.sub(_unescape, path).replace(b"\\", b"/")
    path = _NO_URL.sub(_escape, path)
    return _without_dots(path) + mark + query


def _unescape(match: re.Match[bytes]) -> bytes:
    byte = int(match[1], 16)
    if byte == 0:
        raise ProtocolError(400, "path_normalization_failed", "the path has an escaped NUL")
    return bytes((byte,)) if byte in _UNRESERVED else match[0]


def _escape(match: re.Match[bytes]) -> bytes:
    return b"%%%02X" % ord(match[0])


def _without_dots(path: bytes) -> bytes:
    """RFC 3986 5.2.4; what would climb above the root stays at it."""
    kept: list[bytes] = []
    segments = path.split(b"/")[1:]
    for segment in segments:
        if segment == b"..":
            if kept:
                kept.pop()
        elif segment != b".":
            kept.append(segment)
    if segments[-1] in (b".", b".."):
        kept.append(b"")
    return b"/" + b"/".join(kept)
