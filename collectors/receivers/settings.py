"""`receivers.forward`: listeners of the forward protocol beside the mesh's own, each with its demands on senders."""

import socket
from collections.abc import Callable
from typing import Literal, Self

from pydantic import Field, model_validator

from collectors.pipeline import Consumer
from collectors.receivers.file_tls import FileTls, check_names
from collectors.receivers.forward import Door, ForwardLimits, ForwardReceiver
from collectors.receivers.forward_parser import ParserLimits
from collectors.receivers.handshake import Security, parse_users
from collectors.receivers.heartbeat import Heartbeats
from collectors.receivers.listeners import ListenAddress, ServerTls, bind, bound_address
from collectors.receivers.mesh_tls import FollowingTls
from collectors.settings.context import Context
from collectors.settings.types import Duration, Model, SecretFile, Size, wrong

_CLOSE_S = 3.0


class ListenerSettings(Model):
    """One entry of `listeners`."""

    address: ListenAddress
    """Where it listens; port 0 means any."""
    tls: ServerTls | Literal["mesh"] | None = None
    """A certificate of its own; or `mesh`: mutual TLS with the mesh's, where a sender's certificate says which records
    are its own. None: plaintext."""
    shared_key_file: SecretFile | None = None
    """Given, every connection begins with the handshake."""
    users_file: SecretFile | None = None
    """user:password lines; with a shared key only."""
    hostname: str = Field(default="remora-collector", min_length=1, max_length=255)
    """What we call ourselves in the handshake; senders refuse their own name."""
    udp_heartbeat: bool = False
    """Answer heartbeats on the UDP port of the same number."""
    allow_plaintext: bool = False
    """Listen beyond loopback without TLS."""

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        if self.users_file is not None and self.shared_key_file is None:
            raise wrong("has users_file without shared_key_file; users are asked for in the handshake, which needs one")
        if self.tls is None and not self.address.is_loopback and not self.allow_plaintext:
            raise wrong(
                f"listens on {self.address} without TLS; add tls, use a loopback address, or set allow_plaintext: true"
            )
        if isinstance(self.tls, ServerTls) and self.tls.client_names and self.tls.client_ca_file is None:
            raise wrong("has tls.client_names without tls.client_ca_file; no sender would have to show a name")
        if self.users_file is not None:
            try:
                parse_users(self.users_file.read())
            except (OSError, ValueError) as error:
                raise wrong(f"has a users_file that is refused: {error}") from error
        return self


class Settings(Model):
    """`receivers.forward`."""

    listeners: tuple[ListenerSettings, ...] = Field(min_length=1, max_length=64)
    """Beside the mesh's own."""
    max_connections: int = Field(default=1_024, ge=1, le=65_536)
    """At once; further ones are closed."""
    max_in_flight_bytes: Size = Field(default=4 << 20, ge=64 << 10)
    """Of one connection: received and not stored."""
    max_message_bytes: Size = Field(default=16 << 20, ge=1 << 10, le=256 << 20)
    """As sent."""
    max_pending_bytes: Size | None = Field(default=None, ge=1 << 10)
    """Of messages that are not complete, of all connections together; beyond it the connection with most of them is
    closed. Default: 64 MiB, or four of the largest messages if that is more."""
    max_inflated_bytes: Size = Field(default=32 << 20, ge=1 << 10, le=512 << 20)
    """A message's entries after decompression."""
    max_entries: int = Field(default=262_144, ge=1, le=4_194_304)
    """In one message; one with more is refused, and its connection closed."""
    message_timeout: Duration = Field(default=60.0, ge=0.1, le=3600)
    """From a message's first byte to its last."""
    handshake_timeout: Duration = Field(default=10.0, ge=0.1, le=300)
    """For TLS and for the handshake with a shared key."""

    @model_validator(mode="after")
    def _holds_a_message(self) -> Self:
        if self.max_pending_bytes is not None and self.max_pending_bytes < self.max_message_bytes:
            raise wrong("has max_pending_bytes below max_message_bytes; raise it: no such message would come whole")
        return self

    def limits(self) -> ForwardLimits:
        """As the receiver wants them."""
        return ForwardLimits(
            max_connections=self.max_connections,
            max_in_flight_bytes=self.max_in_flight_bytes,
            max_pending_bytes=self.max_pending_bytes or max(64 << 20, 4 * self.max_message_bytes),
            message_timeout_s=self.message_timeout,
            handshake_timeout_s=self.handshake_timeout,
            parser=ParserLimits(
                max_message_bytes=self.max_message_bytes,
                max_inflated_bytes=self.max_inflated_bytes,
                max_entries=self.max_entries,
            ),
        )


class ForwardListeners:
    """The receiver with its listeners (settings.registry.Receiver)."""

    def __init__(self, settings: Settings, context: Context, consumer: Consumer) -> None:
        """Binds. Raises OSError, ValueError."""
        self._receiver = ForwardReceiver(consumer, context.telemetry, context.clock, context.claims, settings.limits())
        self._doors: list[tuple[ListenerSettings, socket.socket, Door]] = []
        self._heartbeats: list[Heartbeats] = []
        try:
            for listener in settings.listeners:
                self._doors.append((listener, bind(listener.address), _door(listener, context)))
        except BaseException:
            for _, sock, _ in self._doors:
                sock.close()
            raise

    async def start(self) -> dict[str, str]:
        """See settings.registry.Receiver."""
        ready: dict[str, str] = {}
        for number, (listener, sock, door) in enumerate(self._doors):
            await self._receiver.open(sock, door)
            ready[f"forward.{number}"] = str(bound_address(sock))
            if listener.udp_heartbeat:
                heartbeats = Heartbeats()
                self._heartbeats.append(heartbeats)
                await heartbeats.listen(sock.getsockname(), sock.family)
        return ready

    async def close(self) -> None:
        """See settings.registry.Receiver."""
        for heartbeats in self._heartbeats:
            heartbeats.close()
        await self._receiver.close(_CLOSE_S)
        for _, sock, _ in self._doors:
            sock.close()  # one that was never served


def build(settings: Settings, context: Context, consumer: Consumer) -> ForwardListeners:
    """Raises OSError for an address that is taken and files that cannot be read, ValueError for ones that are wrong."""
    return ForwardListeners(settings, context, consumer)


def _door(listener: ListenerSettings, context: Context) -> Door:
    security = _security(listener)
    if listener.tls is None:
        return Door(security=security)
    if isinstance(listener.tls, ServerTls):
        names = listener.tls.client_names
        return Door(
            FileTls(listener.tls.files()).context,
            check=check_names(frozenset(names)) if names else None,
            security=security,
        )
    if context.credentials is None:
        raise ValueError(f"{listener.address}: tls: mesh, but this collector is of no mesh; write a tls of its own")
    tls = FollowingTls(context.credentials)
    return Door(tls.context, authenticate=tls.authenticate, security=security)


def _security(listener: ListenerSettings) -> Callable[[], Security] | None:
    key_file, users_file = listener.shared_key_file, listener.users_file
    if key_file is None:
        return None

    def read() -> Security:
        # With each handshake, so that a new key is taken without a restart.
        users = None if users_file is None else parse_users(users_file.read())
        return Security(key_file.read().encode(), users, listener.hostname)

    return read
