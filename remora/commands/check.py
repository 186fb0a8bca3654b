"""`remora check`: can this cluster have the mesh, and how is the one that it has?"""

import asyncio
import os
import time
from typing import TYPE_CHECKING, Annotated

import typer

from remora.commands.install import FilesOption, RevisionOption, SetOption
from remora.commands.options import OutputOption
from remora.output import Format

if TYPE_CHECKING:
    from remora.install.checks.facts import Facts

EPILOG = "Examples: remora check\n\nremora check -f values.yaml --context staging -o json"

KUBECONFIG = "~/.kube/config"


def check(
    files: FilesOption = None,
    sets: SetOption = None,
    revision: RevisionOption = None,
    kubeconfig: Annotated[
        str | None,
        typer.Option(
            "--kubeconfig", help=f"How to reach the cluster (default: $KUBECONFIG, else {KUBECONFIG}).", metavar="FILE"
        ),
    ] = None,
    context: Annotated[str, typer.Option("--context", help="Of the kubeconfig (default: its current one).")] = "",
    output: OutputOption = Format.TABLE,
) -> None:
    """Check a cluster before an installation and, where there is one, after.

    Before: version, permissions, nodes, Istio, pod security, storage. After: pods, webhooks, certificates, sidecars,
    rules. Nothing is changed. Exit status 1 if anything is an error.
    """
    from remora.documents import read
    from remora.install.checks import after, before
    from remora.install.crds.definitions import all_definitions
    from remora.install.objects import objects
    from remora.install.reading import load
    from remora.output import print_data, print_table

    values = load(read(files or []), sets or [], revision=revision)
    where = kubeconfig or os.environ.get("KUBECONFIG") or os.path.expanduser(KUBECONFIG)
    facts = asyncio.run(_facts(where, context, before.permissions([*all_definitions(), *objects(values)])))
    found = list(before.findings(facts, values))
    if after.installed(facts):
        found += after.findings(facts, time.time())  # noqa: TID251 - the command is a process's edge
    if output is Format.TABLE:
        rows = [(each.level, each.check, each.said, each.fix) for each in found]
        print_table(("", "CHECK", "FOUND", "WHAT TO DO"), rows, empty="nothing was checked")
    else:
        print_data([each.plain() for each in found], output)
    if any(each.level == "error" for each in found):
        raise typer.Exit(1)


async def _facts(kubeconfig: str, context: str, permissions: list[tuple[str, str, str, str]]) -> "Facts":
    from control.kubernetes.credentials import connect
    from control.kubernetes.errors import ApiError, ClusterUnusable
    from mesh.clock import SystemClock
    from remora.failure import Failure
    from remora.install.checks.facts import gather

    try:
        client = await connect(SystemClock(), kubeconfig=kubeconfig, context=context)
    except ClusterUnusable as error:
        raise Failure(f"no cluster to check: {error}") from error
    try:
        return await gather(client, permissions)
    except ApiError as error:
        if error.status == 401:
            raise Failure(
                f"the API server at {client.host} does not know you: {error}",
                f"the credentials of {kubeconfig}{f', context {context},' if context else ''} have expired or are "
                "another cluster's: log in again, as for kubectl (try: kubectl auth whoami), or name another --context",
            ) from error
        raise Failure(f"the API server at {client.host} does not answer: {error}") from error
    finally:
        await client.close()
