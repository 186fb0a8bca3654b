"""`remora get`: what is stored."""

import sys
import time
from typing import Annotated, Any

import typer

from remora.commands.options import NamespaceOption, OutputOption, StateOption
from remora.output import Format

EPILOG = "Examples: remora get all -A\n\nremora get vs reviews -n shop -o yaml"


def get(
    state: StateOption,
    kind: Annotated[str, typer.Argument(help="Kind: VirtualService, vs, Service, Workload, ... or all.")],
    name: Annotated[str | None, typer.Argument(help="One name; all of the kind without.", show_default=False)] = None,
    namespace: NamespaceOption = None,
    everywhere: Annotated[
        bool,
        typer.Option("--all-namespaces", "-A", help="All namespaces, as without --namespace. Not with a NAME."),
    ] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """List stored rules, services and workloads, or show one."""
    if everywhere and namespace is not None:
        raise typer.BadParameter("excludes --namespace; give one of them", param_hint="--all-namespaces")
    if everywhere and name is not None:
        raise typer.BadParameter(
            f"nothing is found by its name in all namespaces; list them (remora get {kind} -A), or name one with -n",
            param_hint="--all-namespaces",
        )
    from remora.client import Control
    from remora.output import print_data, print_table, print_yaml
    from remora.state import State

    with Control(State(state)) as control:
        if name is None:
            found = control.resources(kind, namespace)
        else:
            found = [control.resource(kind, namespace or "default", name)]
    if output is Format.TABLE:
        now = time.time()  # noqa: TID251 - the command is a process's edge
        rows = [_row(each, now) for each in found]
        print_table(("KIND", "NAMESPACE", "NAME", "WHAT", "AGE"), rows, empty=f"no {kind} is stored")
    elif output is Format.YAML:
        print_yaml(each["document"] for each in found)
    elif name is None:
        print_data([each["document"] for each in found], output)
    else:
        print_data(found[0]["document"], output)
    sys.stdout.flush()


def _row(resource: dict[str, Any], now: float) -> tuple[Any, ...]:
    from remora.output import age

    created = resource.get("created_at")
    return (
        resource["kind"],
        resource["namespace"],
        resource["name"],
        summary(resource["document"]),
        age(now - created) if isinstance(created, int | float) else created,
    )


def summary(document: dict[str, Any]) -> str:
    """What a rule is about, in a few words."""
    spec = document.get("spec", {})
    if not isinstance(spec, dict):
        return ""
    match document.get("kind"):
        case "VirtualService":
            text = ", ".join(map(str, spec.get("hosts", ())))
            return text + (f" via {', '.join(map(str, spec['gateways']))}" if spec.get("gateways") else "")
        case "DestinationRule":
            subsets = ", ".join(str(each.get("name")) for each in spec.get("subsets", ()))
            return f"{spec.get('host')}" + (f": {subsets}" if subsets else "")
        case "Gateway":
            ports = {str(server.get("port", {}).get("number")) for server in spec.get("servers", ())}
            return f"port {', '.join(sorted(ports))}"
        case "PeerAuthentication":
            return str(spec.get("mtls", {}).get("mode", "UNSET"))
        case "PythonFilter":
            return f"{spec.get('class')} on {_selected(spec)} ({spec.get('direction', 'INBOUND').lower()})"
        case "RequestAddon":
            return f"{spec.get('script')} on {_selected(spec)} ({spec.get('direction', 'inbound')})"
        case "ServiceEntry":
            return ", ".join(map(str, spec.get("hosts", ())))
        case "Service":
            return ", ".join(f"{each.get('name', '')}:{each.get('port')}" for each in spec.get("ports", ()))
        case "Workload":
            return " ".join(str(spec[each]) for each in ("service", "version") if spec.get(each))
    return ""


def _selected(spec: dict[str, Any]) -> str:
    """Which workloads a rule is for."""
    labels = (spec.get("selector") or {}).get("matchLabels") or {}
    return ", ".join(f"{name}={value}" for name, value in labels.items()) or "all"
