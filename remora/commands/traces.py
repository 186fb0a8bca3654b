"""`remora traces`: requests on their way through the mesh, from the embedded store."""

import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from remora.commands.logs import print_entries
from remora.commands.options import OutputOption, SinceOption, StateOption, seconds
from remora.output import Format

if TYPE_CHECKING:
    from collectors.store.answers import LogEntry, SpanEntry, TraceSummary
    from collectors.store.reader import Reader

EPILOG = (
    "Examples: remora traces --service reviews --errors\n\n"
    "remora traces 4bf92f35 --logs\n\nremora traces --min-duration 100ms -o json"
)

BAR_COLUMNS = 40
MAX_NAMED = 5
"""Traces, where what was written begins the ids of several."""
MAX_LOGS = 1_000
"""Of one trace."""


def traces(
    state: StateOption,
    trace_id: Annotated[
        str | None,
        typer.Argument(
            help="One trace, span by span; at least the first 8 digits of its id.", metavar="ID", show_default=False
        ),
    ] = None,
    with_logs: Annotated[
        bool, typer.Option("--logs", help="With one trace: the log records of its requests too.")
    ] = False,
    service: Annotated[
        str | None, typer.Option("--service", help="With a span of this service.", metavar="NAME")
    ] = None,
    text: Annotated[str, typer.Option("--text", "-t", help="In a span's name or attributes.", metavar="WORDS")] = "",
    errors: Annotated[bool, typer.Option("--errors", help="Only traces with an error.")] = False,
    min_duration: Annotated[
        str, typer.Option("--min-duration", help="At least this long: 100ms, 2s.", metavar="TIME")
    ] = "0s",
    since: SinceOption = "1h",
    limit: Annotated[int, typer.Option("--limit", help="The newest so many.", metavar="N", min=1, max=10_000)] = 20,
    output: OutputOption = Format.TABLE,
) -> None:
    """List traces, newest first, or show one as a waterfall. With -o json every trace has its spans."""
    from remora.commands.store import opened
    from remora.output import print_data, print_table

    length = seconds(since, "--since")
    duration_s = seconds(min_duration, "--min-duration")
    with opened(state) as reader:
        if trace_id is not None:
            trace_id = _whole_id(reader, trace_id)
            spans = reader.trace(trace_id)
            _show(trace_id, spans, _logs_of(reader, trace_id) if with_logs else None, output)
            return
        if with_logs:
            raise typer.BadParameter("wants one trace: remora traces ID --logs", param_hint="--logs")
        found = reader.traces(
            service=service,
            since=time.time() - length,  # noqa: TID251 - the command is a process's edge
            min_duration_ms=duration_s * 1000,
            errors_only=errors,
            text=text,
            limit=limit,
        )
        if output is Format.TABLE:
            headers = ("TRACE", "START", "DURATION", "SPANS", "ROOT", "SERVICES")
            print_table(headers, [_row(each) for each in found], empty="no trace found")
        else:
            print_data([_whole(each, reader.trace(each.trace_id)) for each in found], output)
    sys.stdout.flush()


def _whole_id(reader: "Reader", text: str) -> str:
    """The one trace whose id begins with what was written."""
    from remora.failure import Failure

    found = reader.trace_ids(text, limit=MAX_NAMED + 1)
    if not found:
        raise Failure(f"no trace {text} is stored")
    if len(found) > 1:
        more = " and more" if len(found) > MAX_NAMED else ""
        raise Failure(f"{text} begins several ids: {', '.join(found[:MAX_NAMED])}{more}; write more of it")
    return found[0]


def _logs_of(reader: "Reader", trace_id: str) -> "list[LogEntry]":
    found = reader.logs(trace_id=trace_id, limit=MAX_LOGS)
    return sorted(found, key=lambda entry: (entry.time, entry.rowid))


def _show(trace_id: str, spans: "list[SpanEntry]", logs: "list[LogEntry] | None", output: Format) -> None:
    from remora.output import print_data, print_line

    if output is not Format.TABLE:
        answer: dict[str, Any] = {"trace_id": trace_id, "spans": [asdict(span) for span in spans]}
        if logs is not None:
            answer["logs"] = [asdict(entry) for entry in logs]
        print_data(answer, output)
        return
    print_waterfall(spans)
    if logs is not None:
        print_line("")
        print_entries(logs)
        if not logs:
            print_line("no log record has this trace id")


def _row(trace: "TraceSummary") -> tuple[Any, ...]:
    return (
        trace.trace_id,
        time.strftime("%H:%M:%S", time.localtime(trace.start)),
        f"{trace.duration_ms:.1f} ms",
        trace.spans,
        f"{trace.root_service} {trace.request}" + (" (error)" if trace.error else ""),
        ", ".join(trace.services),
    )


def _whole(trace: "TraceSummary", spans: "list[SpanEntry]") -> dict[str, Any]:
    plain = asdict(trace)
    plain["span_count"] = plain["spans"]
    plain["spans"] = [asdict(span) for span in spans]
    return plain


def print_waterfall(spans: "list[SpanEntry]") -> None:
    """One line a span, children below their parent, a bar for when it was."""
    from remora.output import print_line

    begin = min(span.start for span in spans)
    whole_ms = max((span.start - begin) * 1000 + span.duration_ms for span in spans) or 1.0
    lines = [(f"{'  ' * depth}{span.service} {span.kind} {span.name}", span) for depth, span in in_tree(spans)]
    width = max(len(label) for label, _ in lines)
    for label, span in lines:
        offset = int((span.start - begin) * 1000 / whole_ms * BAR_COLUMNS)
        length = max(1, round(span.duration_ms / whole_ms * BAR_COLUMNS))
        bar = (" " * offset + "█" * length)[:BAR_COLUMNS].ljust(BAR_COLUMNS)
        print_line(f"{label.ljust(width)}  {bar}  {span.duration_ms:8.1f} ms{'  error' if span.error else ''}")


def in_tree(spans: "list[SpanEntry]") -> "list[tuple[int, SpanEntry]]":
    """Spans with their depth, every one after its parent; one whose parent is not there is a root."""
    known = {span.span_id for span in spans}
    children: dict[str | None, list[SpanEntry]] = {}
    for span in sorted(spans, key=lambda each: each.start):
        parent = span.parent_id if span.parent_id in known and span.parent_id != span.span_id else None
        children.setdefault(parent, []).append(span)
    ordered: list[tuple[int, SpanEntry]] = []
    stack = [(0, span) for span in reversed(children.get(None, []))]
    done: set[int] = set()
    while stack:
        depth, span = stack.pop()
        if id(span) in done:
            continue
        done.add(id(span))
        ordered.append((depth, span))
        stack.extend((depth + 1, child) for child in reversed(children.get(span.span_id, [])))
    return ordered
