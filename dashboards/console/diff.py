"""What an apply would change, as the lines of a unified diff. Pure."""

import difflib
from dataclasses import dataclass
from typing import Literal

CONTEXT_LINES = 3

MAX_COMPARED_LINES = 2_000
"""Of either text; comparing takes up to the product. Longer ones are shown as all removed and all added."""


@dataclass(frozen=True, slots=True)
class DiffLine:
    """One line; `old` and `new` are its line numbers, None where it does not exist."""

    kind: Literal["same", "removed", "added", "gap"]
    text: str
    old: int | None = None
    new: int | None = None


def diff(before: str | None, after: str | None) -> tuple[DiffLine, ...]:
    """Compare two texts; None is a document that does not exist. Equal texts give no lines."""
    old, new = (before or "").splitlines(), (after or "").splitlines()
    if max(len(old), len(new)) > MAX_COMPARED_LINES:
        if old == new:
            return ()
        removed = [DiffLine("removed", text, number, None) for number, text in enumerate(old, 1)]
        return (*removed, *(DiffLine("added", text, None, number) for number, text in enumerate(new, 1)))
    lines: list[DiffLine] = []
    for group in difflib.SequenceMatcher(None, old, new, autojunk=False).get_grouped_opcodes(CONTEXT_LINES):
        if lines:
            lines.append(DiffLine("gap", "⋯"))
        for tag, old_start, old_end, new_start, new_end in group:
            if tag == "equal":
                pairs = zip(range(old_start, old_end), range(new_start, new_end), strict=True)
                lines += [DiffLine("same", old[i], i + 1, j + 1) for i, j in pairs]
                continue
            lines += [DiffLine("removed", old[i], i + 1, None) for i in range(old_start, old_end)]
            lines += [DiffLine("added", new[j], None, j + 1) for j in range(new_start, new_end)]
    return tuple(lines)
