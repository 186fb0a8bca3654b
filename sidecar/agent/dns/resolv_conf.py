"""The pod's own servers and search path, of `/etc/resolv.conf` (resolv.conf(5))."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path

RESOLV_CONF = Path("/etc/resolv.conf")
MAX_BYTES = 65_536
MAX_SERVERS = 3
"""As the C library takes."""
MAX_SEARCH = 32
"""As Kubernetes allows."""


@dataclass(frozen=True, slots=True)
class ResolvConf:
    """What matters of it here."""

    servers: tuple[str, ...]
    """IP addresses, a scope after `%` included; they are asked at port 53."""
    search: tuple[str, ...] = ()


def read(path: Path = RESOLV_CONF) -> ResolvConf:
    """Raises OSError."""
    with path.open("rb") as file:
        return parse(file.read(MAX_BYTES).decode("utf-8", "replace"))


def parse(text: str) -> ResolvConf:
    """Like the C library: what it does not know it ignores, the last `search` counts, without a server the machine's
    own one is meant."""
    servers: list[str] = []
    search: tuple[str, ...] = ()
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2 or line[0] in "#;":
            continue
        if words[0] == "nameserver" and _is_address(words[1]) and words[1] not in servers:
            servers.append(words[1])
        elif words[0] in ("search", "domain"):
            search = tuple(words[1 : 1 + MAX_SEARCH])
    return ResolvConf(tuple(servers[:MAX_SERVERS]) or ("127.0.0.1",), search)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
