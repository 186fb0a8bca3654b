"""The router of a request that leaves HTTP: an upgrade or CONNECT, by whichever version of HTTP on either side.

https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/http/upgrades; RFC 8441 for what HTTP/2 has in place of
an upgrade.
"""

from sidecar.clusters.cluster import LiveCluster
from sidecar.clusters.upstream import AnswerEvent
from sidecar.filters.client import Client
from sidecar.filters.retries import Retries
from sidecar.filters.router import Router
from sidecar.http import websocket
from sidecar.http.errors import ProtocolError
from sidecar.http.head import ResponseHead


class TunnelRouter(Router):
    """Beside what Router does: looks at the answer whether the switch is one, and fits the handshake to both sides."""

    __slots__ = ("_asked_key", "_made_key")

    def __init__(
        self, client: Client, cluster: LiveCluster, retries: Retries | None, *, raw: bool, nonce: bytes
    ) -> None:
        """`raw`: a CONNECT ends here. `nonce`: 16 octets for the key of a WebSocket that has none yet."""
        super().__init__(client, cluster, retries)
        self.raw = raw
        head = client.head
        self._asked_key = head.get(websocket.KEY)
        self._made_key: bytes | None = None
        if head.upgrade == websocket.PROTOCOL and head.version == "HTTP/2" and self._asked_key is None:
            # Its client need not prove anything; a server of HTTP/1.1 expects it.
            self._made_key = websocket.make_key(nonce)
            head.headers.append((websocket.KEY, self._made_key))

    def upstream_events(self, events: list[AnswerEvent]) -> None:
        if not self._tunnel:
            for event in events:
                if isinstance(event, ResponseHead) and (event.upgrade is not None or event.status >= 200):
                    problem = self._look(event)
                    if problem is not None:
                        self._upstream_broke(problem)
                        return
        super().upstream_events(events)

    def _look(self, answer: ResponseHead) -> ProtocolError | None:
        """At the answer's head."""
        if answer.upgrade is None:
            if answer.status < 300 and self._client.head.version == "HTTP/2":
                # To a client of HTTP/2 that would say that its protocol was granted (RFC 8441 5).
                return ProtocolError(502, "upgrade_not_switched", "a 2xx answer that switched no protocol")
            return None
        if answer.upgrade == websocket.PROTOCOL:
            problem = self._fit_handshake(answer)
            if problem is not None:
                return problem
        if answer.status >= 200:
            self._switch()
        return None

    def _fit_handshake(self, answer: ResponseHead) -> ProtocolError | None:
        if self._made_key is not None:
            if answer.version != "HTTP/2" and answer.get(websocket.ACCEPT) != websocket.accept_of(self._made_key):
                return ProtocolError(502, "websocket_handshake_failed", "sec-websocket-accept is not the key's")
            answer.headers[:] = websocket.without(answer.headers, websocket.ACCEPT)
        elif self._asked_key is not None and answer.version == "HTTP/2" and answer.get(websocket.ACCEPT) is None:
            answer.headers.append((websocket.ACCEPT, websocket.accept_of(self._asked_key)))
        return None
