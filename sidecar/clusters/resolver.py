"""Names of DNS clusters -> addresses, asked for again and again; the last answer serves while there is none newer."""

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Iterable
from dataclasses import replace

from sidecar.clusters.cluster import LiveCluster
from sidecar.clusters.dial import Surroundings
from sidecar.config.endpoint import Address, Endpoint

log = logging.getLogger(__name__)

MAX_ADDRESSES = 256
"""Of one name; more are left out."""


class Resolver:
    """One task per DNS cluster, in the process's scope."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._tasks: dict[LiveCluster, asyncio.Task[None]] = {}
        self._names: dict[LiveCluster, tuple[Endpoint, ...]] = {}
        self._first: dict[LiveCluster, asyncio.Event] = {}

    def follow(self, clusters: Iterable[LiveCluster]) -> None:
        """Resolve these from now on, and no others."""
        wanted = {cluster: cluster.config.endpoints for cluster in clusters}
        for cluster in [each for each, names in self._names.items() if wanted.get(each) != names]:
            self._tasks.pop(cluster).cancel()
            self._first.pop(cluster).set()
        self._names = wanted
        for cluster in wanted:
            if cluster not in self._tasks:
                self._first[cluster] = asyncio.Event()
                self._tasks[cluster] = self._around.scope.spawn(self._keep(cluster), name=f"resolve {cluster.name}")

    async def settled(self, within_s: float) -> None:
        """Wait until each was resolved once or failed to, at most `within_s`."""
        try:
            async with asyncio.timeout(within_s):
                for event in list(self._first.values()):
                    await event.wait()
        except TimeoutError:
            log.warning("not every DNS cluster was resolved within %g s", within_s)

    async def _keep(self, cluster: LiveCluster) -> None:
        while True:
            endpoints = await self._resolve(cluster)
            if endpoints:
                cluster.resolved(endpoints)
            self._first[cluster].set()
            await asyncio.sleep(max(1.0, cluster.config.dns_refresh_s))

    async def _resolve(self, cluster: LiveCluster) -> tuple[Endpoint, ...]:
        found: dict[Address, Endpoint] = {}
        for endpoint in cluster.config.endpoints:
            name, port = endpoint.address.host, endpoint.address.port
            try:
                answers = await self._around.loop.getaddrinfo(name, port, type=socket.SOCK_STREAM)
            except (OSError, UnicodeError) as error:
                log.warning("cluster %s: %s does not resolve: %s", cluster.name, name, error)
                continue
            ours = _means_this_machine(name)
            for *_, place in answers[:MAX_ADDRESSES]:
                address = Address(str(place[0]), port)
                if not ours and _is_this_machine(address.host):
                    log.warning("cluster %s: %s leads to %s, which is left out", cluster.name, name, address.host)
                    continue
                found.setdefault(address, replace(endpoint, address=address))
        return tuple(sorted(found.values(), key=lambda each: each.address))


def _means_this_machine(name: str) -> bool:
    """Whether who wrote it knew: where the control plane lets such names be written at all."""
    bare = name.rstrip(".").lower()
    return bare.endswith("localhost") or bare == socket.gethostname().lower() or _is_address(bare)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_this_machine(text: str) -> bool:
    """Loopback and its kin. Whoever's DNS says so must not reach this sidecar's own administration through it, nor a
    cloud's credentials for this machine."""
    address = ipaddress.ip_address(text.partition("%")[0])
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified or address.is_link_local
