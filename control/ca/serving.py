"""The control plane's own certificate: made in memory, renewed in memory, its key on no disk.

gRPC asks for it at every handshake; Python's TLS wants a file, so it gets one that exists in memory alone.
"""

import asyncio
import logging
import os
import ssl
from dataclasses import dataclass, field

import grpc
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from control.ca.authority import Authority
from control.ca.errors import CertificateError
from control.ca.template import CONTROL_ACCOUNT, SYSTEM_NAMESPACE
from mesh.clock import Clock
from mesh.spiffe import SpiffeId

_log = logging.getLogger("control.ca")

KEEP_EVERY_S = 60.0
"""A quiet mesh has no handshakes that would renew it; servers on Python's TLS would then show an expired one."""


@dataclass(frozen=True, slots=True)
class Served:
    """A key with its chain, PEM."""

    chain: bytes
    key: bytes = field(repr=False)
    renew_at: float


class ServingCertificate:
    """Always a valid one. Renewed at half life and when the roots change, by whoever asks first after that."""

    def __init__(self, authority: Authority, clock: Clock, hosts: tuple[str, ...] = ()) -> None:
        """`hosts` are DNS names beside those that the identity has by itself."""
        self._authority = authority
        self._clock = clock
        self._hosts = hosts
        self._identity = SpiffeId(authority.trust_domain, SYSTEM_NAMESPACE, CONTROL_ACCOUNT)
        self._served = self._make()
        self._contexts: list[ssl.SSLContext] = []
        authority.on_roots_changed.append(self.renew)

    def current(self) -> Served:
        """Called from gRPC's threads too: one assignment swaps the whole."""
        if self._clock.now() >= self._served.renew_at:
            self.renew()
        return self._served

    def renew(self) -> None:
        """A new key and certificate for the connections to come."""
        self._served = self._make()
        for context in self._contexts:
            _load(context, self._served)

    async def keep(self, every_s: float = KEEP_EVERY_S) -> None:
        """Renew it when it is time though nobody asks, for ever: contexts are only told. A failure is tried again."""
        while True:
            await asyncio.sleep(every_s)
            try:
                self.current()
            except CertificateError as error:
                _log.error("the control plane's own certificate is not renewed: %s", error)

    def ssl_context(self) -> ssl.SSLContext:
        """For servers on Python's TLS; TLS 1.3 only. Stays up to date."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        _load(context, self.current())
        self._contexts.append(context)
        return context

    def grpc_credentials(self, *, demand_certificate: bool) -> grpc.ServerCredentials:
        """For a gRPC server; with `demand_certificate`, for clients that show one of this mesh."""

        def configuration(served: Served, roots: str) -> grpc.ServerCertificateConfiguration:
            trusted = roots.encode() if demand_certificate else None
            return grpc.ssl_server_certificate_configuration([(served.key, served.chain)], trusted)

        given = self.current(), self._authority.roots.pem

        def news() -> grpc.ServerCertificateConfiguration | None:
            # At every handshake, from any of gRPC's threads. None unless something is new: gRPC core exchanges its
            # handshaker factory without keeping handshakes that begin in other threads from using the old one, so
            # that an exchange for each of a crowd of connections ends in a segmentation fault.
            nonlocal given
            present = self.current(), self._authority.roots.pem
            if present == given:
                return None
            given = present
            return configuration(*present)

        # The stubs do not know that None means no change.
        return grpc.dynamic_ssl_server_credentials(configuration(*given), news, demand_certificate)  # type: ignore[arg-type]

    def _make(self) -> Served:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate, chain = self._authority.certify(self._identity, key.public_key(), hosts=self._hosts)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        start, end = certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
        # Until the root itself runs out, half of what is left; then there is nothing to be gained by asking again.
        return Served("".join(chain).encode(), pem, renew_at=max(start + (end - start) / 2, self._clock.now() + 1))


def _load(context: ssl.SSLContext, served: Served) -> None:
    fd = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(served.chain + served.key)
        context.load_cert_chain(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)
