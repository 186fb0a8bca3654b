"""Which request goes where. RDS `RouteConfiguration`; matching semantics are Envoy's (first match wins)."""

from dataclasses import dataclass
from enum import Enum


class MatchKind(Enum):
    """How a text is compared."""

    EXACT = "exact"
    PREFIX = "prefix"
    SUFFIX = "suffix"
    CONTAINS = "contains"
    REGEX = "regex"  # full match
    PRESENT = "present"


@dataclass(frozen=True, slots=True)
class StringMatch:
    """A comparison with a text."""

    kind: MatchKind
    value: str = ""
    ignore_case: bool = False


@dataclass(frozen=True, slots=True)
class HeaderMatch:
    """A request header (`name` in lower case) or a pseudo-header `:method`, `:scheme`, `:authority`."""

    name: str
    match: StringMatch
    invert: bool = False
    missing_is_empty: bool = False
    """Envoy's `treat_missing_header_as_empty`. Without it a missing header never matches, inverted or not, but for
    an inverted PRESENT."""


@dataclass(frozen=True, slots=True)
class QueryMatch:
    """A query parameter's first value."""

    name: str
    match: StringMatch


@dataclass(frozen=True, slots=True)
class RouteMatch:
    """All conditions must hold. Path kinds used: EXACT, PREFIX, REGEX; compared without the query. A CONNECT, which has
    no path, is matched by routes with `connect` alone, and they match nothing else."""

    path: StringMatch = StringMatch(MatchKind.PREFIX, "/")
    path_separated: bool = False
    """With PREFIX: `/a` matches `/a` and `/a/b` but not `/ab` (Envoy `path_separated_prefix`)."""
    headers: tuple[HeaderMatch, ...] = ()
    query: tuple[QueryMatch, ...] = ()
    connect: bool = False
    """Envoy's `connect_matcher`; `path` is not looked at."""


@dataclass(frozen=True, slots=True)
class WeightedCluster:
    """A share of a route's requests."""

    cluster: str
    weight: int
    headers: "HeaderEdits | None" = None


@dataclass(frozen=True, slots=True)
class HeaderEdits:
    """Header changes; names in lower case. Removal first, then set, then add."""

    request_set: tuple[tuple[str, str], ...] = ()
    request_add: tuple[tuple[str, str], ...] = ()
    request_remove: tuple[str, ...] = ()
    response_set: tuple[tuple[str, str], ...] = ()
    response_add: tuple[tuple[str, str], ...] = ()
    response_remove: tuple[str, ...] = ()


class RetryOn(Enum):
    """Conditions under which a request is tried again (Envoy `retry_on`)."""

    CONNECT_FAILURE = "connect-failure"  # never sent: always safe
    REFUSED_STREAM = "refused-stream"  # never processed: always safe
    RESET = "reset"
    RESET_BEFORE_REQUEST = "reset-before-request"
    GATEWAY_ERROR = "gateway-error"  # 502, 503, 504
    SERVER_ERROR = "5xx"
    RETRIABLE_4XX = "retriable-4xx"  # 409
    STATUS_CODES = "retriable-status-codes"
    # gRPC conditions, accepted and applied when gRPC is spoken
    CANCELLED = "cancelled"
    DEADLINE_EXCEEDED = "deadline-exceeded"
    RESOURCE_EXHAUSTED = "resource-exhausted"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """What may have reached the application is sent again only if the method is idempotent (RFC 9110 9.2.2)."""

    on: frozenset[RetryOn] = frozenset({RetryOn.CONNECT_FAILURE, RetryOn.REFUSED_STREAM})
    attempts: int = 2
    """Tries after the first."""
    per_try_timeout_s: float | None = None
    status_codes: frozenset[int] = frozenset()
    base_interval_s: float = 0.025
    max_interval_s: float = 0.25


@dataclass(frozen=True, slots=True)
class Fault:
    """Injected trouble (Envoy fault filter). Percentages are 0 to 100; a header match gates both."""

    delay_s: float | None = None
    delay_percent: float = 0.0
    abort_status: int | None = None
    abort_percent: float = 0.0


@dataclass(frozen=True, slots=True)
class Forward:
    """Send the request upstream. Weights are relative; their sum is positive."""

    clusters: tuple[WeightedCluster, ...]
    timeout_s: float | None = None
    """Whole request, retries included; None: no limit."""
    idle_timeout_s: float | None = None
    retry: RetryPolicy | None = None
    host_rewrite: str | None = None
    prefix_rewrite: str | None = None
    """Replaces the matched path or prefix."""
    regex_rewrite: tuple[str, str] | None = None
    mirror: tuple[tuple[str, float], ...] = ()
    """(cluster, percent): copies whose answers are dropped."""
    upgrades: tuple[tuple[str, bool], ...] = ()
    """(protocol in lower case, allowed), where it differs from the listener's; `connect` for CONNECT."""
    end_connect: bool = False
    """A CONNECT that is allowed ends here, and the tunnel's bytes go to the endpoint as they are (Envoy
    `connect_config`). Otherwise it goes on to a proxy there."""


@dataclass(frozen=True, slots=True)
class Redirect:
    """Answer with a redirection."""

    status: int = 301
    scheme: str | None = None
    host: str | None = None
    port: int | None = None
    path: str | None = None
    prefix_rewrite: str | None = None


@dataclass(frozen=True, slots=True)
class DirectResponse:
    """Answer without an upstream."""

    status: int
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Route:
    """One rule: a match, what to do, and what its filters are told."""

    name: str
    match: RouteMatch
    action: Forward | Redirect | DirectResponse
    headers: HeaderEdits | None = None
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class VirtualHost:
    """Rules for a set of host names: exact, `*.suffix`, `prefix.*` or `*`; longest match wins, as in Envoy."""

    name: str
    domains: tuple[str, ...]
    routes: tuple[Route, ...]
    headers: HeaderEdits | None = None


@dataclass(frozen=True, slots=True)
class RouteConfiguration:
    """The whole table of one listener."""

    name: str
    virtual_hosts: tuple[VirtualHost, ...] = ()
    headers: HeaderEdits | None = None
