"""What the process is presently unable to take on. Listeners look at it; whoever measures writes it."""

from sidecar.config.limits import ProcessLimits


class Load:
    """Envoy's overload actions as they hold now, and the limits on connections with what counts against them."""

    __slots__ = ("accepting", "limits", "shedding")

    def __init__(self, limits: ProcessLimits | None = None) -> None:
        self.limits = ProcessLimits() if limits is None else limits
        self.shedding = False
        """New requests are answered 503, and connections end with their answer (Envoy's `stop_accepting_requests` and
        `disable_http_keepalive`)."""
        self.accepting = True
        """False: new connections stay in the kernel's backlog (`stop_accepting_connections`)."""

    def full(self, open_connections: int) -> bool:
        """No further connection may be taken beside `open_connections`."""
        return 0 < self.limits.max_connections <= open_connections

    def listener_full(self, connections: int) -> bool:
        """Likewise for one listener."""
        return 0 < self.limits.max_listener_connections <= connections
