"""TLS over a plain transport, both sides: what uvloop's own layer does, at less cost, and with more said at the end.

uvloop asks OpenSSL once more after each record whether there is another (an exception each time), and can neither close
one direction alone nor send the alert that explains a failed handshake. Here a read asks for what has come, a write
leaves as one piece. One record read and one written: 6 us instead of 7.5.
https://docs.python.org/3/library/ssl.html#memory-bio-support
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, Final, cast

from sidecar.net.outbox import Outbox

_RECORD_BYTES: Final = 16 * 1024
"""The most that one record holds (RFC 8446 5.1)."""

_READ_BYTES: Final = 256 * 1024
"""Taken from the socket at once: as much as uvloop takes of a connection in plaintext. With half of it, waking readers
on other cores costs more than the caches win."""

_PIECE_BYTES: Final = _READ_BYTES + _RECORD_BYTES
"""Records that came together are handed on as one piece of so much at most."""

# Filled and emptied within one callback of the one event loop: all streams share them.
_RECEIVED: Final = memoryview(bytearray(_READ_BYTES))
_OPENED: Final = memoryview(bytearray(_PIECE_BYTES))

_NOBODY: Final = asyncio.Protocol()


class TlsStream(asyncio.BufferedProtocol):
    """The protocol of a plain transport, and the transport of `app`, whose `connection_made` is called when the
    handshake is done; if it fails, nothing of `app` is called.

    Flow control passes through: what is written is encrypted at once, so the plain transport's marks count. States:
    shaking hands, open, closing.
    """

    __slots__ = (
        "_app",
        "_closing",
        "_deliver",
        "_ended",
        "_error",
        "_handshake",
        "_held",
        "_in",
        "_out",
        "_outbox",
        "_paused",
        "_records",
        "_shaken",
        "_then",
        "_tls",
        "plain",
    )

    __deletable__ = ("_in", "_out", "_records", "_tls")  # for mypyc

    # Known once the connection is made.
    plain: asyncio.Transport

    def __init__(
        self,
        app: asyncio.Protocol,
        context: ssl.SSLContext,
        loop: asyncio.AbstractEventLoop,
        *,
        server_side: bool,
        server_hostname: str | None = None,
        outbox: Outbox | None = None,
    ) -> None:
        """`outbox`: where writes are gathered; without one they leave at once."""
        self._app = app
        self._outbox = outbox
        self._deliver: Callable[[bytes], None] = app.data_received
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side, server_hostname or None)
        # The object beneath, where there is one: every read and write of SSLObject is a Python function around its.
        self._records: Any = getattr(self._tls, "_sslobj", self._tls)
        self._handshake: asyncio.Future[None] | None = loop.create_future()
        """Until somebody has been told how it went."""
        self._shaken = False
        self._paused = False
        self._held: list[bytes] = []
        """Read and not handed on yet; an empty one is the peer's end."""
        self._then: ssl.SSLError | None = None
        """What came behind the piece that is being handed on: the peer's end (SSLZeroReturnError) or an offence."""
        self._ended = False
        """The peer has said that nothing follows."""
        self._closing = False
        self._error: Exception | None = None

    async def shake_hands(self) -> None:
        """Until the handshake is done. Raises ssl.SSLError, or OSError where the connection was lost; cancelled, it
        cuts the connection."""
        handshake = self._handshake
        assert handshake is not None
        try:
            await handshake
        except asyncio.CancelledError:
            self.abort()
            raise
        finally:
            # An exception knows the frames that it came through, and they know us: without this, 50 KiB of OpenSSL's
            # memory would wait for the garbage collector, which does not see it.
            self._handshake = handshake = None

    def set_protocol(self, app: asyncio.Protocol) -> None:
        """Another application from now on. It is not told of the connection."""
        self._app = app
        self._deliver = app.data_received

    def stop_gathering(self) -> None:
        """Write at once from now on."""
        if self._outbox is not None:
            self._outbox.flush()
            self._outbox = None

    # the plain transport's side

    def connection_made(self, transport: Any) -> None:
        self.plain = transport
        if not self._tls.server_side:
            self._go_on()

    def get_buffer(self, sizehint: int) -> memoryview:
        return _RECEIVED

    def buffer_updated(self, nbytes: int) -> None:
        if self._closing:
            return
        self._in.write(_RECEIVED[:nbytes])
        if self._shaken:
            self._read()
        else:
            self._go_on()

    def eof_received(self) -> bool | None:
        # True keeps the other direction open: for an application that still writes after the peer's close_notify.
        return self._shaken and self._ended and not self._closing

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is None:
            exc = self._error
            if exc is None and self._shaken and not self._ended and not self._closing:
                exc = ssl.SSLEOFError("closed without close_notify: what came may not be all")  # RFC 8446 6.1
        self._closing = True
        self._error = None
        app = self._app
        # Whoever has us and whom we have would wait for each other, and for the garbage collector.
        self._app = _NOBODY
        self._deliver = _NOBODY.data_received
        try:
            if self._shaken:
                app.connection_lost(exc)
            else:
                self._failed(exc or ConnectionResetError("the connection closed in the TLS handshake"))
        finally:
            # An application may keep us for longer; OpenSSL's 50 KiB are of no use to it. From here on we are closing,
            # and nothing but `get_extra_info` asks for them.
            del self._tls, self._records, self._in, self._out

    def pause_writing(self) -> None:
        if self._shaken:
            self._app.pause_writing()

    def resume_writing(self) -> None:
        if self._shaken:
            self._app.resume_writing()

    def _go_on(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except (ssl.SSLError, ssl.CertificateError) as error:
            self._end()  # with the alert that says why
            self._failed(error)
            return
        self._flush()
        handshake = self._handshake
        if handshake is None or handshake.done():  # given up meanwhile
            self.abort()
            return
        self._shaken = True
        self._app.connection_made(cast(asyncio.Transport, self))
        handshake.set_result(None)
        if self._in.pending:
            self._read()

    def _failed(self, error: Exception) -> None:
        handshake = self._handshake
        if handshake is not None and not handshake.done():
            handshake.set_exception(error)
            handshake.exception()  # whoever waited may have gone

    def _read(self) -> None:
        """Hand on what has come until there is no more or the application wants no more."""
        if self._closing:  # since this was called for
            return
        incoming = self._in
        tls = self._records
        try:
            while not self._paused and not self._closing:
                waiting: int = incoming.pending
                # A record's content is shorter than the record: no more memory than came is asked for.
                size = waiting if 0 < waiting < _RECORD_BYTES else _RECORD_BYTES
                data: bytes = tls.read(size)
                if not data:
                    self._peer_ended()
                    return
                if not incoming.pending and (len(data) < size or not tls.pending()):
                    self._deliver(data)
                    break
                self._deliver(self._with_following(data))
                if self._then is not None:
                    self._went_on()
                    return
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:  # how the peer's end shows when ours has been said
            self._peer_ended()
            return
        except ssl.SSLError as error:
            self._broke(error)
            return
        if self._out.pending:  # an answer to a key update
            self._flush()

    def _with_following(self, first: bytes) -> bytes:
        """The records that came together, as one piece: whoever passes them on would write, and wake a reader, once for
        each. Ten times as dear in bulk as putting them together."""
        incoming = self._in
        tls = self._records
        size = len(first)
        _OPENED[:size] = first
        try:
            while size <= _READ_BYTES and (incoming.pending or tls.pending()):
                count: int = tls.read(_RECORD_BYTES, _OPENED[size:])
                if not count:
                    self._then = ssl.SSLZeroReturnError()
                    break
                size += count
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self._then = error
        return bytes(_OPENED[:size])

    def _went_on(self) -> None:
        """Tell the application what came behind the piece that it has got."""
        then = self._then
        self._then = None
        if not isinstance(then, ssl.SSLZeroReturnError):
            assert then is not None
            self._broke(then)
        elif self._paused:
            self._held.append(b"")
        else:
            self._peer_ended()

    def _peer_ended(self) -> None:
        self._ended = True
        if not self._closing and not self._app.eof_received():
            self.close()

    def _broke(self, error: ssl.SSLError) -> None:
        """What came is no TLS of this connection's. The alert says so; then nothing more is believed."""
        if self._closing:
            return
        self._error = error
        self._end()

    def _hold(self) -> None:
        """Read what has come and keep it. OpenSSL takes records that wait while it says the end for an offence."""
        try:
            while True:
                data = self._records.read(_RECORD_BYTES)
                self._held.append(data)
                if not data:
                    break
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._held.append(b"")
        except ssl.SSLError as error:
            self._broke(error)
            return
        if not self._paused:
            asyncio.get_running_loop().call_soon(self._hand_on_held)

    def _hand_on_held(self) -> None:
        while self._held and not self._paused and not self._closing:
            data = self._held.pop(0)
            if data:
                self._deliver(data)
            else:
                self._peer_ended()
        if not self._held and not self._paused and not self._closing and self._in.pending:
            self._read()

    def _flush(self) -> None:
        if self._out.pending:
            self._send(self._out.read())

    def _send(self, records: bytes) -> None:
        if self._outbox is None:
            self.plain.write(records)
        else:
            self._outbox.put(self.plain, records)

    # the application's side: asyncio.Transport, as far as it is used

    def write(self, data: bytes) -> None:
        """Encrypt and send."""
        if self._closing:
            return
        sent: int = self._records.write(data)
        if sent < len(data):
            rest = memoryview(data)
            while sent < len(data):
                sent += self._records.write(rest[sent:])
        self._send(self._out.read())

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """Say that nothing follows (close_notify), and close this direction."""
        if self._closing:
            return
        if self._in.pending or self._records.pending():
            self._hold()
        self._say_end()
        self._flush()
        if self._outbox is not None:
            self._outbox.flush()
        if self.plain.can_write_eof():
            self.plain.write_eof()

    def close(self) -> None:
        """Say that nothing follows, and close once everything has left."""
        if self._closing:
            return
        self._say_end()
        self._end()

    def _say_end(self) -> None:
        try:
            self._tls.unwrap()
        except ssl.SSLError:  # the peer's own end has not come: nobody waits for it
            pass

    def _end(self) -> None:
        """Close once everything has left."""
        self._closing = True
        self._flush()
        if self._outbox is not None:
            self._outbox.flush()
        self.plain.close()

    def abort(self) -> None:
        self._closing = True
        self.plain.abort()

    def is_closing(self) -> bool:
        return self._closing or self.plain.is_closing()

    def pause_reading(self) -> None:
        self._paused = True
        self.plain.pause_reading()

    def resume_reading(self) -> None:
        if not self._paused or self._closing:
            return
        self._paused = False
        self.plain.resume_reading()
        if self._held:
            asyncio.get_running_loop().call_soon(self._hand_on_held)
        elif self._in.pending or self._records.pending():
            asyncio.get_running_loop().call_soon(self._read)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.plain.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        return self.plain.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "ssl_object":
            return getattr(self, "_tls", default)
        return self.plain.get_extra_info(name, default)
