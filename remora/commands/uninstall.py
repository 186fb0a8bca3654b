"""`remora uninstall`: print what is to be deleted."""

import sys
from typing import Annotated

import typer

from remora.commands.install import RevisionOption

EPILOG = (
    "Examples: remora uninstall | kubectl delete --ignore-not-found -f -\n\n"
    "remora uninstall --revision canary | kubectl delete --ignore-not-found -f -"
)


def uninstall(
    revision: RevisionOption = None,
    purge: Annotated[
        bool,
        typer.Option("--purge", help="Also what holds data: the kinds with all rules, the namespace with all volumes."),
    ] = False,
) -> None:
    """Print what an installation made, for `kubectl delete`, in the order in which it is to go.

    Webhooks are first, so that nothing waits for them. Nothing is sent anywhere.
    """
    from remora.install.names import ROOT_CONFIG_MAP
    from remora.install.reading import load
    from remora.install.removal import removal
    from remora.install.text import documents
    from remora.output import print_error

    values = load([], [], revision=revision)
    if purge and values.revision:
        raise typer.BadParameter("a revision has no data of its own; leave --revision out", param_hint="--purge")
    sys.stdout.write(documents(removal(values.revision, purge=purge)))
    print_error("pods keep the sidecars that they have until they are made anew: kubectl rollout restart, by namespace")
    if values.revision:
        return
    if not purge:
        print_error("rules, the authority's key and the collector's volume stay (--purge)")
    # It is in namespaces that only the cluster can list, and pods that have a sidecar mount it.
    print_error(
        f"in every namespace stays the mesh's root, the ConfigMap {ROOT_CONFIG_MAP}, which pods with a sidecar mount; "
        f"without them: kubectl delete configmap -A --field-selector metadata.name={ROOT_CONFIG_MAP}"
    )
