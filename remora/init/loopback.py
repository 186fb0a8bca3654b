"""The address ::6 on the loopback interface, which the sidecar binds to when it hands on to its application by IPv6.

127.0.0.6 is there already: 127.0.0.0/8 is. Spoken to the kernel by rtnetlink (rtnetlink(7)), so that no program `ip`
has to be in the image.
"""

import errno
import os
import socket
import struct
from ipaddress import IPv6Address
from pathlib import Path

from remora.init.back_end import CaptureError

ADDRESS = IPv6Address("::6")

_RTM_NEWADDR, _RTM_DELADDR = 20, 21
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_CREATE, _NLM_F_REPLACE = 0x1, 0x4, 0x400, 0x100
_NLMSG_ERROR = 2
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_IFA_F_NODAD = 0x02
_RT_SCOPE_HOST = 254
_ALREADY = {errno.EEXIST, errno.EADDRNOTAVAIL}
"""It is there; it is not there."""

IF_INET6 = Path("/proc/net/if_inet6")


def kernel_has_ipv6() -> bool:
    """Whether IPv6 is known at all in this network namespace."""
    return IF_INET6.exists()


def has_ipv6_address() -> bool:
    """Whether some interface has an IPv6 address that others could write to: neither loopback nor of a link."""
    # Fields: address, index, prefix's length, scope (00 is global), flags, interface.
    rows = (line.split() for line in IF_INET6.read_text("ascii").splitlines()) if IF_INET6.exists() else ()
    return any(len(row) == 6 and row[3] == "00" and row[5] != "lo" for row in rows)


def has_address() -> bool:
    """Whether ::6 is on the loopback interface."""
    return IF_INET6.exists() and f"{int(ADDRESS):032x} " in IF_INET6.read_text("ascii")


def add_address() -> None:
    """Have it there. Raises CaptureError."""
    _change(_RTM_NEWADDR, _NLM_F_CREATE | _NLM_F_REPLACE, "added to")


def remove_address() -> None:
    """Have it gone. Raises CaptureError."""
    _change(_RTM_DELADDR, 0, "removed from")


def _change(kind: int, flags: int, done: str) -> None:
    # ifaddrmsg: family, prefix's length, flags, scope, interface; then two attributes with the address.
    body = struct.pack("=BBBBI", socket.AF_INET6, 128, _IFA_F_NODAD, _RT_SCOPE_HOST, socket.if_nametoindex("lo"))
    for attribute in (_IFA_LOCAL, _IFA_ADDRESS):
        body += struct.pack("=HH", 4 + 16, attribute) + ADDRESS.packed
    header = struct.pack("=IHHII", 16 + len(body), kind, _NLM_F_REQUEST | _NLM_F_ACK | flags, 1, 0)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
            kernel.settimeout(5.0)
            kernel.bind((0, 0))
            kernel.send(header + body)
            error = _acknowledged(kernel.recv(4096))
    except OSError as refusal:
        error = refusal.errno or errno.EIO
    if error and error not in _ALREADY:
        fix = (
            "give the init container NET_ADMIN" if error == errno.EPERM else "see sysctl net.ipv6.conf.lo.disable_ipv6"
        )
        raise CaptureError(f"{ADDRESS} cannot be {done} the loopback interface: {os.strerror(error)}; {fix}")


def _acknowledged(answer: bytes) -> int:
    """The error's number in an answer of the kernel; 0 is done."""
    length, kind = struct.unpack_from("=IH", answer)
    if kind != _NLMSG_ERROR or length < 20:
        return errno.EPROTO
    code: int = struct.unpack_from("=i", answer, 16)[0]
    return -code
