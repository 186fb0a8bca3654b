"""Where tapped requests go: the terminal, a file of JSON lines, an HTTP Archive, mitmproxy's flow file, mitmweb."""

import contextlib
import json
import secrets
import subprocess
from abc import abstractmethod
from importlib.metadata import version
from typing import IO, Protocol, TextIO

from mesh.inspection import Inspection
from mesh.logs import escape
from remora.failure import Failure
from remora.inspect.spawn import spawn
from remora.output import json_text
from remora.tap.har import HarWriter
from remora.tap.records import Exchange
from remora.tap.text import details, summary

END_S = 20.0
"""How long a child may take to write what it was given."""


class Sink(Protocol):
    """Takes tapped requests; `close` once, whatever happened."""

    @abstractmethod
    def add(self, exchange: Exchange) -> None:
        """Raises Failure when it can not go on."""

    @abstractmethod
    def close(self) -> None:
        """Make what was written whole. Raises Failure if it is not."""


class Lines(Sink):
    """Text for people."""

    def __init__(self, out: TextIO, *, verbose: bool) -> None:
        self._out = out
        self._verbose = verbose

    def add(self, exchange: Exchange) -> None:
        self._out.write(escape(summary(exchange)) + "\n")
        if self._verbose:
            self._out.writelines(escape(line) + "\n" for line in details(exchange))
        self._out.flush()

    def close(self) -> None:
        self._out.flush()


class JsonLines(Sink):
    """As the sidecar told it, one object a line."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def add(self, exchange: Exchange) -> None:
        self._out.write(json_text(exchange.plain) + "\n")
        self._out.flush()

    def close(self) -> None:
        self._out.flush()


class Har(Sink):
    """An HTTP Archive; whole when closed."""

    def __init__(self, out: TextIO) -> None:
        self._writer = HarWriter(out, version("remora"))

    def add(self, exchange: Exchange) -> None:
        self._writer.add(exchange)

    def close(self) -> None:
        self._writer.close()


class Flows(Sink):
    """mitmproxy's flow file, written by mitmproxy's own writer in its environment."""

    def __init__(self, inspection: Inspection, out: IO[bytes]) -> None:
        self._process = spawn(inspection, "write", stdout=out)

    def add(self, exchange: Exchange) -> None:
        _feed(self._process, exchange)

    def close(self) -> None:
        _end(self._process)


class Viewer(Sink):
    """mitmweb, live. It stays open until `close`."""

    def __init__(self, inspection: Inspection) -> None:
        token = secrets.token_urlsafe(32)
        self._process = spawn(
            inspection,
            "view",
            ["--confdir", str(inspection.confdir)],
            stdout=subprocess.PIPE,
            more={"REMORA_VIEW_TOKEN": token},
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait(END_S)
            raise Failure(f"mitmweb ended with status {status} before it served")
        self.url = str(json.loads(line)["url"])
        """With the token: whoever has it may look."""

    def add(self, exchange: Exchange) -> None:
        _feed(self._process, exchange)

    def close(self) -> None:
        self._process.terminate()
        with contextlib.suppress(BrokenPipeError):
            _close_input(self._process)
        assert self._process.stdout is not None
        self._process.stdout.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Both(Sink):
    """Two at once."""

    def __init__(self, one: Sink, other: Sink) -> None:
        self._one = one
        self._other = other

    def add(self, exchange: Exchange) -> None:
        self._one.add(exchange)
        self._other.add(exchange)

    def close(self) -> None:
        try:
            self._one.close()
        finally:
            self._other.close()


def _feed(process: "subprocess.Popen[bytes]", exchange: Exchange) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps(exchange.plain).encode() + b"\n")
        process.stdin.flush()
    except BrokenPipeError:
        raise Failure(f"mitmproxy's process ended with status {process.wait(END_S)}") from None


def _end(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(BrokenPipeError):
        _close_input(process)
    try:
        status = process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise Failure(f"mitmproxy's process did not end within {END_S:.0f} s: the file may be cut") from None
    if status:
        raise Failure(f"mitmproxy's process ended with status {status}: the file may be cut")


def _close_input(process: "subprocess.Popen[bytes]") -> None:
    assert process.stdin is not None
    process.stdin.close()
