"""Mutual TLS with the mesh's certificates for listeners of the settings."""

import ssl
from collections.abc import Callable

from collectors.tls import Credentials, ServerTls, authenticate_der
from mesh.spiffe import SpiffeId


class FollowingTls(ServerTls):
    """With the credentials of the moment of each handshake."""

    def __init__(self, present: Callable[[], Credentials], *, alpn: tuple[str, ...] = ()) -> None:
        self._present = present
        self._served = present()
        super().__init__(self._served, alpn=alpn)

    def authenticate(self, connection: ssl.SSLObject) -> SpiffeId:
        """Raises PeerRefused."""
        return authenticate_der(connection.getpeercert(binary_form=True), self._served.identity.trust_domain)

    def _move(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        credentials = self._present()
        if credentials is not self._served:
            self._served = credentials
            self.update(credentials)
        super()._move(connection, name, context)
