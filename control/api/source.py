"""A file as it was given: its name, for messages, and its text."""

from dataclasses import dataclass

MAX_FILE_BYTES = 2 * 1024 * 1024
"""A larger file is refused before it is parsed. Kubernetes' limit for one object is 1.5 MiB."""

MAX_CALL_BYTES = 8 * 1024 * 1024
"""All files of one call together."""

MAX_DOCUMENTS = 10_000
"""Documents of one call, items of a List counted each."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One input. `name` is what the user called it, `-` for standard input."""

    name: str
    text: str
