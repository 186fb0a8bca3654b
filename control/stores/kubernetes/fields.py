"""Fields of objects, held to their types: an API server sends no others, and whoever stands in for one might."""

import ipaddress
import sys
from typing import Any


def text(value: Any) -> str:
    """Shared among all that say the same; empty where there is none. Raises TypeError."""
    return sys.intern(value) if value is not None else ""


def port(value: Any) -> int:
    """Raises ValueError."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 65_536:
        raise ValueError(f"{str(value)[:50]!r} is no port number")
    return value


def ip(value: Any) -> str:
    """In its canonical form. Raises ValueError."""
    if not isinstance(value, str):
        raise ValueError(f"{str(value)[:50]!r} is no IP address")
    return str(ipaddress.ip_address(value))
