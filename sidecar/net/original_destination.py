"""Where a connection was going before a rule of the kernel's nat table redirected it to us.

Linux remembers it beside the connection: getsockopt SO_ORIGINAL_DST, IPv6's IP6T_SO_ORIGINAL_DST, which are one number.
https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/listener_filters/original_dst_filter
"""

import socket
import struct
from typing import Final

from sidecar.config.endpoint import Address

_SO_ORIGINAL_DST: Final = 80  # linux/netfilter_ipv4.h, linux/netfilter_ipv6/ip6_tables.h
_IN: Final = struct.Struct("!2xH4s8x")  # struct sockaddr_in
_IN6: Final = struct.Struct("!2xH4x16s4x")  # struct sockaddr_in6


def original_destination(connection: socket.socket) -> Address:
    """Its own local address where nothing redirected it, or the kernel does not say. One system call for what was
    redirected. Raises OSError for a connection that is gone."""
    try:
        if connection.family == socket.AF_INET6:
            found = connection.getsockopt(socket.IPPROTO_IPV6, _SO_ORIGINAL_DST, _IN6.size)
            port, host = _IN6.unpack(found)
            return Address(socket.inet_ntop(socket.AF_INET6, host), port)
        found = connection.getsockopt(socket.SOL_IP, _SO_ORIGINAL_DST, _IN.size)
        port, host = _IN.unpack(found)
        return Address(socket.inet_ntop(socket.AF_INET, host), port)
    except OSError:
        return local_address(connection)


def local_address(connection: socket.socket) -> Address:
    """Where it arrived. Raises OSError for a connection that is gone."""
    host, port = connection.getsockname()[:2]
    return Address(host, port)
