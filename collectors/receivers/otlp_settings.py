"""`receivers.otlp`: listeners of OTLP beside the mesh's own two, over gRPC and over HTTP."""

import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Literal, Self

import grpc
from cryptography import x509
from pydantic import Field, model_validator

from collectors.pipeline import Consumer
from collectors.receivers.file_tls import FileTls, NotAllowed, check_names
from collectors.receivers.listeners import Address, ListenAddress, ServerTls, bind, bound_address
from collectors.receivers.mesh_tls import FollowingTls
from collectors.receivers.otlp_grpc import Identify, OtlpGrpcReceiver, mesh_peers
from collectors.receivers.otlp_http import OtlpHttpReceiver
from collectors.receivers.otlp_intake import Intake
from collectors.settings.context import Context
from collectors.settings.types import Model, Size, wrong
from collectors.tls import PeerRefused, server_credentials
from collectors.web import WebServer
from mesh.spiffe import SpiffeId

_log = logging.getLogger("remora.otlp")

_CLOSE_S = 3.0


class ListenerSettings(Model):
    """One entry of `listeners`."""

    protocol: Literal["grpc", "http"]
    """gRPC, or HTTP with protobuf or JSON bodies."""
    address: ListenAddress
    """Where it listens; port 0 means any."""
    tls: ServerTls | Literal["mesh"] | None = None
    """A certificate of its own; or `mesh`: mutual TLS with the mesh's, where a sender's certificate says which records
    are its own. None: plaintext."""
    allow_plaintext: bool = False
    """Listen beyond loopback without TLS."""
    mesh_metrics: bool = False
    """Take metrics whose names are the mesh's own (`istio_`, `remora_`, `envoy_`, `pilot_`, `citadel_`): senders are
    collectors that scrape a mesh. Otherwise those are refused, so that no application counts for a sidecar."""

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        if self.tls is None and not self.address.is_loopback and not self.allow_plaintext:
            raise wrong(
                f"listens on {self.address} without TLS; add tls, use a loopback address, or set allow_plaintext: true"
            )
        if isinstance(self.tls, ServerTls):
            if self.tls.client_names and self.tls.client_ca_file is None:
                raise wrong("has tls.client_names without tls.client_ca_file; no sender would have to show a name")
            if self.protocol == "grpc" and self.tls.min_version == "1.3":
                raise wrong("has tls.min_version: 1.3, which grpcio cannot demand; leave it out, or use protocol: http")
        if self.mesh_metrics and self.tls == "mesh":
            raise wrong("has mesh_metrics with tls: mesh, where senders are workloads; write a listener for collectors")
        if self.mesh_metrics and not self._knows_senders():
            raise wrong(
                "has mesh_metrics for everybody who gets here; add tls with client_ca_file, or use a loopback address"
            )
        return self

    def _knows_senders(self) -> bool:
        return self.address.is_loopback or (isinstance(self.tls, ServerTls) and self.tls.client_ca_file is not None)


class Settings(Model):
    """`receivers.otlp`."""

    listeners: tuple[ListenerSettings, ...] = Field(min_length=1, max_length=64)
    """Beside the mesh's own two."""
    max_request_bytes: Size = Field(default=8 << 20, ge=1 << 10, le=256 << 20)
    """As sent (gRPC: after decompression); after decompression HTTP takes twice as much."""


class OtlpListeners:
    """The receiver with its listeners (settings.registry.Receiver)."""

    def __init__(self, settings: Settings, context: Context, consumer: Consumer) -> None:
        """Binds. Raises OSError, ValueError."""
        self._settings = settings
        self._context = context
        self._consumer = consumer
        self._closing = contextlib.AsyncExitStack()
        self._sockets: list[socket.socket] = []
        try:
            for listener in settings.listeners:
                if listener.tls == "mesh" and context.credentials is None:
                    raise ValueError(
                        f"{listener.address}: tls: mesh, but this collector is of no mesh; write a tls of its own"
                    )
                self._sockets.append(bind(listener.address))
        except BaseException:
            for sock in self._sockets:
                sock.close()
            raise

    async def start(self) -> dict[str, str]:
        """See settings.registry.Receiver."""
        ready: dict[str, str] = {}
        for number, (listener, sock) in enumerate(zip(self._settings.listeners, self._sockets, strict=True)):
            serve = self._serve_grpc if listener.protocol == "grpc" else self._serve_http
            ready[f"otlp_{listener.protocol}.{number}"] = str(await serve(listener, sock))
        return ready

    async def close(self) -> None:
        """See settings.registry.Receiver."""
        await self._closing.aclose()
        for sock in self._sockets:
            sock.close()  # one that was never served

    def _on_close(self, close: Callable[..., Awaitable[object]], *arguments: Any) -> None:
        self._closing.push_async_callback(close, *arguments)

    def _intake(self, name: str, listener: ListenerSettings) -> Intake:
        context = self._context
        return Intake(
            name,
            self._consumer,
            context.telemetry,
            context.clock,
            context.claims,
            mesh_metrics=listener.mesh_metrics,
        )

    async def _serve_grpc(self, listener: ListenerSettings, sock: socket.socket) -> Address:
        identify, credentials = _grpc_door(listener, self._context)
        receiver = OtlpGrpcReceiver(
            self._intake("otlp_grpc", listener), identify, max_request_bytes=self._settings.max_request_bytes
        )
        # gRPC binds by itself. What was bound kept the port until now; nothing else is told of it in between.
        address = bound_address(sock)
        sock.close()
        self._on_close(receiver.close, _CLOSE_S)
        return Address(address.host, await receiver.listen(str(address), credentials))

    async def _serve_http(self, listener: ListenerSettings, sock: socket.socket) -> Address:
        application = OtlpHttpReceiver(
            self._intake("otlp_http", listener), max_request_bytes=self._settings.max_request_bytes
        )
        server = _http_server(application, listener, self._context)
        self._on_close(server.close)
        address = bound_address(sock)
        await server.listen(sock)
        return address


