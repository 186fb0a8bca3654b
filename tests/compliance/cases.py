"""The table: bytes of a client, or of an upstream, and what has to become of them at our worker."""

from dataclasses import dataclass

from tests.compliance.outcome import Outcome
from tests.compliance.wire import ANSWER
from tests.sidecar.http.refused import REFUSED, START, chunked


@dataclass(frozen=True)
class Case:
    """One exchange. `answer`: what the upstream says to the first request."""

    name: str
    sent: bytes
    expected: Outcome
    answer: bytes = ANSWER
    closes: bool = False
    about_answer: bool = False
    reused: bool | None = None
    """Whether the next request may use the same upstream connection; None: not looked at."""


def refused(name: str, sent: bytes, status: int) -> Case:
    return Case(name, sent, Outcome((str(status),), (), "closed"))


def passed(name: str, sent: bytes, *forwarded: str, kept: bool = True) -> Case:
    return Case(name, sent, Outcome(("200",) * len(forwarded), forwarded, "kept" if kept else "closed"))


GET = b"GET / HTTP/1.1\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"

PASSED = [
    passed("a GET", START + b"\r\n", "GET a/"),
    passed(
        "three in a row",
        START + b"\r\n" + b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n" + b"GET /3 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET a/",
        "GET a/2",
        "GET a/3",
    ),
    passed(
        "a body and a request behind it",
        POST + b"Content-Length: 5\r\n\r\nhello" + START + b"\r\n",
        "POST a/ hello",
        "GET a/",
    ),
    passed(
        "chunks and a request behind them",
        chunked(b"5\r\nhello\r\n0\r\n\r\n") + START + b"\r\n",
        "POST a/ hello",
        "GET a/",
    ),
    passed(
        "Connection: close, and a request behind it",
        START + b"Connection: close\r\n\r\n" + START + b"\r\n",
        "GET a/",
        kept=False,
    ),
    passed("Connection: Close", START + b"Connection: Close\r\n\r\n", "GET a/", kept=False),
    passed("close in a list", START + b"Connection: x, close\r\n\r\n", "GET a/", kept=False),
    passed("Proxy-Connection: close", START + b"Proxy-Connection: close\r\n\r\n", "GET a/", kept=False),
    passed("keep-alive", START + b"Connection: keep-alive\r\nKeep-Alive: 5\r\n\r\n", "GET a/"),
    passed("HTTP/1.0", b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", "GET a/", kept=False),
    passed(
        "HTTP/1.0 with keep-alive", b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", "GET a/", kept=False
    ),
    passed(
        "HTTP/1.0 with a body",
        b"POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        "POST a/ hello",
        kept=False,
    ),
    passed("an empty line first", b"\r\n" + START + b"\r\n", "GET a/"),
    passed("a Host in capitals", GET + b"Host: A.Example:80\r\n\r\n", "GET a.example:80/"),
    passed("a Host with a port", GET + b"Host: a:65535\r\n\r\n", "GET a:65535/"),
    passed("an IPv6 Host", GET + b"Host: [::1]:80\r\n\r\n", "GET [::1]:80/"),
    passed("white space around Host", GET + b"Host: \t a \t\r\n\r\n", "GET a/"),
    passed("no white space before a value", GET + b"Host:a\r\nX:y\r\n\r\n", "GET a/ {x: y}"),
    passed("an empty value", START + b"X:\r\nY: \t \r\n\r\n", "GET a/ {x: ; y: }"),
    passed("a tab in a value", START + b"X: a\tb\r\n\r\n", "GET a/ {x: a\tb}"),
    passed("obs-text in a value", START + b"X: \xe4\xff\r\n\r\n", "GET a/ {x: \xe4\xff}"),
    passed(
        "every token character in a name", START + b"!#$%&'*+-.^_`|~09Az: b\r\n\r\n", "GET a/ {!#$%&'*+-.^_`|~09az: b}"
    ),
    passed("an underscore in a name", START + b"a_b: c\r\n\r\n", "GET a/ {a_b: c}"),
    passed("a field twice", START + b"X: 1\r\nX: 2\r\n\r\n", "GET a/ {x: 1; x: 2}"),
    passed("an absolute target", b"GET http://b/c?d HTTP/1.1\r\nHost: a\r\n\r\n", "GET b/c?d"),
    passed("an absolute target without a path", b"GET http://b HTTP/1.1\r\nHost: a\r\n\r\n", "GET b/"),
    passed("an absolute target with a query only", b"GET http://b?c HTTP/1.1\r\nHost: a\r\n\r\n", "GET b/?c"),
    passed("an absolute target in capitals", b"GET HTTP://B/C HTTP/1.1\r\nHost: a\r\n\r\n", "GET b/C"),
    passed("an absolute target with a port", b"GET http://b:8080/ HTTP/1.1\r\nHost: a\r\n\r\n", "GET b:8080/"),
    passed("OPTIONS *", b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS a*"),
    passed("two slashes", b"GET //b HTTP/1.1\r\nHost: a\r\n\r\n", "GET a//b"),
    passed("dot segments", b"GET /b/../c/./d HTTP/1.1\r\nHost: a\r\n\r\n", "GET a/c/d"),
    passed("dot segments above the root", b"GET /../../c HTTP/1.1\r\nHost: a\r\n\r\n", "GET a/c"),
    passed("escaped dot segments", b"GET /b/%2e%2E/c HTTP/1.1\r\nHost: a\r\n\r\n", "GET a/c"),
    passed("a backslash", b"GET /b\\c HTTP/1.1\r\nHost: a\r\n\r\n", "GET a/b/c"),
    passed("an escaped slash", b"GET /b%2Fc HTTP/1.1\r\nHost: a\r\n\r\n", "GET a/b%2Fc"),
    passed("an escaped letter", b"GET /%61dmin HTTP/1.1\r\nHost: a\r\n\r\n", "GET a/admin"),
    passed("an escape of an escape", b"GET /%252f HTTP/1.1\r\nHost: a\r\n\r\n", "GET a/%252f"),
    passed("dots in a query", b"GET /b?c=/../d HTTP/1.1\r\nHost: a\r\n\r\n", "GET a/b?c=/../d"),
    passed("a parameter in a path", b"GET /b;c=d/e HTTP/1.1\r\nHost: a\r\n\r\n", "GET a/b;c=d/e"),
    passed(
        "a target of quotation marks and brackets",
        b'GET /"<>[]^`{|} HTTP/1.1\r\nHost: a\r\n\r\n',
        "GET a/%22%3C%3E[]%5E%60%7B%7C%7D",
    ),
    passed("a path of two slashes and dots", b"GET //b/..//c HTTP/1.1\r\nHost: a\r\n\r\n", "GET a///c"),
    passed("an escaped backslash", b"GET /b%5C..%5Cc HTTP/1.1\r\nHost: a\r\n\r\n", "GET a/b%5C..%5Cc"),
    passed("an escape that is none", b"GET /b%zz%2 HTTP/1.1\r\nHost: a\r\n\r\n", "GET a/b%zz%2"),
    passed("overlong UTF-8", b"GET /%c0%ae%c0%ae/b HTTP/1.1\r\nHost: a\r\n\r\n", "GET a/%c0%ae%c0%ae/b"),
    passed("an escaped question mark", b"GET /b%3Fc HTTP/1.1\r\nHost: a\r\n\r\n", "GET a/b%3Fc"),
    passed("a GET with a body", START + b"Content-Length: 5\r\n\r\nhello", "GET a/ hello"),
    passed("a length of zero", POST + b"Content-Length: 0\r\n\r\n", "POST a/"),
    passed("a POST without a length", POST + b"\r\n" + START + b"\r\n", "POST a/", "GET a/"),
    passed("white space around a length", POST + b"Content-Length: \t 5 \t\r\n\r\nhello", "POST a/ hello"),
    passed("Chunked in capitals", POST + b"Transfer-Encoding: CHUNKED\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "POST a/ hello"),
    passed(
        "white space around chunked",
        POST + b"Transfer-Encoding: \t chunked \t\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "POST a/ hello",
    ),
    passed("no chunk but the last", chunked(b"0\r\n\r\n"), "POST a/"),
    passed("a last chunk of several zeros", chunked(b"5\r\nhello\r\n000\r\n\r\n"), "POST a/ hello"),
    passed("a chunk size with zeros in front", chunked(b"0005\r\nhello\r\n0\r\n\r\n"), "POST a/ hello"),
    passed("a chunk size in capitals", chunked(b"A\r\nhello56789\r\n0\r\n\r\n"), "POST a/ hello56789"),
    passed("chunk extensions", chunked(b'5;a=b;c="d e"\r\nhello\r\n0;last\r\n\r\n'), "POST a/ hello"),
    passed(
        "trailers that must not be",
        chunked(b"0\r\nHost: b\r\nAuthorization: c\r\nTE: d\r\nConnection: e\r\n\r\n"),
        "POST a/",
    ),
    passed(
        "fields of the hop",
        START + b"TE: trailers\r\nTrailer: x\r\nKeep-Alive: 5\r\nProxy-Authorization: z\r\n\r\n",
        "GET a/",
    ),
    passed("what Connection names", START + b"Connection: x-gone\r\nX-Gone: 1\r\nX: y\r\n\r\n", "GET a/ {x: y}"),
    passed(
        "h2c is not spoken",
        START + b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: x\r\n\r\n",
        "GET a/",
    ),
    passed("an upgrade that Connection does not name", START + b"Upgrade: websocket\r\n\r\n", "GET a/"),
    passed("DELETE", b"DELETE /x HTTP/1.1\r\nHost: a\r\n\r\n", "DELETE a/x"),
    passed("PROPFIND", b"PROPFIND /x HTTP/1.1\r\nHost: a\r\n\r\n", "PROPFIND a/x"),
    passed("TRACE", b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", "TRACE a/"),
    passed(
        "a request in a body",
        POST + b"Content-Length: 28\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST a/ GET /x HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    Case(
        "trailers",
        chunked(b"5\r\nhello\r\n0\r\nX-Checksum: 1\r\n\r\n"),
        Outcome(("200",), ("POST a/ hello +{x-checksum: 1}",), "kept"),
    ),
    Case(
        "Expect: 100-continue",
        POST + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
        Outcome(("100", "200"), ("POST a/ {expect: 100-continue} hello",), "kept"),
    ),
    Case(
        "HEAD",
        b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
        Outcome(("200",), ("HEAD a/",), "kept"),
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    ),
    Case("a head that does not end", START + b"X: y\r\n", Outcome((), (), "waits")),
    Case("a body that does not end", POST + b"Content-Length: 9\r\n\r\nhello", Outcome((), (), "waits")),
]

OK = b"HTTP/1.1 200 OK\r\n"


def answered(
    name: str,
    answer: bytes,
    *statuses: str,
    connection: str = "kept",
    reused: bool | None = None,
    closes: bool = False,
    method: bytes = b"GET",
) -> Case:
    """An upstream's answer to a plain request."""
    sent = method + b" / HTTP/1.1\r\nHost: a\r\n\r\n"
    outcome = Outcome(statuses, (f"{method.decode()} a/",), connection)
    return Case(name, sent, outcome, answer, closes, about_answer=True, reused=reused)


ANSWERED = [
    answered("an answer", ANSWER, "200 ok", reused=True),
    answered(
        "an answer in chunks", OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "200 ok", reused=True
    ),
    answered(
        "an answer in chunks with extensions",
        OK + b"Transfer-Encoding: chunked\r\n\r\n2;a=b\r\nok\r\n0;c\r\n\r\n",
        "200 ok",
        reused=True,
    ),
    answered("an answer that ends with the connection", OK + b"\r\nok", "200 ok", closes=True, reused=False),
    answered("an answer that closes", OK + b"Content-Length: 2\r\nConnection: close\r\n\r\nok", "200 ok", reused=False),
    answered("an answer in HTTP/1.0", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "200 ok", reused=False),
    answered("an answer without a reason", b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", "200 ok"),
    answered("an answer with an empty reason", b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok", "200 ok"),
    answered(
        "an informational answer first",
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + ANSWER,
        "103",
        "200 ok",
        reused=True,
    ),
    answered("16 informational answers", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 16 + ANSWER, *["103"] * 16, "200 ok"),
    answered(
        "17 informational answers",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 17 + ANSWER,
        *["103"] * 16,
        "502",
        reused=False,
    ),
    answered("204", b"HTTP/1.1 204 No Content\r\n\r\n", "204", reused=True),
    answered("204 with a body", b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok", "204", reused=False),
    answered("304 with a length", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n", "304", reused=True),
    answered("304 with a body", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\nok", "304", reused=False),
    answered("HEAD with a length", OK + b"Content-Length: 2\r\n\r\n", "200", method=b"HEAD", reused=True),
    answered("HEAD with a body", ANSWER, "200", method=b"HEAD", reused=False),
    answered("more than the length", ANSWER + b"more", "200 ok", reused=False),
    answered("two answers", ANSWER + ANSWER, "200 ok", reused=False),
    answered("less than the length", OK + b"Content-Length: 9\r\n\r\nok", "200 ok", connection="cut", closes=True),
    answered(
        "chunks without end",
        OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
        "200 ok",
        connection="cut",
        closes=True,
    ),
    answered("no answer", b"", "503", closes=True),
    answered("half a head", b"HTTP/1.1 200 OK\r\nA: b", "503", closes=True),
    answered("garbage", b"garbage\r\n\r\n", "502"),
    answered("an answer in HTTP/2's name", b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "502"),
    answered("an answer in HTTP/1.2", b"HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nok", "502"),
    answered("ICY", b"ICY 200 OK\r\nContent-Length: 2\r\n\r\nok", "502"),
    answered("a status of two digits", b"HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok", "502"),
    answered("a status of four digits", b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok", "502"),
    answered("status 600", b"HTTP/1.1 600 OK\r\nContent-Length: 2\r\n\r\nok", "502"),
    answered(
        "101 that nobody asked for",
        b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        "502",
    ),
    answered("two equal lengths", OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok", "502"),
    answered("two lengths", OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok", "502"),
    answered(
        "an answer with length and chunks",
        OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "502",
    ),
    answered("an answer's length with a plus", OK + b"Content-Length: +2\r\n\r\nok", "502"),
    answered("an answer in another coding", OK + b"Transfer-Encoding: gzip\r\n\r\nok", "502", closes=True),
    answered(
        "an answer chunked behind gzip", OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "502"
    ),
    answered("chunks in HTTP/1.0", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "502"),
    answered("an answer with a bare LF", OK + b"A: b\nContent-Length: 2\r\n\r\nok", "502"),
    answered("an answer's folded line", OK + b"A: b\r\n c\r\nContent-Length: 2\r\n\r\nok", "502"),
    answered("an answer with a NUL", OK + b"A: b\x00\r\nContent-Length: 2\r\n\r\nok", "502"),
    answered("an answer with a space before the colon", OK + b"Content-Length : 2\r\n\r\nok", "502"),
    answered("an answer with an empty line first", b"\r\n" + ANSWER, "502"),
    answered("101 fields in an answer", OK + b"A: b\r\n" * 100 + b"Content-Length: 2\r\n\r\nok", "502"),
    answered(
        "62 KiB of fields in an answer", OK + b"A: " + b"b" * 62 * 1024 + b"\r\nContent-Length: 2\r\n\r\nok", "502"
    ),
]

REQUESTS = [*PASSED, *(refused(name, sent, status) for name, (status, sent) in REFUSED.items())]
CASES = [*REQUESTS, *ANSWERED]
