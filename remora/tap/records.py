"""What a sidecar's `POST /tap` streams, one object of JSON a line: the reader's half of sidecar/agent/tap_lines.py."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from remora.failure import Failure

Field = tuple[str, str]
"""(name in lower case, value); ISO 8859-1, so that every byte of the original has its character."""


@dataclass(frozen=True, slots=True)
class Message:
    """A request or an answer."""

    headers: tuple[Field, ...]
    trailers: tuple[Field, ...]
    body: bytes
    """Its beginning; `cut` bytes more were there."""
    cut: int
    whole: bool
    """It ended as it should."""
    began: float
    """Seconds since the Unix epoch."""
    ended: float

    def get(self, name: str) -> str | None:
        """The first value of `name` (lower case)."""
        return next((value for key, value in self.headers if key == name), None)

    @property
    def body_bytes(self) -> int:
        """Of the whole body, as far as it came."""
        return len(self.body) + self.cut


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request that is over. `plain` is the line as it came, for whoever passes it on."""

    plain: Mapping[str, Any]
    workload: str
    direction: str
    method: str
    scheme: str
    authority: str
    target: str
    version: str
    request: Message
    status: int
    """0: the client left before any answer."""
    response: Message | None
    flags: str
    details: str
    client: str
    peer: str | None
    upstream: str | None
    upstream_s: float | None
    cluster: str | None
    route: str | None
    request_id: str
    trace_id: str

    @property
    def url(self) -> str:
        """As a browser would show it."""
        return f"{self.scheme}://{self.authority}{self.target if self.target.startswith('/') else '/'}"

    @property
    def ended(self) -> float:
        """When the last byte had been sent or the request was given up, seconds since the Unix epoch."""
        return self.response.ended if self.response is not None else self.request.ended


@dataclass(frozen=True, slots=True)
class Counts:
    """How the tap is doing; `why` is set in the last ones."""

    matched: int
    sent: int
    dropped: int
    why: str | None = None


def read_line(plain: Any) -> Exchange | Counts | None:
    """None: the first line, which says that the tap is open. Raises Failure for what no sidecar of ours sends."""
    try:
        match plain["type"]:
            case "exchange":
                return _exchange(plain)
            case "counts" | "end":
                return Counts(plain["matched"], plain["sent"], plain["dropped"], plain.get("why"))
            case "tap":
                return None
            case other:
                raise ValueError(f"type {other!r}")
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise Failure(f"the sidecar's answer makes no sense ({error}): is it of another version?") from error


def _exchange(plain: Mapping[str, Any]) -> Exchange:
    answer = plain["response"]
    return Exchange(
        plain=plain,
        request=_message(plain["request"]),
        response=_message(answer) if answer is not None else None,
        **{name: plain[name] for name in _SCALARS},
    )


def _message(plain: Mapping[str, Any]) -> Message:
    return Message(
        headers=tuple((str(name), str(value)) for name, value in plain["headers"]),
        trailers=tuple((str(name), str(value)) for name, value in plain["trailers"]),
        body=base64.b64decode(plain["body"], validate=True),
        cut=plain["cut"],
        whole=plain["whole"],
        began=plain["began"],
        ended=plain["ended"],
    )


_SCALARS = (
    "workload", "direction", "method", "scheme", "authority", "target", "version", "status", "flags", "details",
    "client", "peer", "upstream", "upstream_s", "cluster", "route", "request_id", "trace_id",
)  # fmt: skip
