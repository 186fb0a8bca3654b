"""Discovery requests and responses without protobuf, and the names of the resource types."""

from dataclasses import dataclass

from control.generate.resources import Selection
from control.generate.types import CDS, EDS, LDS, RDS, SDS, TYPES

ORDER: tuple[str, ...] = tuple(TYPES.values())
"""Type URLs in the order in which they are sent: what is referred to comes before what refers to it."""

SHORT: dict[str, str] = {url: short for short, url in TYPES.items()}
"""Type URL to `CDS` and so on."""

WILDCARDS = frozenset({CDS, LDS})
"""Types of which a client without a list of names gets everything."""

MAX_NAMES = 50_000
"""Names in one request; ten times the clusters of a large mesh."""

PARTIAL = frozenset({EDS, RDS})
"""Types of which an answer may leave out what has not changed (Envoy's xDS protocol, "Knowing When a Requested Resource
Does Not Exist" and "Grouping Resources Into Responses")."""

__all__ = [
    "CDS",
    "EDS",
    "LDS",
    "MAX_NAMES",
    "ORDER",
    "PARTIAL",
    "RDS",
    "SDS",
    "SHORT",
    "WILDCARDS",
    "Request",
    "Response",
]


@dataclass(frozen=True, slots=True)
class Request:
    """What a client says of one type: its wish, and what came of our last answer."""

    type_url: str
    version: str = ""
    """The last version that it accepted."""
    nonce: str = ""
    """Of the answer that it refers to; empty in the first request of a stream."""
    names: frozenset[str] = frozenset()
    error: str | None = None
    """Why it refused the answer with that nonce; None if it did not."""


@dataclass(frozen=True, slots=True)
class Response:
    """Resources of one type."""

    type_url: str
    version: str
    nonce: str
    resources: Selection
