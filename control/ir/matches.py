"""Conditions on a request, without dialect."""

from dataclasses import dataclass
from enum import Enum


class Compare(Enum):
    """How a text is compared."""

    EXACT = "exact"
    PREFIX = "prefix"
    REGEX = "regex"  # RE2, the whole text
    PRESENT = "present"


@dataclass(frozen=True, slots=True)
class TextMatch:
    """A comparison with a text."""

    compare: Compare
    value: str = ""
    ignore_case: bool = False


@dataclass(frozen=True, slots=True)
class HeaderMatch:
    """A header, in lower case, or a pseudo-header such as `:method`."""

    name: str
    match: TextMatch
    invert: bool = False


@dataclass(frozen=True, slots=True)
class QueryMatch:
    """A query parameter."""

    name: str
    match: TextMatch


@dataclass(frozen=True, slots=True)
class RequestMatch:
    """All conditions must hold; without any, everything matches."""

    path: TextMatch | None = None
    headers: tuple[HeaderMatch, ...] = ()
    query: tuple[QueryMatch, ...] = ()

    @property
    def everything(self) -> bool:
        """Whether no request fails it."""
        return not self.headers and not self.query and (
            self.path is None or (self.path.compare is Compare.PREFIX and self.path.value == "/")
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Audience:
    """Which proxies have a route at all, and for which of a host's ports."""

    labels: tuple[tuple[str, str], ...] = ()
    namespace: str | None = None
    gateways: tuple[str, ...] = ()
    """`mesh`, or `NAMESPACE/NAME` of gateways; empty: all that the rule is bound to."""
    port: int | None = None
