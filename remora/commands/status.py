"""`remora status`: who is connected to the control plane, and runs what."""

import time
from typing import Annotated, Any

import typer

from remora.commands.options import OutputOption, StateOption
from remora.output import Format

EPILOG = "Examples: remora status\n\nremora status --wait 5 -o json"

POLL_S = 0.1


def status(
    state: StateOption,
    wait: Annotated[
        float | None,
        typer.Option(
            "--wait", help="Wait up to so many seconds until every sidecar is synced.", metavar="SECONDS", min=0
        ),
    ] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show every sidecar: connected or not, and whether it runs the present rules. Then the mesh's other clusters.

    A configuration that a sidecar rejected is shown with the field and the reason; the one before it keeps serving.
    With --wait, exit status 1 if some sidecar is not synced in time.
    """
    from remora.client import Control
    from remora.output import print_data
    from remora.state import State

    deadline = time.monotonic() + (wait or 0.0)
    with Control(State(state)) as control:
        answer = control.status()
        while wait is not None and not all_synced(answer) and time.monotonic() < deadline:
            time.sleep(POLL_S)
            answer = control.status()
    if output is Format.TABLE:
        _print(answer)
    else:
        print_data(answer, output)
    if wait is not None and not all_synced(answer):
        raise typer.Exit(1)


def all_synced(answer: dict[str, Any]) -> bool:
    """True if every known sidecar runs the present rules."""
    return all(proxy["state"] == "synced" for proxy in answer["proxies"])


def _cluster(cluster: dict[str, Any]) -> str:
    """A line: whether its endpoints are of now."""
    from remora.output import age

    state, known = cluster["state"], f"{cluster['services']} services"
    if cluster["shared"]:
        known += f", {cluster['pods']} pods configured from here"
    if state == "away":
        state = f"away for {age(cluster['away_s'])}; what was known of it goes on"
    message = f"; {cluster['message']}" if cluster["message"] else ""
    return f"cluster {cluster['name']}: {state} ({known}){message}"


def _print(answer: dict[str, Any]) -> None:
    from remora.output import age, print_line, print_table

    now = time.time()  # noqa: TID251 - the command is a process's edge
    rows = []
    for proxy in answer["proxies"]:
        since = proxy.get("connected_since")
        push_ms = proxy.get("last_push_ms")
        rows.append(
            (
                proxy["workload"],
                proxy["namespace"],
                proxy["kind"],
                age(now - since) if proxy["connected"] and isinstance(since, int | float) else "no",
                proxy["state"],
                proxy.get("version"),
                f"{push_ms:.0f} ms" if isinstance(push_ms, int | float) else None,
            )
        )
    headers = ("WORKLOAD", "NAMESPACE", "KIND", "CONNECTED", "STATE", "VERSION", "LAST PUSH")
    print_table(headers, rows, empty="no workload is registered")
    print_line(f"rules: version {answer['version']}")
    for cluster in answer.get("clusters", ()):
        print_line(_cluster(cluster))
    for proxy in answer["proxies"]:
        for each in proxy.get("rejections", ()):
            print_line(f"rejected by {proxy['workload']}: {each['type']}: {each['path']}: {each['message']}")
