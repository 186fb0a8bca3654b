"""From a file's lines to records: parts that the runtime split are joined, and lines that belong together. No I/O.

A record knows the bytes of the file that it came from. What is kept back, since more may follow, is in no record yet:
`held_from` says where it begins, and a position must not go beyond it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from collectors.receivers.tail.formats import Parse
from collectors.receivers.tail.traces import Grouping

CUT = "…[cut]"
"""The mark at the end of a text that was longer than is taken."""


class RawLine(NamedTuple):
    """A line of the file without its newline."""

    offset: int
    end: int
    """Where the next begins."""
    data: bytes
    cut: bool = False
    """It was longer; what was over is not here."""


class Assembled(NamedTuple):
    """One record's worth."""

    offset: int
    end: int
    time: float | None
    stream: str
    text: str


@dataclass(frozen=True, slots=True)
class AssemblyLimits:
    """Of one record."""

    max_chars: int = 256 * 1024
    """A longer line is cut; lines that belong together and are longer become several records."""
    max_lines: int = 1_000
    timeout_s: float = 2.0
    """How long what may go on is kept back."""


@dataclass(slots=True)
class _Group:
    """Texts on their way to becoming one."""

    offset: int = -1
    """Where the first began; -1: there are none."""
    end: int = 0
    time: float | None = None
    texts: list[str] = field(default_factory=list)
    chars: int = 0
    since: float = 0.0
    """Monotonic seconds, of the first."""

    def begin(self, line: Assembled, now: float) -> None:
        self.offset, self.time, self.since = line.offset, line.time, now
        self.texts, self.chars = [], 0
        self.add(line.text, line.end)

    def add(self, text: str, end: int) -> None:
        self.texts.append(text)
        self.chars += len(text)
        self.end = end

    def take(self, stream: str, separator: str) -> Assembled:
        taken = Assembled(self.offset, self.end, self.time, stream, separator.join(self.texts))
        self.offset, self.texts, self.chars = -1, [], 0
        return taken


class _Stream:
    """stdout or stderr of one file."""

    __slots__ = ("group", "grouping", "is_cut", "parts")

    def __init__(self, grouping: Grouping | None) -> None:
        self.grouping = grouping
        self.parts = _Group()
        """Of one line."""
        self.is_cut = False
        """The parts are more than a line may have."""
        self.group = _Group()
        """Of one record."""


class Assembly:
    """One file's."""

    def __init__(self, parse: Parse, grouping: Callable[[], Grouping] | None, limits: AssemblyLimits) -> None:
        self._parse = parse
        self._grouping = grouping
        self._limits = limits
        self._streams: dict[str, _Stream] = {}
        self.cut = 0
        """Lines cut so far."""

    @property
    def held_from(self) -> int | None:
        """Where the first line begins that is in no record yet; None: there is none."""
        groups = [group for stream in self._streams.values() for group in (stream.parts, stream.group)]
        return min((group.offset for group in groups if group.offset >= 0), default=None)

    def feed(self, lines: list[RawLine], now: float) -> list[Assembled]:
        """Records that are complete. `now`: monotonic seconds."""
        ready: list[Assembled] = []
        parse, streams = self._parse, self._streams
        for offset, end, data, cut in lines:
            time, name, text, whole = parse(data)
            if cut:
                self.cut += 1
                text += CUT
            stream = streams.get(name)
            if stream is None:
                stream = streams[name] = _Stream(self._grouping() if self._grouping is not None else None)
            line = Assembled(offset, end, time, name, text)
            if not whole or stream.parts.offset >= 0:
                joined = self._add_part(stream, line, whole, now)
                if joined is None:
                    continue
                line = joined
            if stream.grouping is None:
                ready.append(line)
            else:
                self._add_line(ready, stream, stream.grouping, line, now)
        return ready

    def _add_part(self, stream: _Stream, part: Assembled, whole: bool, now: float) -> Assembled | None:
        """The line, if this was its last part."""
        parts = stream.parts
        room = self._limits.max_chars - parts.chars if parts.offset >= 0 else self._limits.max_chars
        if len(part.text) > room:
            part = part._replace(text=part.text[:room])
            stream.is_cut = True
        if parts.offset < 0:
            parts.begin(part, now)
        elif part.text:
            parts.add(part.text, part.end)
        else:
            parts.end = part.end
        return self._take_parts(stream, part.stream) if whole else None

    def _take_parts(self, stream: _Stream, name: str) -> Assembled:
        line = stream.parts.take(name, "")
        if stream.is_cut:
            stream.is_cut = False
            self.cut += 1
            line = line._replace(text=line.text + CUT)
        return line

    def _add_line(
        self, ready: list[Assembled], stream: _Stream, grouping: Grouping, line: Assembled, now: float
    ) -> None:
        group = stream.group
        if (
            grouping.joins(line.text)
            and group.offset >= 0
            and group.chars + len(line.text) <= self._limits.max_chars
            and len(group.texts) < self._limits.max_lines
        ):
            group.add(line.text, line.end)
        else:
            if group.offset >= 0:
                ready.append(_trimmed(group.take(line.stream, "\n")))
            if not grouping.open:
                ready.append(line)  # it stands alone
                return
            group.begin(line, now)
        if not grouping.open:
            ready.append(_trimmed(group.take(line.stream, "\n")))

    def flush(self, now: float, *, force: bool = False) -> list[Assembled]:
        """Records that waited for more for too long; `force`: all of them, for the file has ended."""
        ready: list[Assembled] = []
        for name, stream in self._streams.items():
            if stream.parts.offset >= 0 and (force or now - stream.parts.since >= self._limits.timeout_s):
                line = self._take_parts(stream, name)
                if stream.grouping is None:
                    ready.append(line)
                else:
                    self._add_line(ready, stream, stream.grouping, line, now)
            if stream.group.offset >= 0 and (force or now - stream.group.since >= self._limits.timeout_s):
                ready.append(_trimmed(stream.group.take(name, "\n")))
                if stream.grouping is not None:
                    stream.grouping.reset()
        return ready


def _trimmed(record: Assembled) -> Assembled:
    """Without the empty lines after a trace."""
    return record._replace(text=record.text.rstrip("\n")) if record.text.endswith("\n") else record
