"""What can go wrong between us and an upstream, as Envoy answers it: status, body, flag, details."""

from sidecar.clusters.losses import Loss
from sidecar.clusters.upstream import ConnectFailed
from sidecar.filters.chain import LocalReply
from sidecar.http.errors import ProtocolError

_PREFIX = b"upstream connect error or disconnect/reset before headers. reset reason: "


class Failure(LocalReply):
    """A local reply for an upstream's failure. After the answer's head has been sent it ends the connection instead."""

    __slots__ = ("transport_reason",)

    def __init__(
        self,
        status: int,
        body: bytes,
        flag: str,
        details: str,
        *,
        transport_reason: str | None = None,
        overloaded: bool = False,
    ) -> None:
        headers = [(b"x-envoy-overloaded", b"true")] if overloaded else []
        super().__init__(status, body, flag=flag, details=details, headers=headers)
        self.transport_reason = transport_reason
        """Envoy's UPSTREAM_TRANSPORT_FAILURE_REASON."""


NO_CLUSTER = Failure(503, b"", "NC", "cluster_not_found")
NO_HEALTHY_UPSTREAM = Failure(503, b"no healthy upstream", "UH", "no_healthy_upstream")
OVERFLOW = Failure(
    503, _PREFIX + b"overflow", "UO", "upstream_reset_before_response_started{overflow}", overloaded=True
)
TIMEOUT = Failure(504, b"upstream request timeout", "UT", "response_timeout")
DEADLINE = Failure(504, b"upstream request timeout", "UT", "response_timeout")
"""The same, by the deadline that the request named itself."""
PER_TRY_TIMEOUT = Failure(504, b"upstream request timeout", "UT", "upstream_per_try_timeout")


def lost(loss: Loss) -> Failure:
    """The answer was lost before its head had come."""
    return Failure(
        503,
        _PREFIX + loss.reason.replace("_", " ").encode(),
        loss.flag,
        f"upstream_reset_before_response_started{{{loss.reason}}}",
    )


def lost_inside(loss: Loss) -> Failure:
    """The answer was lost after its head."""
    return Failure(502, b"", loss.flag, f"upstream_reset_after_response_started{{{loss.reason}}}")


def connect_failed(error: ConnectFailed) -> Failure:
    """The connection could not be made."""
    if error.timed_out:
        return Failure(
            503,
            _PREFIX + b"connection timeout",
            "UF",
            "upstream_reset_before_response_started{connection_timeout}",
            transport_reason="connection timeout",
        )
    # The reason is logged, not shown: who asks need not learn our addresses and certificates.
    return Failure(
        503,
        _PREFIX + b"remote connection failure",
        "UF",
        f"upstream_reset_before_response_started{{remote_connection_failure|{error.reason.replace(' ', '_')}}}",
        transport_reason=error.reason,
    )


def protocol_error(error: ProtocolError) -> Failure:
    """The upstream answered with something that is no answer."""
    return Failure(
        502,
        _PREFIX + b"protocol error",
        "UPE",
        "upstream_reset_before_response_started{protocol_error}",
        transport_reason=error.reason,
    )
