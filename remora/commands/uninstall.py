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
    from remora.install.reading import load
    from remora.install.removal import removal
    from remora.install.text import documents
    from remora.output import print_error

    values = load([], [], revision=revision)
    if purge and values.revision:
        raise typer.BadParameter("a revision has no data of its own; leave --revision out", param_hint="--purge")
    sys.stdout.write(documents(removal(values.revision, purge=purge)))
    print_error("pods keep the sidecars that they have until they are made anew: kubectl rollout restart, by namespace")
    if purge:
        print_error(
            "in every namespace stays the mesh's root: "
            "kubectl delete configmap -A --field-selector metadata.name=remora-ca-root-cert"
        )
    elif not values.revision:
        print_error("rules, the authority's key and the collector's volume stay (--purge)")
