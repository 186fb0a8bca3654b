"""`receivers.tail`: which files, in which format, and what records get."""

import re
import socket
from typing import Self

from pydantic import Field, field_validator, model_validator

from collectors.pipeline import Consumer
from collectors.processors.patterns import Pattern
from collectors.receivers.tail.assembly import Assembly, AssemblyLimits
from collectors.receivers.tail.files import FileLimits, Files, Patterns
from collectors.receivers.tail.formats import Format, parser_of
from collectors.receivers.tail.metadata import MetadataFile, NoMetadata
from collectors.receivers.tail.positions import PositionFile
from collectors.receivers.tail.receiver import Pace, TailReceiver
from collectors.receivers.tail.records import Origins
from collectors.receivers.tail.tailer import ReadLimits, Tailer
from collectors.receivers.tail.traces import FirstLines, Grouping, Language, Traces
from collectors.settings.context import Context
from collectors.settings.types import AnyPath, Duration, Model, Size, wrong

_TAG = re.compile(r"(?:[A-Za-z0-9_.\-]|\{(?:namespace|pod|container|file)\})+")


class MultilineSettings(Model):
    """`multiline`: which lines are one record."""

    languages: tuple[Language, ...] = ()
    """Whose traces are joined."""
    start: Pattern | None = None
    """Instead: every record begins with a line in which this is found (RE2 syntax)."""
    timeout: Duration = Field(default=2.0, ge=0.01, le=60.0)
    """How long a record that may go on is kept back."""
    max_lines: int = Field(default=1_000, ge=2, le=100_000)
    """Of one record; what goes on is the next one."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if bool(self.languages) == (self.start is not None):
            raise wrong("needs languages, such as [python, java, go], or start, and not both")
        return self


class Settings(Model):
    """`receivers.tail`."""

    include: tuple[str, ...] = Field(min_length=1, max_length=256)
    """Globs of absolute paths: /var/log/containers/*.log; ** is any number of directories. Links are followed.
    Compressed files are left out."""
    exclude: tuple[str, ...] = Field(default=(), max_length=256)
    """Globs of paths to leave out; here `*` is any text, `/` included."""
    format: Format = "auto"
    """`cri`, `docker`, `plain`, or `auto`: whichever a line looks like."""
    tag: str = Field(default="containers.{namespace}.{pod}.{container}", min_length=1, max_length=256)
    """Of the records; {namespace}, {pod}, {container} and {file} stand for what the path says, or "-"."""
    multiline: MultilineSettings | None = None
    """Joins lines into records. Default: a line is a record."""
    metadata_file: AnyPath | None = None
    """What is known of pods: a JSON list of {namespace, pod, uid, node, workload, labels, containers: {ID: NAME}}."""
    node: str = Field(default="", max_length=253)
    """The node's name, part of ids. Default: the host's."""
    from_end: bool = False
    """At the very first start: only what comes from then on."""
    max_files: int = Field(default=512, ge=1, le=65_536)
    """Open at once."""
    max_line_bytes: Size = Field(default=256 << 10, ge=1 << 10, le=16 << 20)
    """Longer ones are cut, with a mark."""
    read_bytes: Size = Field(default=64 << 10, ge=4 << 10, le=16 << 20)
    """Of one file before it is the next one's turn."""
    turn_bytes: Size = Field(default=1 << 20, ge=4 << 10, le=64 << 20)
    """Of all files before what was read is stored."""
    rotate_wait: Duration = Field(default=5.0, ge=0.01, le=3600)
    """How long a file that was renamed or deleted is still read after it last grew."""
    poll: Duration = Field(default=0.25, ge=0.01, le=60)
    """How often files are looked at for new lines."""
    scan: Duration = Field(default=1.0, ge=0.01, le=600)
    """How often new files are looked for."""

    @field_validator("include", "exclude")
    @classmethod
    def _absolute(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in value:
            if not pattern.startswith("/"):
                raise wrong(f"has {pattern!r}, which is no absolute path; begin it with /")
        return value

    @field_validator("tag")
    @classmethod
    def _is_tag(cls, value: str) -> str:
        if _TAG.fullmatch(value) is None:
            raise wrong("may have letters, digits, _ . - and {namespace}, {pod}, {container}, {file}")
        return value


def build(settings: Settings, context: Context, consumer: Consumer) -> TailReceiver:
    """Raises OSError where the state directory cannot be made."""
    node = settings.node or socket.gethostname()
    metadata = None if settings.metadata_file is None else MetadataFile(settings.metadata_file)
    if metadata is not None:
        metadata.refresh(context.clock.monotonic())
    multiline = settings.multiline
    limits = AssemblyLimits(max_chars=settings.max_line_bytes)
    if multiline is not None:
        limits = AssemblyLimits(settings.max_line_bytes, multiline.max_lines, multiline.timeout)
    parse = parser_of(settings.format)
    files = Files(
        Patterns(settings.include, settings.exclude, settings.from_end),
        PositionFile(context.directory("tail") / "positions.json"),
        lambda: Assembly(parse, None if multiline is None else lambda: _grouping(multiline), limits),
        FileLimits(settings.max_files, settings.max_line_bytes),
        node,
    )
    receiver = TailReceiver(
        Tailer(files, ReadLimits(settings.read_bytes, settings.turn_bytes, settings.rotate_wait)),
        Origins(settings.tag, node, metadata or NoMetadata()),
        consumer,
        context.clock,
        context.rng,
        context.telemetry.registry,
        Pace(poll_s=settings.poll, scan_s=settings.scan),
        metadata,
    )
    context.watch(receiver)
    return receiver


def _grouping(settings: MultilineSettings) -> Grouping:
    return FirstLines(settings.start) if settings.start is not None else Traces(settings.languages)
