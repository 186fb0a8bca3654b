"""What went over a wire: TCP segments, read from a packet socket (packet(7))."""

import ipaddress
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from tests.netns.namespaces import Namespace

_ETH_P_ALL = 3
_IPV4, _IPV6, _TCP = 0x0800, 0x86DD, 6
_SO_RCVBUFFORCE = 33
_BUFFER_BYTES = 16 * 1024**2


@dataclass(frozen=True, slots=True)
class Segment:
    """Of TCP, in one direction."""

    source: str
    source_port: int
    destination: str
    destination_port: int
    payload: bytes


class Wiretap:
    """Everything that an interface sees from now on. The kernel keeps it; reading comes later and needs no thread."""

    def __init__(self, namespace: Namespace, interface: str) -> None:
        with namespace.entered():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
            self._socket.bind((interface, _ETH_P_ALL))
        self._socket.setblocking(False)
        self._seen: list[Segment] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def segments(self) -> list[Segment]:
        """All so far."""
        while True:
            try:
                frame = self._socket.recv(262_144)
            except BlockingIOError:
                return self._seen
            if (segment := _segment(frame)) is not None:
                self._seen.append(segment)

    def sent_to(self, address: str, port: int | None = None) -> bytes:
        """Payload of everything sent there, in the order of the wire."""
        return b"".join(
            each.payload
            for each in self.segments()
            if each.destination == address and port in (None, each.destination_port)
        )

    def everything(self) -> bytes:
        """Payload in both directions."""
        return b"".join(each.payload for each in self.segments())


def _segment(frame: bytes) -> Segment | None:
    """None for what is no TCP."""
    if len(frame) < 34:
        return None
    kind = struct.unpack_from("!H", frame, 12)[0]
    if kind == _IPV4 and frame[23] == _TCP:
        begin = 14 + (frame[14] & 15) * 4
        end = 14 + struct.unpack_from("!H", frame, 16)[0]
        addresses = frame[26:30], frame[30:34]
    elif kind == _IPV6 and frame[20] == _TCP:
        begin = 54
        end = 54 + struct.unpack_from("!H", frame, 18)[0]
        addresses = frame[22:38], frame[38:54]
    else:
        return None
    source_port, destination_port = struct.unpack_from("!HH", frame, begin)
    payload = begin + (frame[begin + 12] >> 4) * 4
    source, destination = (str(ipaddress.ip_address(each)) for each in addresses)
    # A coalesced frame of more than 64 KiB says 0 for its length.
    return Segment(source, source_port, destination, destination_port, frame[payload : end if end > begin else None])


@dataclass(frozen=True, slots=True)
class Record:
    """Of TLS, as its five bytes in plaintext say."""

    kind: int
    """20 change cipher spec, 21 alert, 22 handshake, 23 application data."""
    body: bytes


def tls_records(stream: bytes) -> Iterator[Record]:
    """All of a stream. Raises ValueError where it holds anything else."""
    at = 0
    while at < len(stream):
        kind, major, _, length = struct.unpack_from("!BBBH", stream, at)
        if kind not in (20, 21, 22, 23) or major != 3:
            raise ValueError(f"no TLS at byte {at}: {stream[at : at + 24]!r}")
        yield Record(kind, stream[at + 5 : at + 5 + length])
        at += 5 + length
