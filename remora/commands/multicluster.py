"""`remora multicluster`: join other clusters to the mesh."""

import asyncio
import os
import re
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from remora.commands.check import KUBECONFIG

if TYPE_CHECKING:
    from control.kubernetes.client import KubeClient

HELP = "Join other clusters of the same network to the mesh."
ADD_EPILOG = (
    "Examples: remora multicluster add --context east | kubectl --context home apply -f -\n\n"
    "remora multicluster add --context kind-b --name b --server https://172.18.0.3:6443"
)
REMOVE_EPILOG = (
    "Example: remora multicluster remove --context east && "
    "kubectl --context home delete secret -n remora-system remora-cluster-east"
)

_T = TypeVar("_T")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,48}[a-z0-9])?")

ContextOption = Annotated[
    str, typer.Option("--context", help="Of the kubeconfig: leads to the cluster that joins.", metavar="NAME")
]
KubeconfigOption = Annotated[
    str | None,
    typer.Option(
        "--kubeconfig", help=f"How to reach the cluster (default: $KUBECONFIG, else {KUBECONFIG}).", metavar="FILE"
    ),
]


def add(
    context: ContextOption,
    name: Annotated[
        str,
        typer.Option("--name", help="What the mesh calls it (default: the context's name).", metavar="NAME"),
    ] = "",
    server: Annotated[
        str,
        typer.Option(
            "--server", help="How the control plane reaches its API server (default: as we do).", metavar="URL"
        ),
    ] = "",
    shared: Annotated[
        bool,
        typer.Option(
            "--shared-control-plane", help="It has none of its own: its pods are configured from the mesh's cluster."
        ),
    ] = False,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Make an account that reads a cluster's services, and print the Secret that joins it, for the mesh's cluster.

    The Secret holds a token: pipe it into kubectl rather than into a file. The account reads nodes, pods, services and
    endpoint slices, and with --shared-control-plane checks tokens. It writes nothing.
    """
    from mesh.clock import SystemClock
    from remora.install.text import documents
    from remora.multicluster.joining import join, only_here
    from remora.output import print_error

    cluster = name or context
    if not _NAME.fullmatch(cluster):
        raise typer.BadParameter(
            f"{cluster[:100]!r} is no name for a cluster: write a-z, 0-9 and -, at most 50 of them", param_hint="--name"
        )
    if server and not server.startswith("https://"):
        raise typer.BadParameter("write https://HOST:PORT: a token is sent there", param_hint="--server")
    secret, host = asyncio.run(
        _with(
            kubeconfig,
            context,
            lambda client: join(client, SystemClock(), cluster, server=server.rstrip("/"), shared=shared),
        )
    )
    sys.stdout.write(documents([secret]))
    if only_here(server or host):
        print_error(f"{server or host} is this machine alone: pods of the mesh's cluster reach it by --server URL")
    print_error(f"cluster {cluster} is prepared; it joins when its Secret is applied to the mesh's own cluster, whose")
    print_error("control plane was installed with --set control.otherClusters=true")


def remove(context: ContextOption, kubeconfig: KubeconfigOption = None) -> None:
    """Delete from a cluster what `add` made there. The Secret in the mesh's cluster is to be deleted by kubectl."""
    from remora.multicluster.joining import leave
    from remora.output import print_line

    gone, _ = asyncio.run(_with(kubeconfig, context, leave))
    for each in gone:
        print_line(f"deleted {each}")
    if not gone:
        print_line("there was nothing to delete")


async def _with(
    kubeconfig: str | None, context: str, what: "Callable[[KubeClient], Awaitable[_T]]"
) -> "tuple[_T, str]":
    """Its result, and the API server's address. Raises Failure."""
    from control.kubernetes.credentials import connect
    from control.kubernetes.errors import ClusterUnusable
    from mesh.clock import SystemClock
    from remora.failure import Failure

    try:
        client: Any = await connect(SystemClock(), kubeconfig=_where(kubeconfig), context=context)
    except ClusterUnusable as error:
        raise Failure(f"no cluster to join: {error}") from error
    try:
        return await what(client), client.host
    finally:
        await client.close()


def _where(kubeconfig: str | None) -> str:
    return kubeconfig or os.environ.get("KUBECONFIG") or os.path.expanduser(KUBECONFIG)
