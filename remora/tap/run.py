"""A tap from beginning to end: open the sink, read the stream, end both in order on Ctrl-C, say what was seen."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mesh.inspection import Inspection
from remora.failure import Failure
from remora.output import print_error
from remora.tap.records import Counts, Exchange
from remora.tap.sinks import Both, Flows, Har, JsonLines, Lines, Sink, Viewer
from remora.tap.stream import TapStream


@dataclass(frozen=True, slots=True)
class Shown:
    """Where tapped requests go, as the user asked."""

    format: str
    """text, json, flow or har."""
    file: Path | None = None
    view: bool = False
    verbose: bool = False


def run(admin: str, wish: Mapping[str, Any], shown: Shown) -> None:
    """Until the tap is over. Raises Failure."""
    with contextlib.ExitStack() as closing:
        # Before the sidecar is asked: what is missing here shall cost it nothing.
        viewer = Viewer(Inspection.of_user()) if shown.view else None
        sink: Sink
        if viewer is not None:
            closing.callback(viewer.close)
            print_error(f"mitmweb: {viewer.url}")
        writes = viewer is None or shown.file is not None or shown.format != "text"
        if writes:
            writer = closing.enter_context(_writer(shown))
            sink = Both(viewer, writer) if viewer is not None else writer
        else:
            assert viewer is not None
            sink = viewer
        stopped = threading.Event()
        opened: list[TapStream] = []

        def stop() -> None:
            for each in opened:
                each.stop()

        with (
            _on_stop_signals(stopped, stop),
            contextlib.closing(TapStream(admin, wish)) as stream,
        ):
            opened.append(stream)
            if stopped.is_set():  # while it was being opened
                stream.stop()
            counts = _read(stream, sink)
        print_error(_told(counts))
        if viewer is not None and not stopped.is_set() and counts.why != "client":
            print_error("mitmweb stays open until Ctrl-C")
            with _on_stop_signals(stopped, lambda: None):
                stopped.wait()


def _read(stream: TapStream, sink: Sink) -> Counts:
    counts = Counts(0, 0, 0)
    for item in stream:
        if isinstance(item, Exchange):
            sink.add(item)
        else:
            counts = item
    return counts


def _told(counts: Counts) -> str:
    """`42 requests seen, 40 shown, 2 dropped (the reader was too slow)`."""
    seen = f"{counts.matched} request{'' if counts.matched == 1 else 's'} seen, {counts.sent} shown"
    dropped = f", {counts.dropped} dropped" if counts.dropped else ", none dropped"
    why = _WHY.get(counts.why or "", counts.why)
    return f"{seen}{dropped}{f' ({why})' if why else ''}"


_WHY = {"max": "--max is reached", "time": "--for is over", "client": ""}


@contextlib.contextmanager
def _writer(shown: Shown) -> Iterator[Sink]:
    if shown.format == "flow" and shown.file is None and sys.stdout.isatty():
        raise Failure("a flow file is binary: name a file with --output, or pipe it")
    with contextlib.ExitStack() as closing:
        try:
            # Mode 0600: requests are their senders' business.
            file = None if shown.file is None else closing.enter_context(open(shown.file, "wb", opener=_private))
        except OSError as error:
            raise Failure(f"cannot write {shown.file}: {error.strerror}") from error
        sink = _sink(shown, file)
        try:
            yield sink
        finally:
            sink.close()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _sink(shown: Shown, file: Any) -> Sink:
    if shown.format == "flow":
        return Flows(Inspection.of_user(), file if file is not None else sys.stdout.buffer)
    out = sys.stdout if file is None else open(file.fileno(), "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    match shown.format:
        case "json":
            return JsonLines(out)
        case "har":
            return Har(out)
        case _:
            return Lines(out, verbose=shown.verbose)


@contextlib.contextmanager
def _on_stop_signals(stopped: threading.Event, stop: Callable[[], None]) -> Iterator[None]:
    """The first SIGINT or SIGTERM asks for the end; the second, from someone in a hurry, is one."""

    def handle(number: int, frame: object) -> None:
        if stopped.is_set():
            raise KeyboardInterrupt
        stopped.set()
        stop()

    former = {each: signal.signal(each, handle) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in former.items():
            signal.signal(each, handler)
