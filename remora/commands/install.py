"""`remora install`: print the manifests of an installation."""

import sys
from typing import Annotated

import typer

EPILOG = (
    "Examples: remora install | kubectl apply --server-side -f -\n\n"
    "remora install --set gateway.service.type=NodePort -f values.yaml | kubectl apply --server-side -f -\n\n"
    "remora install --revision canary | kubectl apply --server-side -f -"
)

FilesOption = Annotated[
    list[str] | None,
    typer.Option("--file", "-f", help="Values: a YAML file, or - for standard input. Repeatable; later ones win."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="One value, over those of the files. Repeatable.", metavar="PATH=VALUE"),
]
RevisionOption = Annotated[
    str | None,
    typer.Option("--revision", help="A further control plane beside the first, for canary upgrades.", metavar="NAME"),
]


def install(
    files: FilesOption = None,
    sets: SetOption = None,
    revision: RevisionOption = None,
    skip_crds: Annotated[bool, typer.Option("--skip-crds", help="Leave out the definitions of kinds.")] = False,
    skip_istio_crds: Annotated[
        bool, typer.Option("--skip-istio-crds", help="Leave out those of Istio's kinds: its own are there already.")
    ] = False,
    crds: Annotated[bool, typer.Option("--crds", help="Print the definitions of kinds alone.")] = False,
    show_values: Annotated[
        bool, typer.Option("--show-values", help="Print every value that there is, with what was set.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the values and list the objects; print no manifest.")
    ] = False,
) -> None:
    """Print what a cluster needs to run Remora, for `kubectl apply`.

    Nothing is sent anywhere. Wrong values are all said at once, with their place; then nothing is printed.
    """
    from remora.documents import read
    from remora.install.crds import definitions
    from remora.install.objects import identity, objects
    from remora.install.reading import load
    from remora.install.text import documents
    from remora.output import print_table

    if skip_crds and crds:
        raise typer.BadParameter("says the opposite of --crds", param_hint="--skip-crds")
    values = load(read(files or []), sets or [], revision=revision)
    if show_values:
        sys.stdout.write(documents([values.plain()]))
        return
    # A revision's kinds are the first one's.
    found = [] if skip_crds or (values.revision and not crds) else definitions.all_definitions()
    if skip_istio_crds:
        found = [each for each in found if not each["spec"]["group"].endswith(".istio.io")]
    if not crds:
        found = [*found, *objects(values)]
    if dry_run:
        rows = [(kind, namespace, name) for _, kind, namespace, name in map(identity, found)]
        print_table(("KIND", "NAMESPACE", "NAME"), rows, empty="nothing")
        return
    sys.stdout.write(documents(found))
