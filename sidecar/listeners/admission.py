"""What of a client's forwarding headers is believed, and what the next hop is told instead. Pure.

Envoy's `use_remote_address`, `forward_client_cert_details` and edge sanitising, reduced to the mesh's cases.
"""

from sidecar.config.endpoint import Address
from sidecar.http.head import RequestHead
from sidecar.telemetry.request_id import IdSource

_ENVOY = b"x-envoy-"


class Admission:
    """The rules of one client connection."""

    __slots__ = ("_address", "_certificate", "_ids", "_scheme", "_trusted", "destination")

    def __init__(
        self, ids: IdSource, *, trusted: bool, address: str, secure: bool, client_certificate: bytes | None
    ) -> None:
        """`trusted`: the client's forwarding headers stand (our own application, a mesh peer). `address`: the
        client's IP. `client_certificate`: the value of x-forwarded-client-cert that mutual TLS proved."""
        self._ids = ids
        self._trusted = trusted
        self._address = address.encode()
        self._scheme = b"https" if secure else b"http"
        self._certificate = client_certificate
        self.destination: Address | None = None
        """Where a redirected connection was going."""

    def admit(self, head: RequestHead) -> bytes:
        """Rewrite the proxy's own fields in `head`; returns the request's id.

        Peer metadata and any claimed client certificate go. An edge's client also loses every `x-envoy-` header, its
        request id and what it says of earlier hops.
        """
        ours = head.ours
        headers = head.headers
        agent = ours.get(b"user-agent")
        if agent is not None:
            headers.append((b"user-agent", agent))
        if self._trusted:
            forwarded = ours.get(b"x-forwarded-for")
            if forwarded is not None:
                headers.append((b"x-forwarded-for", forwarded))
            proto = ours.get(b"x-forwarded-proto", b"").lower()
            headers.append((b"x-forwarded-proto", proto if proto in _SCHEMES else head.scheme))
            request_id = ours.get(b"x-request-id") or self._ids.request_id()
        else:
            headers[:] = [header for header in headers if header[0][:8] != _ENVOY]
            headers.append((b"x-forwarded-for", self._address))
            headers.append((b"x-forwarded-proto", self._scheme))
            request_id = self._ids.request_id()
        headers.append((b"x-request-id", request_id))
        if self._certificate is not None:
            headers.append((b"x-forwarded-client-cert", self._certificate))
            attempt = ours.get(b"x-envoy-attempt-count")
            if attempt is not None:  # a mesh peer's count is for the application; towards an upstream we count anew
                headers.append((b"x-envoy-attempt-count", attempt))
        return request_id


_SCHEMES = frozenset([b"http", b"https"])


def client_certificate_header(own: str | None, sha256: str, peer: str) -> bytes:
    """`x-forwarded-client-cert` for one hop: By, Hash, Subject (left empty: it proves nothing here), URI."""
    by = f"By={own};" if own else ""
    return f'{by}Hash={sha256};Subject="";URI={peer}'.encode()
