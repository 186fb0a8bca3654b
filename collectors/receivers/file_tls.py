"""TLS of listeners that have a certificate of their own, from files: not the mesh's. Files that change are taken for
new handshakes without a restart (each looks at them), and where the new ones are no good the old ones serve on.
"""

import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_log = logging.getLogger("remora.tls")


class NotAllowed(Exception):
    """The peer's certificate has none of the names that may send."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files."""

    certificate: Path
    """Leaf first."""
    key: Path
    client_ca: Path | None = None
    """Given, senders must show a certificate that these roots signed."""
    minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2

    def context(self) -> ssl.SSLContext:
        """Raises OSError (ssl.SSLError is one) for what cannot be read or does not fit together."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = self.minimum
        # Nobody is let in by a proof that was checked against roots of the past.
        context.num_tickets = 0
        context.options |= ssl.OP_NO_TICKET
        context.load_cert_chain(self.certificate, self.key, password=_no_password)
        if self.client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cafile=self.client_ca)
        return context

    def stamp(self) -> tuple[tuple[int, int, int], ...]:
        """Differs when a file was changed or exchanged. Raises OSError."""
        stats = [path.stat() for path in (self.certificate, self.key, self.client_ca) if path is not None]
        return tuple((stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in stats)


def _no_password() -> str:
    # Without it OpenSSL would ask at the terminal.
    raise ValueError("the key is encrypted; write one without a passphrase, mode 0600")


class FileTls:
    """A server-side context that serves with what is in the files now."""

    def __init__(self, files: TlsFiles) -> None:
        """Raises OSError, ValueError (an encrypted key)."""
        self._files = files
        self._stamp = files.stamp()
        self._current = files.context()
        self.context = files.context()
        self.context.sni_callback = self._move

    def _move(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        try:
            stamp = self._files.stamp()
            if stamp != self._stamp:
                self._stamp = stamp  # what is broken is complained of once
                self._current = self._files.context()
                _log.info("serving with the new certificate in %s", self._files.certificate)
        except (OSError, ValueError) as error:
            _log.error("%s is not taken, the one of before serves on: %s", self._files.certificate, error)
        connection.context = self._current


def check_names(allowed: frozenset[str]) -> Callable[[ssl.SSLObject], None]:
    """A check of who speaks: of the DNS names and URIs in the peer's certificate one must be `allowed`, letter by
    letter; it raises NotAllowed."""

    def check(connection: ssl.SSLObject) -> None:
        certificate = connection.getpeercert() or {}
        names = {str(entry[1]) for entry in certificate.get("subjectAltName", ()) if entry[0] in ("DNS", "URI")}
        if not names & allowed:
            raise NotAllowed(f"none of its certificate's names may send here: {', '.join(sorted(names))[:200] or '-'}")

    return check
