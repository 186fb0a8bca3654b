"""The forward protocol's handshake, server side: HELO, PING, PONG. No I/O.

As in the specification (fluentd's wiki, "Forward Protocol Specification v1", handshake messages) and in what fluentd's
in_forward does where that leaves room: who knows the shared key proves it by a digest over our nonce; where users are
configured, one of them proves the password by a digest over our salt. Neither key nor password crosses the wire, nor
ever a log. So that an answer tells nothing by its time, digests are compared in constant time, and an unknown user's
password is checked like a known one's.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgpack

MAX_PING_BYTES = 8 * 1024
SALT_BYTES = 16
_PING_WIDTH = 6


@dataclass(frozen=True, slots=True)
class Security:
    """What a listener demands of its senders."""

    shared_key: bytes = field(repr=False)
    users: Mapping[str, bytes] | None = field(default=None, repr=False)
    """Passwords by user; None: whoever knows the shared key."""
    hostname: str = "remora-collector"
    """Ours. Senders refuse one that is the same as their own."""


class HandshakeFailed(Exception):
    """Send `answer`, if there is any, and close. The text is a reason to count, and has nothing of the peer's."""

    def __init__(self, reason: str, answer: bytes = b"") -> None:
        super().__init__(reason)
        self.answer = answer


@dataclass(frozen=True, slots=True)
class Welcome:
    """The sender is who it says; messages follow."""

    answer: bytes
    """PONG, to be sent."""
    rest: bytes
    """What it sent after its PING."""
    user: str | None
    hostname: str
    """What it calls itself; proven by nothing."""


class Handshake:
    """One connection's."""

    def __init__(self, security: Security, nonce: bytes, salt: bytes) -> None:
        """`nonce` and `salt`: random bytes of this connection alone."""
        self._security = security
        self._nonce = nonce
        self._salt = salt if security.users is not None else b""
        self._pending = b""

    def helo(self) -> bytes:
        """What is sent first."""
        return _pack(["HELO", {"nonce": self._nonce, "auth": self._salt, "keepalive": True}])

    def feed(self, data: bytes) -> Welcome | None:
        """None while the PING is not whole. Raises HandshakeFailed."""
        self._pending += data
        # Whatever is text there may be sent as bytes, and the other way round: all of it is taken as bytes.
        unpacker = msgpack.Unpacker(raw=True, max_buffer_size=max(len(self._pending), 1), max_array_len=_PING_WIDTH)
        unpacker.feed(self._pending)
        try:
            message = unpacker.unpack()
        except msgpack.OutOfData:
            if len(self._pending) > MAX_PING_BYTES:
                raise HandshakeFailed("malformed PING") from None
            return None
        except (ValueError, msgpack.UnpackException) as error:
            raise HandshakeFailed("malformed PING") from error
        size = unpacker.tell()
        if size > MAX_PING_BYTES:
            raise HandshakeFailed("malformed PING")
        return self._judge(message, self._pending[size:])

    def _judge(self, message: Any, rest: bytes) -> Welcome:
        if type(message) is not list or len(message) != _PING_WIDTH or message[0] != b"PING":
            raise HandshakeFailed("no PING", _refusal("a PING is expected"))
        if not all(type(part) is bytes for part in message):
            raise HandshakeFailed("malformed PING", _refusal("malformed PING"))
        _, hostname, salt, digest, user, password_digest = message
        security = self._security
        if not hmac.compare_digest(_digest(salt, hostname, self._nonce, security.shared_key), digest):
            raise HandshakeFailed("shared key mismatch", _refusal("shared_key mismatch"))
        if security.users is not None:
            self._check_user(security.users, user, password_digest)
        ours = security.hostname.encode()
        if hostname == ours:
            # Fluentd's senders refuse this as well, but say so to nobody.
            raise HandshakeFailed("same hostname", _refusal("sender and receiver have the same hostname"))
        proof = _digest(salt, ours, self._nonce, security.shared_key)
        pong = _pack(["PONG", True, "", security.hostname, proof.decode()])
        name = user.decode("utf-8", "replace") if security.users is not None else None
        return Welcome(pong, rest, name, hostname.decode("utf-8", "replace"))

    def _check_user(self, users: Mapping[str, bytes], user: bytes, password_digest: bytes) -> None:
        password = users.get(user.decode("utf-8", "replace"))
        expected = _digest(self._salt, user, password if password is not None else b"")
        if not hmac.compare_digest(expected, password_digest) or password is None:
            raise HandshakeFailed("user or password mismatch", _refusal("username/password mismatch"))


def parse_users(text: str) -> dict[str, bytes]:
    """Passwords by user of a file with `user:password` lines; empty lines and those that begin with # are skipped.

    Raises ValueError that names the line, and never what is on it.
    """
    users: dict[str, bytes] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        user, colon, password = line.partition(":")
        if not colon or not user or not password:
            raise ValueError(f"line {number} is not user:password")
        if user in users:
            raise ValueError(f"line {number} has a user that an earlier line has")
        users[user] = password.encode()
    if not users:
        raise ValueError("it names no user; write user:password lines")
    return users


def _digest(*parts: bytes) -> bytes:
    """SHA-512 of the parts one after the other, as hex digits."""
    return hashlib.sha512(b"".join(parts)).hexdigest().encode()


def _refusal(reason: str) -> bytes:
    return _pack(["PONG", False, reason, "", ""])


def _pack(value: Any) -> bytes:
    return bytes(msgpack.packb(value))
