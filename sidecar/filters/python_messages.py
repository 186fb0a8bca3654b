"""Requests and answers as filters written in Python see them, and the replies that they give: all checked here.

Whatever is wrong raises where the filter says it, and so fails as the filter's exceptions do.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sidecar.filters import chain
from sidecar.filters.python_headers import REQUEST_PROTECTED, RESPONSE_PROTECTED, Headers
from sidecar.http import paths
from sidecar.http.head import Header, RequestHead, ResponseHead
from sidecar.telemetry.record import RequestRecord

MAX_REPLY_BYTES: Final = 1024 * 1024
LEAST_BODY_BYTES: Final = 1024 * 1024
"""A body that a filter makes may have so many bytes, or as many as it may be shown, if those are more."""

_TARGET = re.compile(rb"/[\x21-\x22\x24-\x7e]*\Z")


class BodyTooLarge(ValueError):
    """A filter made a body that is longer than it may be."""


@dataclass(frozen=True, slots=True)
class LocalReply:
    """An answer of the filter's own; the request goes no further."""

    status: int = 403
    body: str | bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    details: str = ""
    """For the access log's `response_code_details`: letters, digits, `_`."""

    def __post_init__(self) -> None:
        if type(self.status) is not int or not 200 <= self.status <= 599:
            raise ValueError(f"{self.status!r} is no status of an answer; write 200 to 599")
        if not isinstance(self.body, str | bytes):
            raise TypeError(f"a reply's body is text or bytes, not {type(self.body).__name__}")
        if len(self.body) > MAX_REPLY_BYTES:
            raise ValueError(f"a reply's body is longer than {MAX_REPLY_BYTES} bytes")
        if not re.fullmatch(r"[A-Za-z0-9_]{0,64}", self.details):
            raise ValueError(f"{self.details[:100]!r}: details are letters, digits and _, at most 64")


def render_reply(reply: LocalReply, name: str) -> chain.LocalReply:
    """As the chain takes it. Raises ValueError for a header that can not be."""
    fields: list[Header] = []
    headers = Headers(fields, RESPONSE_PROTECTED)
    for key, value in reply.headers.items():
        headers.add(key, value)
    body = reply.body.encode() if isinstance(reply.body, str) else reply.body
    if reply.status in (204, 304):
        body = b""
    details = reply.details or "python_filter_reply"
    return chain.LocalReply(reply.status, body, details=f"{details}{{{name}}}", headers=fields)


class _Message:
    """What may be changed of a request and of an answer alike, and until when."""

    __slots__ = ("_body", "_most", "headers")

    _name = ""
    _body_hook = ""

    def __init__(self, headers: Headers) -> None:
        self.headers = headers
        self._most: int | None = None
        self._body: bytes | None = None

    def set_body(self, body: bytes) -> None:
        """Another body instead; only in `on_request_body` or `on_response_body`. Raises BodyTooLarge for one beyond a
        mebibyte, or beyond the rule's `maxBodyBytes` where that is more."""
        if self._most is None:
            raise RuntimeError(f"the body can be replaced in {self._body_hook} only")
        self._check_open()
        self._body = _checked_body(body, self._most)

    def _check_open(self) -> None:
        if not self.headers._open:
            raise RuntimeError(f"the {self._name} has gone on; it can not be changed any more")

    def open_body(self, shown_bytes: int) -> None:
        """The filter's hook for the body comes now, which may be shown so many bytes."""
        self._most = max(shown_bytes, LEAST_BODY_BYTES)

    def new_body(self) -> bytes | None:
        """What the filter put in the body's place."""
        return self._body

    def close(self) -> None:
        """No more changes."""
        self.headers.close()


