"""Files and directories that settings name: none is written by two, none that is read is written over, and no output is
read again as input."""

import os
import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from collectors.settings.buffers import ExporterSettings
from collectors.settings.document import Steps, spell
from collectors.settings.types import Secret
from collectors.settings.walk import Found

BUFFERS = "buffers"
"""In the state directory: where buffers are whose settings name no other place."""


class _Use(NamedTuple):
    steps: Steps
    what: str
    path: Path


def buffer_directory(settings: ExporterSettings, name: str, state: Path) -> Path:
    """Of the exporter `name`."""
    return settings.buffer.directory or state / BUFFERS / name


def judge_paths(
    exporters: dict[str, Any], found: Iterable[Found], config: Path, state: Path
) -> Iterator[tuple[Steps, str]]:
    """`exporters`: their settings by name; `found`: all fields."""
    found = list(found)
    written: dict[str, _Use] = {}
    read = {_real(use.path): use for use in _read(found, config)}
    told: set[Steps] = set()
    for name, settings in exporters.items():
        for use in _written(name, settings, state):
            if use.steps in told:
                continue  # its renamed files, most likely
            where = _real(use.path)
            if (other := written.setdefault(where, use)) is not use and other.steps != use.steps:
                told.add(use.steps)
                yield use.steps, f"{use.what} {use.path}, and so does {spell(other.steps)}; choose another path"
            elif (source := read.get(where)) is not None:
                told.add(use.steps)
                whose = spell(source.steps) or "these settings"
                yield use.steps, f"{use.what} {use.path}, which is {source.what} of {whose}; choose another path"
    yield from _read_again(written, found)


def _written(name: str, settings: Any, state: Path) -> Iterator[_Use]:
    at: Steps = ("exporters", name)
    if isinstance(settings, ExporterSettings):
        directory = buffer_directory(settings, name, state)
        steps = (*at, "buffer", "directory") if settings.buffer.directory is not None else at
        yield _Use(steps, "has its buffer in", directory)
        if settings.buffer.spill is not None:
            yield _Use((*at, "buffer", "spill", "directory"), "spills to", settings.buffer.spill.directory)
    for path in getattr(settings, "writes", ()):
        yield _Use((*at, "path"), "writes", path)


def _read(found: Iterable[Found], config: Path) -> Iterator[_Use]:
    yield _Use((), "the file", config)
    for one in found:
        for value in _values(one.value):
            if isinstance(value, Secret):
                yield _Use(one.steps, "the secret", value.path)
            elif isinstance(value, Path) and (one.steps[0] != "exporters" or one.name.endswith("_file")):
                yield _Use(one.steps, "the file", value)


def _values(value: object) -> tuple[object, ...]:
    if isinstance(value, dict):
        return tuple(value.values())
    return value if isinstance(value, tuple) else (value,)


def _read_again(written: dict[str, _Use], found: Iterable[Found]) -> Iterator[tuple[Steps, str]]:
    tails = [one.owner for one in found if one.steps[:2] == ("receivers", "tail") and one.name == "include"]
    for tail in tails:
        include: tuple[str, ...] = getattr(tail, "include", ())
        exclude: tuple[str, ...] = getattr(tail, "exclude", ())
        for index, pattern in enumerate(include):
            if pattern in include[:index]:
                yield ("receivers", "tail", "include", index), f"names {pattern} a second time"
        told: set[Steps] = set()
        for where, use in written.items():
            for index, pattern in enumerate(include):
                if (
                    use.what == "writes"
                    and use.steps not in told
                    and _matches(pattern, where, use.path)
                    and not any(fnmatchcase(name, one) for one in exclude for name in (where, str(use.path)))
                ):
                    told.add(use.steps)
                    yield (
                        use.steps,
                        (
                            f"writes {use.path}, which receivers.tail.include[{index}] reads again: every record would "
                            f"make another for ever; choose another path, or add it to receivers.tail.exclude"
                        ),
                    )


def _matches(pattern: str, *paths: object) -> bool:
    expression = _translate(pattern)
    return any(expression.fullmatch(str(path)) for path in paths)


def _translate(pattern: str) -> re.Pattern[str]:
    text, at = "", 0
    while at < len(pattern):
        if pattern.startswith("**/", at):
            text, at = text + "(?:[^/]+/)*", at + 3
        elif pattern.startswith("**", at):
            text, at = text + ".*", at + 2
        elif pattern[at] == "*":
            text, at = text + "[^/]*", at + 1
        elif pattern[at] == "?":
            text, at = text + "[^/]", at + 1
        elif pattern[at] == "[" and (end := pattern.find("]", at + 2)) > 0:
            inside = pattern[at + 1 : end].replace("\\", r"\\")
            text, at = text + "[" + re.sub("^!", "^", inside) + "]", end + 1
        else:
            text, at = text + re.escape(pattern[at]), at + 1
    try:
        return re.compile(text)
    except re.error:
        return re.compile(re.escape(pattern))  # a class that is none


def _real(path: Path) -> str:
    return os.path.realpath(path)
