"""A snapshot's secrets by name, and TLS contexts built from them: one per combination, rebuilt when one changes."""

import ssl

from sidecar.clusters.dial import Security
from sidecar.config.cluster import UpstreamTls
from sidecar.config.listener import DownstreamTls
from sidecar.config.secret import Certificate, TrustAnchors
from sidecar.config.snapshot import Snapshot
from sidecar.net.tls import UnusableSecret, client_context, server_context

_Key = tuple[object, ...]


class Secrets:
    """Of one snapshot. `previous` lends the contexts whose ingredients are the same, so that connections survive."""

    def __init__(self, snapshot: Snapshot, previous: "Secrets | None" = None) -> None:
        self._certificates = {certificate.name: certificate for certificate in snapshot.certificates}
        self._anchors = {anchors.name: anchors for anchors in snapshot.trust_anchors}
        self._previous = previous._contexts if previous is not None else {}
        self._contexts: dict[_Key, ssl.SSLContext] = {}

    def upstream(self, tls: UpstreamTls) -> Security:
        """How a cluster's connections are secured. Raises UnusableSecret."""
        certificate = self._certificate(tls.certificate)
        anchors = self._trust(tls.validation)
        by_name = anchors is None and tls.sni is not None and not tls.sans
        key = ("upstream", certificate, anchors, tls.alpn, by_name)
        context = self._contexts.get(key) or self._previous.get(key)
        if context is None:
            context = client_context(tls, certificate, anchors)
        self._contexts[key] = context
        return Security(context, tls.sni, tls.sans)

    def downstream(self, tls: DownstreamTls) -> ssl.SSLContext:
        """What a filter chain terminates TLS with. Raises UnusableSecret, UnsupportedVersion."""
        certificate = self._certificate(tls.certificate)
        anchors = self._trust(tls.validation)
        assert certificate is not None
        key = ("downstream", certificate, anchors, tls.alpn, tls.min_version, tls.require_client_certificate)
        context = self._contexts.get(key) or self._previous.get(key)
        if context is None:
            context = server_context(tls, certificate, anchors)
        self._contexts[key] = context
        return context

    def own(self, name: str) -> Certificate | None:
        """The certificate of that name."""
        return self._certificates.get(name)

    def settled(self) -> None:
        """The snapshot serves: let go of the previous one's contexts."""
        self._previous = {}

    def _certificate(self, name: str | None) -> Certificate | None:
        if name is None:
            return None
        found = self._certificates.get(name)
        if found is None:
            raise UnusableSecret(f"certificate {name!r} is not in the snapshot")
        return found

    def _trust(self, name: str | None) -> TrustAnchors | None:
        if name is None:
            return None
        found = self._anchors.get(name)
        if found is None:
            raise UnusableSecret(f"trust anchors {name!r} are not in the snapshot")
        return found
