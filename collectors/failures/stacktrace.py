"""Exceptions out of text: tracebacks as Python, Java, JavaScript and Go print them. Bounded in what is looked at."""

import re
from collections.abc import Iterable
from typing import NamedTuple

MAX_CHARS = 64 * 1024
MAX_LINES = 1_000
MAX_LINE_CHARS = 1_000
MAX_FRAMES = 5
"""Innermost frames that make the fingerprint: enough to tell callers apart, too few for a new caller far out to."""

_MARKS = ("Traceback (most recent call last)", "\n\tat ", "\n    at ", "goroutine ")

_PYTHON_FRAME = re.compile(r"\s+File \"([^\"]{1,1000})\", line \d+, in (.{1,200})")
_PYTHON_ERROR = re.compile(r"([A-Za-z_][\w.]{0,200})(?:: (.*))?\Z")
_JAVA_ERROR = re.compile(
    r"(?:Exception in thread \"[^\"]{0,200}\" |Caused by: )?((?:[a-z_]\w{0,60}\.){1,12}[A-Z][\w$]{0,120})(?:: (.*))?\Z"
)
_JAVA_FRAME = re.compile(r"\s+at ([\w.$<>/@]{1,300})\((?:[^)]{0,200})\)")
_SCRIPT_ERROR = re.compile(r"(?:Uncaught )?([A-Z]\w{0,80}(?:Error|Exception))(?:: (.*))?\Z")
_SCRIPT_FRAME = re.compile(
    r"\s+at (?:async )?(?:([^\s(]{1,200})(?: \[as [^\]]{1,100}\])? )?\(?([^()\s]{1,500}?):\d+:\d+\)?"
)
_GO_ERROR = re.compile(r"(panic|fatal error): (.*)\Z")
_GO_FRAME = re.compile(r"([\w./*()\-\[\]{}·]{1,300})\((?:[^)]{0,300})\)\Z")
_GENERATED = re.compile(r"\$\$Lambda(?:\$\d+)?(?:/(?:0x[0-9a-f]+|\d+))?|\$\d+|0x[0-9a-f]+|\.func\d+(?:\.\d+)*")
_LIBRARY = ("/site-packages/", "/dist-packages/", "/lib/python", "/node_modules/", "node:internal", "<frozen ")


class Raised(NamedTuple):
    """What was raised, and where."""

    type: str
    message: str
    frames: tuple[str, ...]
    """Innermost first, without line numbers: they move with every release."""


def parse(text: str) -> Raised | None:
    """The exception that a text tells of; of a chain the one that was not caught. None: the text tells of none."""
    if not any(mark in text for mark in _MARKS):
        return None
    lines = [line[:MAX_LINE_CHARS] for line in text[:MAX_CHARS].splitlines()[:MAX_LINES]]
    for read in (_python, _java, _script, _go):
        found = read(lines)
        if found is not None:
            return found
    return None


def _python(lines: list[str]) -> Raised | None:
    begins = [index for index, line in enumerate(lines) if line.lstrip().startswith("Traceback (most recent call")]
    if not begins:
        return None
    # A log's prefix may be in front of the first line; the frames' own indentation tells what belongs to them.
    frames: list[tuple[str, str]] = []
    for line in lines[begins[-1] + 1 :]:
        if match := _PYTHON_FRAME.match(line):
            frames.append((match[1], match[2]))
        elif line[:1].strip() and frames and (match := _PYTHON_ERROR.match(line.strip())):
            named = [(path, f"{_tail(path)}:{function}") for path, function in reversed(frames)]
            return Raised(match[1], match[2] or "", _own(named))
    return None


def _java(lines: list[str]) -> Raised | None:
    for index, line in enumerate(lines):
        if line.startswith(("\t", "    at")) or not _JAVA_FRAME.match(_after(lines, index)):
            continue
        match = _JAVA_ERROR.search(line.strip())
        if match is None:
            continue
        frames = []
        for following in lines[index + 1 :]:
            frame = _JAVA_FRAME.match(following)
            if frame is None:
                break
            frames.append(_GENERATED.sub("", frame[1]))
        return Raised(match[1], match[2] or "", tuple(frames[:MAX_FRAMES]))
    return None


def _script(lines: list[str]) -> Raised | None:
    for index, line in enumerate(lines):
        match = _SCRIPT_ERROR.search(line.strip()) if _SCRIPT_FRAME.match(_after(lines, index)) else None
        if match is None:
            continue
        frames = []
        for following in lines[index + 1 :]:
            frame = _SCRIPT_FRAME.match(following)
            if frame is None:
                break
            frames.append((frame[2], f"{_tail(frame[2])}:{frame[1] or '?'}"))
        return Raised(match[1], match[2] or "", _own(frames))
    return None


def _go(lines: list[str]) -> Raised | None:
    for index, line in enumerate(lines):
        match = _GO_ERROR.search(line)
        if match is None:
            continue
        frames = [
            _GENERATED.sub("", frame[1])
            for following in lines[index + 1 :]
            if not following.startswith(("goroutine ", "\t")) and (frame := _GO_FRAME.match(following))
        ]
        told = [frame for frame in frames if not frame.startswith(("panic", "runtime."))]
        return Raised(match[1], match[2], tuple((told or frames)[:MAX_FRAMES])) if frames else None
    return None


def _after(lines: list[str], index: int) -> str:
    return lines[index + 1] if index + 1 < len(lines) else ""


def _own(frames: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """The application's frames, where it has any: a library's move with its own releases."""
    every = list(frames)
    own = [name for path, name in every if not any(part in path for part in _LIBRARY)]
    return tuple((own or [name for _, name in every])[:MAX_FRAMES])


def _tail(path: str) -> str:
    """The last two parts: where an application is installed differs from machine to machine."""
    return "/".join(path.replace("\\", "/").split("?")[0].split("/")[-2:])
