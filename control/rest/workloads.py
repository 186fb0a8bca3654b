"""Registering and forgetting workloads and the mesh's own components, and the tokens that they begin with."""

import asyncio
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from control.api.workload import Workload, split_host_port
from control.api.world import WorkloadKey, World
from control.ca.template import CONTROL_ACCOUNT, SYSTEM_NAMESPACE
from control.ca.tokens import Tokens, TooManyTokens
from control.rest.refusals import BadCall, Unavailable, Unprocessable
from control.stores import NothingApplied
from control.translate.proxies import identity_of
from control.xds.publisher import Publisher
from mesh.clock import Clock
from mesh.spiffe import InvalidSpiffeId, SpiffeId


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where this control plane is reached."""

    ads: str
    csr: str
    rest: str
    """A URL."""


@dataclass(frozen=True, slots=True)
class Registered:
    """What a sidecar or a component is started with."""

    token: str
    node_id: str | None
    identity: str
    ads: str
    csr: str
    root_pem: str


class WorkloadStore(Protocol):
    """Where workloads are kept. Methods block, and raise NothingApplied."""

    def register(self, workload: Workload) -> World:
        """Add or replace."""

    def unregister(self, key: WorkloadKey) -> World:
        """Forget."""


class Registration:
    """Who belongs to the mesh. With `loopback_only`, what a workload says of its sidecar's pages must be on this
    machine: the console links to them, and the collector scrapes them."""

    def __init__(
        self,
        store: WorkloadStore,
        tokens: Tokens | None,
        publisher: Publisher,
        clock: Clock,
        addresses: Addresses,
        root_pem: Callable[[], str],
        *,
        loopback_only: bool,
    ) -> None:
        self._store = store
        self._tokens = tokens
        self._publisher = publisher
        self._clock = clock
        self._addresses = addresses
        self._root_pem = root_pem
        self._loopback_only = loopback_only

    async def register(self, workload: Workload, trust_domain: str) -> Registered:
        """Add or replace; the workload's earlier tokens are worth nothing any more.

        Raises BadCall, Unprocessable, Unavailable.
        """
        self._own_tokens()
        identity = identity_of(workload, trust_domain)
        if identity.namespace == SYSTEM_NAMESPACE and identity.service_account.startswith("remora-"):
            raise BadCall(f"{identity} is a component's identity, not a workload's")
        if self._loopback_only:
            _require_loopback("admin", urlsplit(workload.admin).hostname)
            _require_loopback("metrics", split_host_port(workload.metrics)[0] if workload.metrics else None)
        try:
            world = await asyncio.to_thread(self._store.register, workload)
        except NothingApplied as error:
            raise Unavailable(str(error)) from error
        self._publisher.submit(world, "workload")
        return self._token(identity, f"{workload.namespace}/{workload.name}", workload.node_id)

    def component(self, namespace: str, service_account: str, trust_domain: str) -> Registered:
        """A token for a part of the mesh itself. Raises BadCall, Unavailable."""
        try:
            identity = SpiffeId(trust_domain, namespace, service_account)
        except InvalidSpiffeId as error:
            raise BadCall(str(error)) from error
        if namespace != SYSTEM_NAMESPACE or service_account == CONTROL_ACCOUNT:
            raise BadCall(f"components are accounts of {SYSTEM_NAMESPACE} other than {CONTROL_ACCOUNT}")
        return self._token(identity, None, None)

    async def forget(self, namespace: str, name: str) -> None:
        """Remove; it is no error if it is gone already. Raises Unavailable."""
        tokens = self._own_tokens()
        try:
            tokens.revoke(f"{namespace}/{name}")
            world = await asyncio.to_thread(self._store.unregister, (namespace, name))
        except (NothingApplied, OSError) as error:
            raise Unavailable(str(error)) from error
        self._publisher.submit(world, "workload")

    def _token(self, identity: SpiffeId, workload: str | None, node_id: str | None) -> Registered:
        tokens = self._own_tokens()
        try:
            token = tokens.issue(identity, workload, self._clock.now())
        except (OSError, TooManyTokens) as error:
            raise Unavailable(f"no token can be issued: {error}") from error
        return Registered(token, node_id, str(identity), self._addresses.ads, self._addresses.csr, self._root_pem())

    def _own_tokens(self) -> Tokens:
        """Raises BadCall in a cluster."""
        if self._tokens is None:
            raise BadCall(
                "workloads of this mesh are its cluster's pods: label their namespace remora.io/injection=enabled, and "
                "they prove themselves by their service account"
            )
        return self._tokens


def _require_loopback(path: str, host: str | None) -> None:
    if host is None or host == "localhost":
        return
    try:
        if ipaddress.ip_address(host).is_loopback:
            return
    except ValueError:
        pass  # a name can lead anywhere
    raise Unprocessable(f"{path}: {host[:253]} is not a loopback address, and this mesh is of one machine")
