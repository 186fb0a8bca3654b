"""Whether this agent answers DNS, and what the agent sees of it; dnspython is imported where it does, and only then."""

import logging
import random
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from mesh.clock import Clock
from mesh.lifecycle import TaskScope
from sidecar.agent.dns import resolv_conf
from sidecar.agent.dns.names import LAYER, Address, search_path
from sidecar.agent.vitals import Vital
from sidecar.bootstrap import Bootstrap

_log = logging.getLogger("remora.dns")


class DnsServing(Protocol):
    """As the agent knows it."""

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    def use(self, hosts: Mapping[str, tuple[Address, ...]]) -> None:
        """From now on these are the mesh's names."""

    def vitals(self) -> Iterator[Vital]: ...


def dns_layers(bootstrap: Bootstrap) -> frozenset[str]:
    """Runtime layers to ask for."""
    return frozenset() if bootstrap.dns_port is None else frozenset([LAYER])


def dns_of(bootstrap: Bootstrap, sockets: Sequence[socket.socket], clock: Clock, scope: TaskScope) -> DnsServing | None:
    """None: nobody wants it, and there are no sockets for it."""
    if not sockets:
        return None
    from sidecar.agent.dns.forwarder import Forwarder
    from sidecar.agent.dns.server import DnsServer

    try:
        configured = resolv_conf.read()
    except OSError as error:
        _log.error("%s cannot be read: %s; only the mesh's names are found", resolv_conf.RESOLV_CONF, error.strerror)
        configured = resolv_conf.ResolvConf(())
    search = search_path(bootstrap.node_id.rpartition("~")[2], configured.search)
    # Ids that nobody guesses: another's answer must not pass for the server's.
    rng = random.SystemRandom()
    return DnsServer(Forwarder(configured.servers, clock, rng), search, scope, rng, sockets)
