"""Makes the reading account in a cluster, waits for its token, tries it, and takes all of it away again."""

import asyncio
import base64
import ipaddress
from urllib.parse import urlsplit

from control.kubernetes.apply import COMMAND_MANAGER, apply
from control.kubernetes.client import KubeClient
from control.kubernetes.errors import ApiError, ClusterUnusable
from control.kubernetes.remote import read_kubeconfig
from control.stores.kubernetes.members import NODES, PODS, SERVICES, SLICES
from mesh.clock import Clock
from remora.failure import Failure
from remora.install.names import SYSTEM_NAMESPACE
from remora.multicluster.objects import (
    NAMESPACES,
    RESOURCES,
    SECRETS,
    TOKEN_SECRET,
    Json,
    kubeconfig,
    reader_objects,
    system_namespace,
    telling_secret,
)

TOKEN_WITHIN_S = 30.0
"""Kubernetes' token controller needs less than a second."""
_POLL_S = 0.1


async def join(client: KubeClient, clock: Clock, cluster: str, *, server: str, shared: bool) -> Json:
    """The Secret that tells of the cluster that `client` leads to. `server`: how the control plane reaches its API
    server; empty: as we do. Raises Failure."""
    try:
        if await client.find(NAMESPACES, SYSTEM_NAMESPACE) is None:
            await apply(client, NAMESPACES, system_namespace(), manager=COMMAND_MANAGER)
        for document in reader_objects(shared=shared):
            await apply(client, RESOURCES[document["kind"]], document, manager=COMMAND_MANAGER)
        token, authority = await _token(client, clock)
    except ApiError as error:
        raise Failure(f"cluster {cluster} is not prepared: {error}") from error
    server_name = None if server else client.server_name
    config = kubeconfig(cluster, server or client.host, authority, token, server_name)
    await _try(config, clock, cluster)
    return telling_secret(cluster, config, shared=shared)


async def leave(client: KubeClient) -> list[str]:
    """What was deleted: its token is worth nothing from then on. Raises Failure."""
    gone = []
    for document in reversed(reader_objects(shared=True)):
        kind, metadata = document["kind"], document["metadata"]
        try:
            await client.delete(RESOURCES[kind], metadata["name"], metadata.get("namespace", ""))
        except ApiError as error:
            if error.not_found:
                continue
            raise Failure(f"the cluster is not left: {error}") from error
        gone.append(f"{kind} {metadata['name']}")
    return gone


def only_here(server: str) -> bool:
    """Whether an API server's address means another machine to everybody else."""
    host = urlsplit(server).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


async def _token(client: KubeClient, clock: Clock) -> tuple[str, bytes]:
    """The token and the cluster's authority, PEM. Raises ApiError, Failure."""
    deadline = clock.monotonic() + TOKEN_WITHIN_S
    while True:
        data = (await client.get(SECRETS, TOKEN_SECRET, SYSTEM_NAMESPACE)).get("data") or {}
        if data.get("token") and data.get("ca.crt"):
            return base64.b64decode(data["token"]).decode(), base64.b64decode(data["ca.crt"])
        if clock.monotonic() >= deadline:
            raise Failure(
                f"Kubernetes did not fill in Secret {TOKEN_SECRET} of {SYSTEM_NAMESPACE} within {TOKEN_WITHIN_S:g} s;"
                " does its controller manager run?"
            )
        await asyncio.sleep(_POLL_S)


async def _try(config: bytes, clock: Clock, cluster: str) -> None:
    """Whether the control plane will get what it asks for. Raises Failure."""
    try:
        reader = KubeClient(read_kubeconfig(config), clock)
    except ClusterUnusable as error:
        raise Failure(f"cluster {cluster}: {error}") from error
    try:
        for resource in (NODES, PODS, SERVICES, SLICES):
            await reader.list(resource, params={"limit": "1"})
    except ApiError as error:
        raise Failure(
            f"cluster {cluster} is prepared, but does not answer its reader at {reader.host}: {error};"
            " give --server if it has another address"
        ) from error
    finally:
        await reader.close()
