"""One GET as the kubelet does it for a probe: what counts as an answer, which redirects are followed, what is sent.

After k8s.io/kubernetes/pkg/probe/http: certificates are not verified, nothing is proxied, no connection is kept, a
redirect is followed within the same host at most ten times, and an answer counts once its body, or 10 KiB of it, came.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from urllib.parse import SplitResult, quote, urljoin, urlsplit

import httptools

from sidecar.agent.probe_failure import ProbeFailed
from sidecar.pod import HttpGet

MAX_REDIRECTS = 10
MAX_BODY_BYTES = 10 * 1024
MAX_HEAD_BYTES = 64 * 1024
_PIECE_BYTES = 16 * 1024
_FOLLOWED = frozenset({301, 302, 303, 307, 308})
_PATH = "/%:@!$&'()*+,;=~-._"
_QUERY = _PATH + "?"

Dial = Callable[[str, int, ssl.SSLContext | None], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
"""(host, port, TLS or none) -> a connection. Raises OSError."""


class Answer:
    """What httptools calls while an answer is read."""

    def __init__(self) -> None:
        self.status = 0
        self.location = ""
        self.done = False
        self._parser = httptools.HttpResponseParser(self)
        self._seen = 0
        self._body = 0
        self._headed = False

    def feed(self, data: bytes) -> None:
        """Raises ProbeFailed."""
        self._seen += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.done = True
        except httptools.HttpParserError as error:
            raise ProbeFailed(f"the answer is no HTTP: {error}") from error
        if not self._headed and self._seen > MAX_HEAD_BYTES:
            raise ProbeFailed(f"the answer's head is longer than {MAX_HEAD_BYTES} bytes")
        if self._body >= MAX_BODY_BYTES:
            self.done = True

    def ended(self) -> None:
        """The application has closed. Raises ProbeFailed unless that is the answer's end."""
        if not self.done and (not self._headed or self._framed):
            raise ProbeFailed("the connection was closed before the answer was whole")

    _framed = False

    def on_header(self, name: bytes, value: bytes) -> None:
        lower = name.lower()
        if lower == b"location" and not self.location:
            self.location = value.decode("latin-1")
        elif lower in (b"content-length", b"transfer-encoding"):
            self._framed = True

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self._headed = self.status >= 200

    def on_body(self, body: bytes) -> None:
        self._body += len(body)

    def on_message_complete(self) -> None:
        if self._headed:
            self.done = True
        else:
            self.location, self._framed = "", False  # an interim answer; another follows


def insecure_tls() -> ssl.SSLContext:
    """As the kubelet's client: a probe asks whether the application answers, not who it is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("DEFAULT:@SECLEVEL=1")
    context.set_alpn_protocols(["http/1.1"])
    return context


async def get(action: HttpGet, address: str, agent: str, dial: Dial) -> int:
    """The answer's status; `address` is the pod's. Raises ProbeFailed, OSError. The caller bounds the time."""
    scheme = "https" if action.https else "http"
    host = action.host or address
    url = urlsplit(f"{scheme}://{_in_url(host)}:{action.port}{action.path}")
    headers = [(name, value) for name, value in action.headers if name.lower() != "host"]
    named = next((value for name, value in action.headers if name.lower() == "host" and value), None)
    known = {name.lower() for name, _ in headers}
    if "user-agent" not in known:
        headers.append(("User-Agent", agent))
    if "accept" not in known:
        headers.append(("Accept", "*/*"))
    # Accept given empty means that none is wanted.
    headers = [(name, value) for name, value in headers if value or name.lower() != "accept"]
    for _ in range(MAX_REDIRECTS):
        answer = await _exchange(url, named or url.netloc, headers, dial)
        if answer.status not in _FOLLOWED or not answer.location:
            return answer.status
        target = urlsplit(urljoin(url.geturl(), answer.location))
        if target.scheme not in ("http", "https") or target.hostname != url.hostname:
            return answer.status  # elsewhere: the kubelet is content
        # Go keeps the Host that was asked for only as long as the redirect names none.
        named = named if not urlsplit(answer.location).netloc else None
        url = target
    raise ProbeFailed(f"stopped after {MAX_REDIRECTS} redirects")


async def _exchange(url: SplitResult, host: str, headers: list[tuple[str, str]], dial: Dial) -> Answer:
    assert url.hostname is not None
    try:
        port = url.port or (443 if url.scheme == "https" else 80)
    except ValueError as error:
        raise ProbeFailed(f"it redirects to a port that is none: {error}") from error
    target = quote(url.path or "/", safe=_PATH)
    if url.query:
        target += f"?{quote(url.query, safe=_QUERY)}"
    lines = [f"GET {target} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers)]
    reader, writer = await dial(url.hostname, port, insecure_tls() if url.scheme == "https" else None)
    try:
        writer.write("\r\n".join([*lines, "Connection: close", "", ""]).encode("utf-8", "replace"))
        answer = Answer()
        while not answer.done:
            data = await reader.read(_PIECE_BYTES)
            if not data:
                answer.ended()
                break
            answer.feed(data)
        return answer
    finally:
        writer.transport.abort()


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
