"""Load and upstream for connections that carry bytes: `python -m tests.bench.stream upstream|bulk|echo ...`.

A connection's first byte says what it is for. Bulk: what follows is thrown away and, when the client's side has ended,
its length is answered (8 bytes); that shows that every byte arrived and that half-closed connections work. Echo: what
follows is sent back.
"""

import argparse
import contextlib
import json
import selectors
import socket
import struct
import time
from dataclasses import dataclass

BULK, ECHO = b"B", b"E"
_LENGTH = struct.Struct(">Q")
_PIECE = memoryview(bytes(range(256)) * 1024)
"""256 KiB."""
_PATIENCE_S = 20.0


class Wrong(Exception):
    """A peer did not get what was sent."""


@dataclass(slots=True)
class _Served:
    kind: bytes = b""
    received: int = 0


def upstream(port: int) -> None:
    """Serve until killed."""
    buffer = bytearray(len(_PIECE))
    poll = selectors.DefaultSelector()
    listener = socket.create_server(("127.0.0.1", port), backlog=1024)
    listener.setblocking(False)
    poll.register(listener, selectors.EVENT_READ, None)
    while True:
        for key, _ in poll.select():
            if key.data is None:
                sock, _ = listener.accept()
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                poll.register(sock, selectors.EVENT_READ, _Served())
                continue
            sock = key.fileobj
            assert isinstance(sock, socket.socket)
            try:
                if not _serve(sock, key.data, buffer):
                    poll.unregister(sock)
                    sock.close()
            except BlockingIOError:
                pass
            except OSError:
                poll.unregister(sock)
                sock.close()


def _serve(sock: socket.socket, served: _Served, buffer: bytearray) -> bool:
    """One turn. False: this connection is done."""
    if not served.kind:
        served.kind = sock.recv(1)
    elif served.kind == ECHO:
        if not (data := sock.recv(65536)):
            return False
        sock.sendall(data)  # messages are far smaller than the socket's buffer
        return True
    elif count := sock.recv_into(buffer, len(buffer), socket.MSG_TRUNC):
        served.received += count  # the kernel counts and forgets (tcp(7)): copying would be the load's work alone
        return True
    else:
        sock.setblocking(True)
        sock.sendall(_LENGTH.pack(served.received))
        return False
    return bool(served.kind)


def bulk(port: int, connections: int, seconds: float) -> dict[str, float]:
    """Send for so long. Raises Wrong unless all of it arrived."""
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(_connect(port, BULK)) for _ in range(connections)]
        poll = stack.enter_context(selectors.DefaultSelector())
        sent = dict.fromkeys(socks, 0)
        for sock in socks:
            sock.setblocking(False)
            poll.register(sock, selectors.EVENT_WRITE)
        began = time.perf_counter()
        end = began + seconds
        while time.perf_counter() < end:
            for key, _ in poll.select(0.1):
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                with contextlib.suppress(BlockingIOError):
                    sent[sock] += sock.send(_PIECE)
        for sock in socks:
            sock.settimeout(_PATIENCE_S)
            sock.shutdown(socket.SHUT_WR)
        for sock in socks:
            (arrived,) = _LENGTH.unpack(_exactly(sock, _LENGTH.size))
            if arrived != sent[sock]:
                raise Wrong(f"{arrived} of {sent[sock]} bytes arrived")
        # Until the last byte has arrived, so that what buffers hold is not counted as carried.
        return {"bytes": float(sum(sent.values())), "seconds": time.perf_counter() - began}


def echo(port: int, connections: int, message_bytes: int, seconds: float) -> dict[str, float]:
    """Ping-pong on each connection. Raises Wrong when an echo differs."""
    message = bytes(_PIECE[:message_bytes])
    sent_at: dict[socket.socket, float] = {}
    times: list[float] = []
    clock = time.perf_counter
    with contextlib.ExitStack() as stack:
        poll = stack.enter_context(selectors.DefaultSelector())
        for _ in range(connections):
            sock = stack.enter_context(_connect(port, ECHO))
            poll.register(sock, selectors.EVENT_READ)
            sent_at[sock] = clock()
            sock.sendall(message)
        began = clock()
        end = began + seconds
        while clock() < end:
            ready = poll.select(_PATIENCE_S)
            if not ready:
                raise Wrong(f"no echo within {_PATIENCE_S:g} s")
            for key, _ in ready:
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                if sock.recv(message_bytes, socket.MSG_WAITALL) != message:
                    raise Wrong("an echo is not what was sent")
                now = clock()
                times.append(now - sent_at[sock])
                sent_at[sock] = now
                sock.sendall(message)
        took = clock() - began
        for sock in sent_at:
            _exactly(sock, message_bytes)
    times.sort()
    return {
        "messages": float(len(times)),
        "seconds": took,
        "p50_ms": times[len(times) // 2] * 1e3,
        "p99_ms": times[len(times) * 99 // 100] * 1e3,
    }


def _connect(port: int, kind: bytes) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(kind)
    sock.setblocking(True)  # with a time-out, MSG_WAITALL would wait for nothing
    return sock


def _exactly(sock: socket.socket, length: int) -> bytes:
    """Raises Wrong if the connection ends before."""
    data = b""
    while len(data) < length:
        if not (more := sock.recv(length - len(data))):
            raise Wrong(f"closed after {len(data)} of {length} bytes")
        data += more
    return data


def main() -> None:
    """`upstream PORT`, or a load whose figures are printed as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["upstream", "bulk", "echo"])
    parser.add_argument("port", type=int)
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--message-bytes", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=1.0)
    flags = parser.parse_args()
    if flags.what == "upstream":
        upstream(flags.port)
    elif flags.what == "bulk":
        print(json.dumps(bulk(flags.port, flags.connections, flags.seconds)))
    else:
        print(json.dumps(echo(flags.port, flags.connections, flags.message_bytes, flags.seconds)))


if __name__ == "__main__":
    main()