def build(settings: Settings, context: Context, consumer: Consumer) -> OtlpListeners:
    """Raises OSError for an address that is taken and files that cannot be read, ValueError for ones that are wrong."""
    return OtlpListeners(settings, context, consumer)


def _http_server(application: OtlpHttpReceiver, listener: ListenerSettings, context: Context) -> WebServer:
    if listener.tls is None:
        return WebServer(application)
    if isinstance(listener.tls, ServerTls):
        check = check_names(frozenset(listener.tls.client_names)) if listener.tls.client_names else None

        def admit(connection: Any) -> bool:
            if check is None:
                return True
            try:
                check(connection)
            except NotAllowed as error:
                _log.warning("refused a peer of OTLP/HTTP: %s", error)
                return False
            return True

        return WebServer(application, tls=FileTls(listener.tls.files()).context, admit=admit)
    assert context.credentials is not None
    tls = FollowingTls(context.credentials, alpn=("http/1.1",))

    def identify(connection: Any) -> SpiffeId | None:
        try:
            return tls.authenticate(connection)
        except PeerRefused as error:
            _log.warning("refused a peer of OTLP/HTTP: %s", error)
            return None

    return WebServer(application, tls=tls.context, identify=identify)


def _grpc_door(listener: ListenerSettings, context: Context) -> tuple[Identify, grpc.ServerCredentials | None]:
    if listener.tls is None:
        return _anyone, None
    if isinstance(listener.tls, ServerTls):
        allowed = frozenset(listener.tls.client_names)
        return (_named(allowed) if allowed else _anyone), _file_credentials(listener.tls)
    assert context.credentials is not None
    return mesh_peers(context.credentials().identity.trust_domain), server_credentials(context.credentials)


def _anyone(_context: Mapping[str, Iterable[bytes]]) -> None:
    return None


def _named(allowed: frozenset[str]) -> Identify:
    def identify(context: Mapping[str, Iterable[bytes]]) -> None:
        names: set[str] = set()
        for pem in context.get("x509_pem_cert", ()):
            try:
                found = x509.load_pem_x509_certificate(pem).extensions.get_extension_for_class(
                    x509.SubjectAlternativeName
                )
            except (
                ValueError, x509.InvalidVersion, x509.ExtensionNotFound, x509.DuplicateExtension,
                x509.UnsupportedGeneralNameType,
            ):  # fmt: skip
                continue
            names.update(found.value.get_values_for_type(x509.DNSName))
            names.update(found.value.get_values_for_type(x509.UniformResourceIdentifier))
        if not names & allowed:
            raise PeerRefused(f"none of its certificate's names may send here: {', '.join(sorted(names))[:200] or '-'}")

    return identify


def _file_credentials(tls: ServerTls) -> grpc.ServerCredentials:
    """From the files, looked at with each handshake; files that are no good leave the ones of before."""
    files = tls.files()
    files.context()  # raises for what OpenSSL does not take; gRPC would say nothing
    shown = [files.stamp()]

    def configuration() -> Any:
        roots = None if tls.client_ca_file is None else tls.client_ca_file.read_bytes()
        pair = (tls.key_file.read().encode(), tls.certificate_file.read_bytes())
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=roots)

    def fetch() -> Any:
        try:
            stamp = files.stamp()
            if stamp == shown[0]:
                return None
            shown[0] = stamp
            files.context()
            return configuration()
        except (OSError, ValueError) as error:
            _log.error("%s is not taken, the one of before serves on: %s", tls.certificate_file, error)
            return None

    return grpc.dynamic_ssl_server_credentials(
        configuration(), fetch, require_client_authentication=tls.client_ca_file is not None
    )
