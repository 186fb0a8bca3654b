"""`remora inject`: sidecars into manifests, or out of them, everything else of their text kept."""

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from remora.documents import Document
    from remora.inject.manifest import Change, Manifest

EPILOG = (
    "Examples: remora inject -f web.yaml | kubectl apply -f -\n\n"
    "remora inject -f manifests/ --set nativeSidecars=false\n\nremora inject --remove -f web.yaml"
)


class Shape(StrEnum):
    """How manifests are written."""

    YAML = "yaml"
    JSON = "json"


def inject(
    files: Annotated[
        list[str],
        typer.Option(
            "--file", "-f", help="Manifests: a file, a directory, or - for standard input. Repeatable.", metavar="FILE"
        ),
    ],
    remove: Annotated[bool, typer.Option("--remove", help="Take out what was injected, exactly.")] = False,
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="Of what does not say its own.", metavar="NAME")
    ] = "default",
    values: Annotated[
        list[str] | None,
        typer.Option("--values", help="Settings of the injector, as YAML. Repeatable.", metavar="FILE"),
    ] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="One setting, over those of files. Repeatable.", metavar="A.B=C")
    ] = None,
    output: Annotated[
        Shape | None, typer.Option("--output", "-o", help="How to write the answer (default: as it was given).")
    ] = None,
) -> None:
    """Put sidecars into the pods of Kubernetes manifests, as the webhook would; print the manifests.

    Pod, Deployment, StatefulSet, DaemonSet, ReplicaSet, ReplicationController, Job, CronJob and lists of them. Whatever
    is not about pods, and every comment, stays as it is. What has its sidecar already stays as it is, too. A pod that
    cannot be injected is printed as `file:line: kind/name: field: reason`, and nothing else, exit status 1.
    """
    from functools import partial

    from remora import documents
    from remora.failure import Failure
    from remora.inject import changes
    from remora.inject.manifest import changed
    from remora.inject.settings import settings
    from remora.output import print_error

    if remove and (values or assignments):
        raise typer.BadParameter(
            "what was injected says itself how to remove it; leave the settings out", param_hint="--remove"
        )
    wanted = settings(documents.read(values or []), assignments or [])
    read = documents.read(files)
    change: Change = changes.removal
    if not remove:
        change = partial(changes.injection, settings=wanted, default_namespace=namespace, namespaces=_namespaces(read))
    manifests = [changed(file, change) for file in read]
    for manifest in manifests:
        for line in manifest.remarks:
            print_error(line)
    if errors := [line for manifest in manifests for line in manifest.errors]:
        raise Failure(*errors)
    _write(manifests, output)


def _namespaces(files: "list[Document]") -> dict[str, dict[str, Any]]:
    """Metadata of the Namespaces that are among the manifests: their labels count."""
    from control.api import yaml_documents

    found: dict[str, dict[str, Any]] = {}
    for file in files:
        if "Namespace" not in file.text:
            continue
        for each in yaml_documents.read(file.text):
            value = None if isinstance(each, yaml_documents.NotYaml) else each.value
            if isinstance(value, dict) and value.get("kind") == "Namespace" and isinstance(value.get("metadata"), dict):
                found[str(value["metadata"].get("name"))] = value["metadata"]
    return found


def _write(manifests: "list[Manifest]", output: Shape | None) -> None:
    from remora.output import json_text, print_yaml

    every = [document for manifest in manifests for document in manifest.documents]
    if output is Shape.JSON:
        whole = every[0] if len(every) == 1 else {"apiVersion": "v1", "kind": "List", "items": every}
        sys.stdout.write(json_text(whole, indent=2) + "\n")
    elif output is Shape.YAML and any(manifest.text.lstrip().startswith("{") for manifest in manifests):
        print_yaml(every)
    else:
        for index, manifest in enumerate(manifests):
            if index and not manifest.text.startswith("---"):
                sys.stdout.write("---\n")
            ended = not manifest.text or manifest.text.endswith("\n") or index == len(manifests) - 1
            sys.stdout.write(manifest.text if ended else f"{manifest.text}\n")
