"""What a run gave, and the table of all of them."""

import re
from dataclasses import dataclass
from pathlib import Path

BEGIN = "<!-- figures: written by `make bench-collect`, not by hand -->"
END = "<!-- end of figures -->"


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one system in one case."""

    case: str
    system: str
    records: int
    seconds: float
    """From the first record to the last one stored by the back end."""
    cpu_s: float
    """Of the system's process, with what it started; not of the back end."""
    resident_mib: float
    """The most."""

    @property
    def cpu_us(self) -> float:
        """Of a record."""
        return self.cpu_s / self.records * 1e6


@dataclass(frozen=True, slots=True)
class Search:
    """A question to the embedded store."""

    question: str
    median_ms: float
    worst_ms: float
    cold_ms: float
    """The first, when nothing of the file is in the system's cache."""


def markdown(figures: list[Figures], searches: list[Search], total: int, left_out: list[str], about: str) -> str:
    """Tables, and where they are from."""
    lines = [
        about,
        "",
        "| from forward input to | system | records/s | CPU µs/record | records/s per core | resident MiB at most |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {each.case} | {each.system} | {each.records / each.seconds:,.0f} | {each.cpu_us:.1f} | "
        f"{1e6 / each.cpu_us:,.0f} | {each.resident_mib:.0f} |"
        for each in figures
    ]
    lines += [f"\nLeft out: {why}." for why in left_out]
    if searches:
        lines += [
            "",
            f"| search over {total:,} records | median ms | worst ms | cold ms |",
            "| --- | ---: | ---: | ---: |",
        ]
        lines += [
            f"| {each.question} | {each.median_ms:.1f} | {each.worst_ms:.1f} | {each.cold_ms:.1f} |"
            for each in searches
        ]
    return "\n".join(lines)


def update(path: Path, text: str) -> None:
    """Put the tables between the document's markers. Raises ValueError if it has lost them."""
    document = path.read_text()
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    if not pattern.search(document):
        raise ValueError(f"{path} lacks the markers {BEGIN} and {END}")
    path.write_text(pattern.sub(lambda _: f"{BEGIN}\n{text}\n{END}", document))
