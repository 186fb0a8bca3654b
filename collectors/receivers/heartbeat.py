"""The forward protocol's heartbeats over UDP: a byte for a byte, so that nobody gets back more than he sent."""

import asyncio
import socket
from typing import Any, cast

_BEAT = b"\0"


class Heartbeats(asyncio.DatagramProtocol):
    """Answers on one UDP socket."""

    def __init__(self) -> None:
        self._transport: asyncio.DatagramTransport | None = None

    async def listen(self, address: tuple[Any, ...], family: int) -> None:
        """On the UDP port of the same number as the TCP one. Raises OSError if it is taken."""
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.bind(address)
            await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, sock=sock)
        except OSError as error:
            sock.close()
            raise OSError(f"cannot listen on UDP {address[0]}:{address[1]}: {error.strerror}") from error

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: Any) -> None:
        if data and self._transport is not None:
            self._transport.sendto(_BEAT, address)

    def close(self) -> None:
        """Answer no more."""
        if self._transport is not None:
            self._transport.close()
