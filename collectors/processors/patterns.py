"""Expressions that users write: RE2's syntax and engine, whose time is linear in the text whatever the expression. So a
record that a stranger wrote cannot hold up the collector; what needs backtracking is refused when settings are read.
"""

from typing import Annotated, Any

import re2
from pydantic import BeforeValidator, InstanceOf, PlainSerializer

from collectors.settings.types import wrong

MAX_PATTERN_CHARS = 4_096
_MAX_MEMORY_BYTES = 4 << 20
"""Of one compiled expression; a larger one is refused."""


class CompiledPattern:
    """One expression. Its methods are re's."""

    __slots__ = ("_compiled", "findall", "finditer", "fullmatch", "groups", "names", "search", "sub", "text")

    def __init__(self, text: str) -> None:
        """Raises ValueError that says what is wrong with it."""
        if not text or len(text) > MAX_PATTERN_CHARS:
            raise ValueError(f"an expression has 1 to {MAX_PATTERN_CHARS} characters")
        options = re2.Options()
        options.log_errors = False
        options.max_mem = _MAX_MEMORY_BYTES
        try:
            compiled: Any = re2.compile(text, options=options)
        except re2.error as error:
            reason = error.args[0] if error.args else ""
            words = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
            raise ValueError(words or "it is no expression") from error
        self.text = text
        self._compiled = compiled
        self.groups: int = compiled.groups
        self.names: dict[str, int] = dict(sorted(compiled.groupindex.items(), key=lambda one: one[1]))
        self.search = compiled.search
        self.fullmatch = compiled.fullmatch
        self.finditer = compiled.finditer
        self.findall = compiled.findall
        self.sub = compiled.sub

    def __repr__(self) -> str:
        return f"<CompiledPattern {self.text!r}>"


def _pattern(value: object) -> CompiledPattern:
    if not isinstance(value, str):
        raise wrong("is no text; write an expression in RE2's syntax")
    try:
        return CompiledPattern(value)
    except ValueError as error:
        raise wrong(
            f"is no expression that is taken ({error}); write RE2's syntax, without look-around and backreferences"
        ) from error


Pattern = Annotated[
    InstanceOf[CompiledPattern], BeforeValidator(_pattern), PlainSerializer(lambda one: one.text, return_type=str)
]
"""In models; text in the YAML."""
