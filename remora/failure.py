"""How a command says no: an exception whose text is what the user reads, rendered in cli.main only."""

from collections.abc import Sequence


class Failure(Exception):
    """The answer is no, or it could not be had. Each line is for people; exit status 1."""

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines: Sequence[str] = lines


class NoMesh(Failure):
    """There is no control plane to ask."""
