"""Whose process is at the other end of a connection on this machine: the kernel's table of TCP sockets knows."""

import socket
import struct
from ipaddress import IPv6Address
from pathlib import Path

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))

Place = tuple[str, int]
"""IP address and port."""


def user_of(peer: Place, ours: Place) -> int | None:
    """User id of the process that has the end `peer` of the connection to `ours`. None: it is not of this machine (or
    network namespace), or gone."""
    wanted = {(_spell(peer, mapped=mapped), _spell(ours, mapped=mapped)) for mapped in (False, True)}
    for table in TABLES:
        try:
            lines = table.read_text("ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            columns = line.split()
            if (columns[1], columns[2]) in wanted:
                return int(columns[7])
    return None


def _spell(place: Place, *, mapped: bool) -> str:
    """`0100007F:1F90`: 32-bit words in the machine's order, as proc(5) has them. `mapped`: an IPv4 address in IPv6."""
    host, port = place
    if ":" in host and (inner := IPv6Address(host).ipv4_mapped) is not None:
        host = str(inner)
    if ":" in host:
        packed = socket.inet_pton(socket.AF_INET6, host)
    else:
        packed = socket.inet_pton(socket.AF_INET, host)
        if mapped:
            packed = bytes(10) + b"\xff\xff" + packed
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    return "".join(f"{word:08X}" for word in words) + f":{port:04X}"
