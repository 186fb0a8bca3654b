"""The lines of an HTTP/1.1 head: a strict grammar, and a memory of field lines so that what repeats is read once.

RFC 9112 2 to 5 and RFC 9110 5, without what the RFCs let a recipient repair: no bare CR or LF, no obs-fold, no white
space around names, exactly one space between the parts of a start line.
"""

import re
from typing import Any, Final

from sidecar.http import fields
from sidecar.http.errors import ProtocolError
from sidecar.http.head import Header
from sidecar.http.octets import FIELD_VALUE, blank_at_an_end, made_of

CODEC_ERROR: Final = "http1.codec_error"

MAX_TARGET_BYTES: Final = 16 * 1024
"""A longer request target is answered 414."""

METHODS: Final = frozenset(
    b"GET POST PUT DELETE HEAD OPTIONS PATCH TRACE CONNECT ACL BIND CHECKOUT COPY LINK LOCK M-SEARCH MERGE MKACTIVITY"
    b" MKCALENDAR MKCOL MOVE NOTIFY PROPFIND PROPPATCH PURGE QUERY REBIND REPORT SEARCH SUBSCRIBE UNBIND UNLINK UNLOCK"
    b" UNSUBSCRIBE".split()
)
"""Registered methods, as Envoy takes them; any other is malformed."""

# Lines are matched with their CR, without their LF: heads are cut at LF, which is one search for one byte.
usual_request_line: Final = re.compile(rb"([A-Z-]+) (/[!$&-;=?-[\]_a-z~]*) HTTP/1\.1\r").fullmatch
"""Method and target, of a request in origin-form without escapes, fragment or characters that no URL may have."""

request_line: Final = re.compile(rb"([A-Z-]+) ([!-~]+) HTTP/1\.([01])\r").fullmatch
"""Method, target, minor version."""

request_line_begins: Final = re.compile(rb"[A-Z-]{0,16}|[A-Z-]{1,16} [!-~]*(?: [HTP/1.0]{0,8}\r?)?").fullmatch
"""Whether this may become a request line: what never can is not waited for."""

status_line: Final = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: [\t -~\x80-\xff]*)?\r").fullmatch
"""Minor version, status. The reason and the space before it may be missing, as many servers have it."""

_token: Final = re.compile(rb"[!#-'*+.^_`|~0-9A-Za-z-]+").fullmatch
_digits: Final = re.compile(rb"0|[1-9][0-9]{0,17}").fullmatch

_CR: Final = 13
_SPACE: Final = 32

PLAIN: Final = 0
"""Goes into the head's list as it is."""
OURS: Final = 1
"""Belongs into `RequestHead.ours`."""
HOST: Final = 2
LENGTH: Final = 3
"""Content-Length; `number` is it."""
DATE: Final = 4
HOP: Final = 5
"""Anything else that the codec answers for."""
DROPPED: Final = 6


class Special:
    """A field that does not simply go into the head's list."""

    __slots__ = ("header", "kind", "name", "number", "value")

    def __init__(self, kind: int, header: Header, number: int) -> None:
        self.kind = kind
        self.header = header
        self.name = header[0]
        self.value = header[1]
        self.number = number


class Name:
    """A field's name as it was spelled -> what to do with it."""

    __slots__ = ("keep", "kind", "name")

    def __init__(self, name: bytes, kind: int, *, keep: bool) -> None:
        self.name = name
        self.kind = kind
        self.keep = keep
        """Lines with it are worth remembering."""


MEMORY_LINES: Final = 512
"""Lines in each of the memory's two generations, and spellings of names: at most 0.5 MB for a process."""

MEMORY_LINE_BYTES: Final = 192
"""Longer lines are read anew each time."""

# Credentials are not kept, and what differs in each request would push out what does not.
_UNKEPT: Final = re.compile(
    rb"auth|cookie|token|secret|key|session|signature|traceparent|tracestate|b3|request-id"
).search


class FieldReader:
    """Field lines -> what they say. A pure function with a memory: most lines of a connection were there before.

    Two generations: what is asked for again moves on, so that a flood of lines that never repeat pushes out little.
    """

    __slots__ = ("_kinds", "_names", "_old", "young")

    def __init__(self, kinds: dict[bytes, int]) -> None:
        self._kinds = kinds
        self._names: dict[bytes, Name] = {}
        # Values are Header or Special. Any: compiled code would take a typed tuple apart and put it together again.
        self.young: dict[bytes, Any] = {}
        self._old: dict[bytes, Any] = {}

    def read(self, line: bytes) -> Any:
        """A Header or a Special, of a line that is not in `young`: with its CR, without its LF. Raises ProtocolError
        (400)."""
        field = self._old.get(line)
        if field is None:
            colon = line.find(b":")
            last = len(line) - 1
            if colon < 0 or line[last] != _CR:
                raise ProtocolError(400, CODEC_ERROR, "a malformed header field")
            spelled = line[:colon]
            name = self._names.get(spelled)
            if name is None:
                name = self._learn(spelled)
            value = line[colon + 2 : last] if line[colon + 1] == _SPACE else line[colon + 1 : last]
            if not made_of(FIELD_VALUE, value):
                raise ProtocolError(400, CODEC_ERROR, "a control character in a header field")
            field = _field(name, value.strip() if blank_at_an_end(value) else value)
            if not name.keep or len(line) > MEMORY_LINE_BYTES:
                return field
        young = self.young
        if len(young) >= MEMORY_LINES:
            self._old = young
            young = self.young = {}
        young[line] = field
        return field

    def _learn(self, spelled: bytes) -> Name:
        if _token(spelled) is None:
            raise ProtocolError(400, CODEC_ERROR, "a malformed header field")
        lower = spelled.lower()
        name = Name(lower, self._kinds.get(lower, PLAIN), keep=_UNKEPT(lower) is None)
        if len(self._names) < MEMORY_LINES and len(spelled) <= MEMORY_LINE_BYTES:
            self._names[spelled] = name
        return name


def _field(name: Name, value: bytes) -> Any:
    kind = name.kind
    header = (name.name, value)
    if kind == PLAIN:
        return header
    if kind == HOST:
        return Special(kind, (name.name, fields.authority(value)), 0)
    if kind == LENGTH:
        if _digits(value) is None:
            raise ProtocolError(400, CODEC_ERROR, "a Content-Length that is not one number")
        return Special(kind, header, int(value))
    return Special(kind, header, 0)


REQUEST_FIELDS: Final = FieldReader(
    {
        **dict.fromkeys(fields.HOP, HOP),
        **dict.fromkeys(fields.OURS, OURS),
        b"host": HOST,
        b"content-length": LENGTH,
    }
)

RESPONSE_FIELDS: Final = FieldReader(
    {
        **dict.fromkeys(fields.RESPONSE_SPECIAL, DROPPED),
        b"content-length": LENGTH,
        b"date": DATE,
        b"connection": HOP,
        b"keep-alive": HOP,
        b"transfer-encoding": HOP,
        b"upgrade": HOP,
    }
)
