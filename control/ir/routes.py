"""What happens to requests for a host, without dialect."""

from dataclasses import dataclass, field

from control.ir.matches import Audience, RequestMatch


@dataclass(frozen=True, slots=True)
class HeaderEdits:
    """Header changes; names in lower case. Removal first, then set, then add."""

    request_set: tuple[tuple[str, str], ...] = ()
    request_add: tuple[tuple[str, str], ...] = ()
    request_remove: tuple[str, ...] = ()
    response_set: tuple[tuple[str, str], ...] = ()
    response_add: tuple[tuple[str, str], ...] = ()
    response_remove: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Destination:
    """A service of the mesh, or a subset."""

    host: str
    """A key of the mesh's services; where it is none, the request finds no healthy upstream."""
    subset: str = ""
    port: int | None = None
    """None: the service's only port, else the port that the client used."""


@dataclass(frozen=True, slots=True)
class Share:
    """A destination's part of the requests."""

    destination: Destination
    weight: int = 1
    headers: HeaderEdits | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """`attempts` are tries after the first."""

    attempts: int
    on: tuple[str, ...]
    """Envoy's `retry_on` words."""
    statuses: tuple[int, ...] = ()
    per_try_timeout_s: float | None = None
    base_interval_s: float = 0.025


SAFE_RETRIES = ("connect-failure", "refused-stream", "reset-before-request")
"""What never reached the application: safe to send again whatever the method."""

DEFAULT_RETRY = Retry(attempts=2, on=SAFE_RETRIES)
"""Where no rule says otherwise: Istio's two attempts, without its conditions under which a POST may be repeated."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A mirror."""

    destination: Destination
    percent: float


@dataclass(frozen=True, slots=True)
class Forward:
    """Send upstream."""

    shares: tuple[Share, ...]
    timeout_s: float | None = None
    """None: no limit."""
    retry: Retry | None = None
    """None: never again."""
    host_rewrite: str | None = None
    path_rewrite: str | None = None
    """Replaces the matched path or prefix."""
    regex_rewrite: tuple[str, str] | None = None
    copies: tuple[Copy, ...] = ()


@dataclass(frozen=True, slots=True)
class Redirect:
    """Answer with a redirection."""

    status: int = 301
    scheme: str | None = None
    host: str | None = None
    port: int | None = None
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Direct:
    """Answer without an upstream."""

    status: int
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class ConnectionRoute:
    """Where connections go that nobody looks into."""

    shares: tuple[Share, ...]
    server_names: tuple[str, ...] = ()
    """TLS that is passed through: by the name that the client asks for, `*.suffix` or `*`; empty: any bytes."""
    audience: Audience = field(default_factory=Audience)


@dataclass(frozen=True, slots=True)
class Fault:
    """Trouble on purpose; percentages are 0 to 100."""

    delay_s: float | None = None
    delay_percent: float = 0.0
    abort_status: int | None = None
    abort_percent: float = 0.0


@dataclass(frozen=True, slots=True)
class Route:
    """One condition and its action."""

    name: str
    match: RequestMatch
    action: Forward | Redirect | Direct
    audience: Audience = field(default_factory=Audience)
    headers: HeaderEdits | None = None
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class HostRoutes:
    """The rules that one document gives for some hosts, first match wins."""

    name: str
    namespace: str
    hosts: tuple[str, ...]
    """Full names of the mesh's services, other names, `*.suffix` or `*`."""
    gateways: tuple[str, ...]
    """`mesh`, or `NAMESPACE/NAME`."""
    routes: tuple[Route, ...]
    connections: tuple[ConnectionRoute, ...] = ()
