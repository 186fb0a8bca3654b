"""What a run gave, as a table of a document."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

BEGIN = "<!-- figures: written by `make bench-control`, not by hand -->"
END = "<!-- end of figures -->"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure, in words."""

    what: str
    value: str


def milliseconds(seconds: Iterable[float]) -> str:
    """The median, and what one in a hundred exceeds."""
    ordered = sorted(seconds)
    return f"{at(ordered, 0.5) * 1000:,.0f} / {at(ordered, 0.99) * 1000:,.0f} ms"


def at(ordered: Sequence[float], share: float) -> float:
    """The value below which that share of the values lies."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def markdown(rows: Iterable[Row], about: str) -> str:
    return "\n".join([about, "", "| what | measured |", "| --- | ---: |", *(f"| {r.what} | {r.value} |" for r in rows)])


def update(path: Path, text: str) -> None:
    """Put the table between the document's markers. Raises ValueError if it has lost them."""
    document = path.read_text()
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    if not pattern.search(document):
        raise ValueError(f"{path} lacks the markers {BEGIN} and {END}")
    path.write_text(pattern.sub(lambda _: f"{BEGIN}\n{text}\n{END}", document))
