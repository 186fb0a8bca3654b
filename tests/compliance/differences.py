"""Where a real Envoy and we part, and why. Cases by name, grouped by reason; rendered into docs/http.md."""

from collections.abc import Mapping

from tests.compliance.outcome import Outcome

_LINES = (
    "A line ends in CR LF. RFC 9112 2.2 lets a recipient take a bare LF for an end and bids it refuse or replace a"
    " bare CR: two proxies that choose differently see different requests."
)
_FOLDED = "RFC 9112 5.2: a server refuses a folded line or unfolds it; we refuse."
_START = "RFC 9112 3: one space between the parts of a request line, and nothing else. Repair is where readers differ."
_VERSION = "A version that we do not speak is refused, not read as if it were HTTP/1.1."
_HOST = "RFC 9112 3.2: an invalid, missing or repeated Host is answered 400; by it the mesh routes and authorizes."
_CODING = "RFC 9112 6.3: where chunked is not the last and only one, the length is unknown: 400, a mistake, not a lack."
_OLD_CODING = "RFC 9112 6.1: Transfer-Encoding in an HTTP/1.0 message means that its framing is faulty."
_LENGTH = "Leading zeros are octal to some readers; more than 18 digits overflow others."
_CHUNK = (
    "RFC 9112 7.1: a chunk is its size, CR LF, exactly so many bytes, CR LF. What follows must not depend on repair."
)
_TRAILER = (
    "Envoy skips what is behind the last chunk unread; we hand trailers on, so they are read as strictly as a head and"
    " bounded (100 fields, 8 KiB)."
)

_REASONS: dict[str, list[str]] = {
    _LINES: [
        "a bare LF behind a field",
        "a bare LF behind the request line",
        "a bare CR in a value",
        "a bare LF first",
        "bare LFs only",
        "the last line with a bare LF",
        "a CR behind the version",
        "an answer with a bare LF",
    ],
    _FOLDED: ["a folded line", "chunked folded", "an answer's folded line"],
    _START: [
        "two spaces before the target",
        "two spaces before the version",
        "a tab in the request line",
        "white space behind the version",
    ],
    "RFC 9112 2.2 asks to ignore at least one empty line before a request; we ignore one.": [
        "two empty lines first",
        "three empty lines first",
    ],
    _VERSION: ["HTTP/1.2", "HTTP/2 in text", "an answer in HTTP/1.2", "an answer in HTTP/2's name"],
    _HOST: [
        "two Hosts",
        "a Host with user information",
        "a Host with a port beyond 65535",
        "a Host with an empty port",
        "an empty Host",
        "a Host with two ports",
        "a Host with an escape",
        "a Host that is a port",
        "a Host with an open bracket",
        "an absolute target without Host",
        "an absolute target and two Hosts",
        "an absolute target with user information",
    ],
    "Host names have no case: one spelling, so that no policy depends on it.": [
        "a Host in capitals",
        "an absolute target in capitals",
    ],
    "RFC 9110 4.2.3: an empty path is `/`. Envoy's routes do not match its path `?c`; it is not refused.": [
        "an absolute target with a query only"
    ],
    "RFC 9110 9.3.7: OPTIONS for the server itself is forwarded. Envoy's route for `/` does not match `*`.": [
        "OPTIONS *"
    ],
    _CODING: [
        "chunked not last",
        "chunked twice",
        "chunked and chunked in one field",
        "chunked and identity",
    ],
    _OLD_CODING: ["chunked in HTTP/1.0", "chunked in HTTP/1.0 with keep-alive", "chunks in HTTP/1.0"],
    _LENGTH: ["a length with a zero in front", "a length beyond 18 digits"],
    _CHUNK: [
        "a chunk size with a space",
        "a chunk size with a tab",
        "a chunk size of 16 digits",
        "a chunk shorter than its size",
        "data that ends in LF alone",
        "a last chunk that ends in LF alone",
        "an extension with a NUL",
        "an extension beyond ASCII",
    ],
    _TRAILER: [
        "a folded trailer",
        "a trailer with a bare LF",
        "Transfer-Encoding in the trailers",
        "Content-Length in the trailers",
        "101 trailers",
        "9 KiB of trailers",
    ],
    "Trailers are handed on, without those that decide over a message; Envoy drops them unless told otherwise.": [
        "trailers"
    ],
    "RFC 9110 10.1.1: an expectation that we do not know is not met.": ["an unknown expectation"],
    "SOURCE belongs to Icecast; it is no registered method.": ["ICE's method"],
    "Request targets are bounded apart from fields: 16 KiB, 414.": [
        "a target that is too long",
        "a target without end",
    ],
    "RFC 9110 7.6.1: Proxy-Authorization, TE and Trailer are for this hop.": ["fields of the hop"],
    "HTTP/1.0's keep-alive is not offered: RFC 9112 C.2.2 warns of it behind proxies.": ["HTTP/1.0 with keep-alive"],
    "CONNECT is an upgrade that no route allows (403); Envoy looks for a route first (404).": ["CONNECT"],
    "A body before a switch of protocols: what is behind it belongs to whom? 400 before any route is asked.": [
        "an upgrade with a body"
    ],
    "RFC 9110 15.2: every informational answer is passed on, up to 16; then the upstream is out of its mind. Envoy"
    " passes on the first.": ["16 informational answers", "17 informational answers"],
    "RFC 9112 6.3: a 204 has no body whatever its fields say; it is passed on without, and the upstream's"
    " connection ends. Not a byte of it reaches anybody.": ["204 with a body"],
    "The upstream closed before its answer: 503 with flag UC, as when nothing came; Envoy calls it a protocol error.": [
        "half a head"
    ],
    "Statuses are 100 to 599 (RFC 9110 15).": ["a status of four digits", "status 600"],
    "A 101 that nobody asked for is no answer; the client would take what follows for another protocol.": [
        "101 that nobody asked for"
    ],
    "An answer's fields are bounded like a request's: 60 KiB, 100 fields.": ["62 KiB of fields in an answer"],
}

REASONS = {name: reason for reason, names in _REASONS.items() for name in names}


def table(theirs: Mapping[str, Outcome], ours: Mapping[str, Outcome]) -> str:
    """The differences as Markdown, a reason and its cases at a time. What is not listed comes without one."""
    different = [name for name in theirs if theirs[name] != ours[name]]
    known = {reason: [name for name in names if name in different] for reason, names in _REASONS.items()}
    unknown = {"**Not listed.**": [name for name in different if name not in REASONS]}
    lines: list[str] = []
    for reason, names in {**known, **unknown}.items():
        if names:
            lines += ["", reason, "", "| case | Envoy | Remora |", "| --- | --- | --- |"]
            lines += [f"| {name} | {_shown(theirs[name])} | {_shown(ours[name])} |" for name in names]
    return "\n".join([*lines, "", ""])


def _shown(outcome: Outcome) -> str:
    text = str(outcome).replace("103, " * 16, "16 of 103, ").replace("|", "\\|")
    text = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
    return text if len(text) < 120 else text[:100] + "…"