class Request(_Message):
    """A request on its way upstream. Everything but `headers`, `path`, `query`, `metadata` and the body is as it is."""

    __slots__ = ("_head", "_record", "_rewritten")

    _name = "request"
    _body_hook = "on_request_body"

    def __init__(self, head: RequestHead, record: RequestRecord, *, rewritten: bool) -> None:
        super().__init__(Headers(head.headers, REQUEST_PROTECTED))
        self._head = head
        self._record = record
        self._rewritten = rewritten

    @property
    def method(self) -> str:
        return self._head.method.decode("latin-1")

    @property
    def scheme(self) -> str:
        """`http` or `https`."""
        return self._head.scheme.decode("latin-1")

    @property
    def authority(self) -> str:
        """Host and port as the client wrote them, in lower case."""
        return self._record.authority.decode("latin-1")

    @property
    def host(self) -> str:
        """The authority without its port."""
        return host_of(self._record.authority).decode("latin-1")

    @property
    def version(self) -> str:
        """As the client spoke it: `HTTP/1.1` or `HTTP/2`."""
        return self._head.version

    @property
    def path(self) -> str:
        """Without the query. It may be changed before the request goes on, but the route is chosen already."""
        return self._head.target.partition(b"?")[0].decode("latin-1")

    @path.setter
    def path(self, path: str) -> None:
        if "?" in path:
            raise ValueError("a path has no query; set `query`")
        query = self._head.target.partition(b"?")[2]
        self._retarget(path.encode("ascii") + (b"?" + query if query else b""))

    @property
    def query(self) -> str:
        """What follows the `?`; empty where there is none."""
        return self._head.target.partition(b"?")[2].decode("latin-1")

    @query.setter
    def query(self, query: str) -> None:
        path = self._head.target.partition(b"?")[0]
        self._retarget(path + (b"?" + query.encode("ascii") if query else b""))

    def _retarget(self, target: bytes) -> None:
        self._check_open()
        if self._rewritten:
            raise ValueError("this route rewrites paths; a filter can not change them as well")
        if not _TARGET.match(target) or len(target) > 8192:
            raise ValueError("a path begins with / and has neither spaces, controls, # nor characters beyond ASCII")
        # As the route and the policy were: dots and escapes are resolved before anybody looks at it.
        self._head.target = paths.normalize(target) if paths.is_odd(target) else target

    @property
    def peer(self) -> str | None:
        """The SPIFFE id that the client's certificate proved; None: no mutual TLS."""
        return self._record.downstream.principal

    @property
    def remote(self) -> str:
        """`HOST:PORT` of the client's end of the connection."""
        return self._record.downstream.remote

    @property
    def direction(self) -> str:
        """`inbound`, `outbound` or `gateway`."""
        return self._record.downstream.direction.value

    @property
    def route(self) -> str:
        """The name of the route that took the request."""
        return self._record.target.route if self._record.target is not None else ""

    @property
    def cluster(self) -> str | None:
        """Where the request goes. None before that is drawn by weight, which comes after the filters."""
        return self._record.target.cluster if self._record.target is not None else None

    @property
    def request_id(self) -> str:
        return self._record.request_id.decode("latin-1")

    @property
    def trace_id(self) -> str | None:
        """32 hexadecimal digits."""
        trace = self._record.trace
        return None if trace is None else trace.trace_id.decode("ascii")

    @property
    def metadata(self) -> dict[str, Any]:
        """Shared with the filters behind this one and with the answer's hooks. Texts, numbers and truth values are
        written to the access log as `filter_metadata`."""
        notes = self._record.metadata
        if notes is None:
            notes = self._record.metadata = {}
        return notes

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.authority} {self.path}>"


class Response(_Message):
    """An answer on its way to the client."""

    __slots__ = ("_head", "_record")

    _name = "answer"
    _body_hook = "on_response_body"

    def __init__(self, head: ResponseHead, record: RequestRecord) -> None:
        super().__init__(Headers(head.headers, RESPONSE_PROTECTED))
        self._head = head
        self._record = record

    @property
    def status(self) -> int:
        return self._head.status

    @status.setter
    def status(self, status: int) -> None:
        self._check_open()
        if type(status) is not int or not 200 <= status <= 599:
            raise ValueError(f"{status!r} is no status of an answer; write 200 to 599")
        if self._head.upgrade is not None:
            raise ValueError("the protocol was switched; the status stays 101")
        self._head.status = status

    @property
    def from_upstream(self) -> bool:
        """False: a reply of the proxy's or of a filter's."""
        return self._record.details == "via_upstream"

    @property
    def upstream(self) -> str | None:
        """`HOST:PORT` of the endpoint that answered."""
        return None if self._record.upstream is None else self._record.upstream.address

    def __repr__(self) -> str:
        return f"<Response {self.status}>"


def host_of(authority: bytes) -> bytes:
    """Without the port."""
    name, colon, port = authority.rpartition(b":")
    return name if colon and port.isdigit() else authority


def _checked_body(body: bytes, most: int) -> bytes:
    if not isinstance(body, bytes):
        raise TypeError(f"a body is bytes, not {type(body).__name__}")
    # A subclass could say another length than it has, and so frame what follows anew.
    size = memoryview(body).nbytes
    if size > most:
        raise BodyTooLarge(f"a body of {size} bytes; at most {most} are allowed (the rule's maxBodyBytes)")
    return body if type(body) is bytes else memoryview(body).tobytes()
