"""`remora errors`: failures of the mesh and its applications, grouped, from the embedded store."""

import re
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from remora.commands.options import OutputOption, SinceOption, StateOption, seconds
from remora.output import Format

if TYPE_CHECKING:
    from collectors.store.answers import ErrorGroup

EPILOG = (
    "Examples: remora errors --since 10m\n\nremora errors --service reviews --new\n\n"
    "remora errors 4bf92f3577b34da6 (one group, with its last occurrence)"
)

KINDS = ("exception", "message", "response", "span")
_FINGERPRINT = re.compile(r"[0-9a-f]{16}\Z")


def errors(
    state: StateOption,
    text: Annotated[
        str, typer.Argument(help="Words in title, place or service; or a group's fingerprint.", show_default=False)
    ] = "",
    service: Annotated[str | None, typer.Option("--service", help="Only of this service.", metavar="NAME")] = None,
    kind: Annotated[
        str | None, typer.Option("--kind", help="Only exception, message, response or span.", metavar="NAME")
    ] = None,
    new: Annotated[bool, typer.Option("--new", help="Only what was first seen within --since.")] = False,
    since: SinceOption = "1h",
    limit: Annotated[
        int, typer.Option("--limit", help="The most frequent so many.", metavar="N", min=1, max=2_000)
    ] = 50,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show exceptions and failed requests, alike ones as one, the most frequent first.

    Each with its first and last time, how often, the release that it first appeared in, and a trace to look at.
    """
    from remora.commands.store import opened
    from remora.failure import Failure
    from remora.output import print_data, print_table

    if kind is not None and kind not in KINDS:
        raise typer.BadParameter(f"{kind!r} is none of {', '.join(KINDS)}", param_hint="--kind")
    now = time.time()  # noqa: TID251 - the command is a process's edge
    start = now - seconds(since, "--since")
    with opened(state) as reader:
        if _FINGERPRINT.match(text):
            found = reader.errors(fingerprint=text)
            if not found:
                raise Failure(f"no group of errors has the fingerprint {text}")
            _show_one(found[0], output)
            return
        groups = reader.errors(
            since=start, new_since=start if new else None, service=service, kind=kind, text=text, limit=limit
        )
    if output is not Format.TABLE:
        print_data([asdict(group) for group in groups], output)
        return
    headers = ("RECENT", "COUNT", "LAST", "FIRST", "RELEASE", "SERVICE", "ERROR", "WHERE", "TRACE", "FINGERPRINT")
    print_table(headers, [_row(group, now) for group in groups], empty=f"no error in the last {since}")
    sys.stdout.flush()


def _row(group: "ErrorGroup", now: float) -> tuple[Any, ...]:
    from remora.output import age

    return (
        group.recent,
        group.count,
        f"{age(now - group.last_seen)} ago",
        f"{age(now - group.first_seen)} ago",
        group.first_release,
        group.service,
        group.title,
        group.culprit,
        group.trace_id,
        group.fingerprint,
    )


def _show_one(group: "ErrorGroup", output: Format) -> None:
    from remora.output import print_data, print_line

    if output is not Format.TABLE:
        print_data(asdict(group), output)
        return

    def stamp(at: float) -> str:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))

    print_line(group.title)
    for name, value in (
        ("service", group.service),
        ("workload", group.workload),
        ("kind", group.kind),
        ("where", group.culprit),
        ("count", str(group.count)),
        ("first seen", f"{stamp(group.first_seen)}{_release(group.first_release)}"),
        ("last seen", f"{stamp(group.last_seen)}{_release(group.last_release)}"),
        ("trace", f"remora traces {group.trace_id} --logs" if group.trace_id else "none is known"),
    ):
        print_line(f"  {name:<11} {value}")
    print_line("")
    for line in group.sample.splitlines():
        print_line(f"  {line}")


def _release(version: str) -> str:
    return f" in {version}" if version else ""
