"""What the flags of all components have in common, so that each is read in one way and described once
(docs/interfaces.md)."""

import argparse
import math
from collections.abc import Callable
from typing import NoReturn, TypeVar

from mesh.addresses import MAX_PORT, is_number, parse_host_port

Group = argparse._ActionsContainer
"""A parser, or one of its groups."""

_T = TypeVar("_T")
_MAX_DESCRIPTOR = 2**31 - 1


class Parser(argparse.ArgumentParser):
    """Wrong use is one line on standard error and exit status 2. Flags cannot be abbreviated: scripts outlive a flag
    that begins like another."""

    def __init__(self, prog: str, description: str, epilog: str) -> None:
        super().__init__(
            prog,
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Raises SystemExit(2)."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def checked(read: Callable[[str], _T]) -> Callable[[str], _T]:
    """`read` as a flag's `type`: argparse shows what the ValueError says that it raises."""

    def convert(text: str) -> _T:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return convert


def _port(text: str) -> int:
    if not is_number(text, MAX_PORT):
        raise ValueError(f"{text!r} is no port; write 0 to {MAX_PORT}")
    return int(text)


def parse_descriptor(text: str) -> int:
    """The number of a file descriptor. Raises ValueError."""
    if not is_number(text, _MAX_DESCRIPTOR):
        raise ValueError(f"{text!r} is not a file descriptor's number")
    return int(text)


host_port = checked(parse_host_port)
port = checked(_port)
descriptor = checked(parse_descriptor)


def between(low: float, high: float) -> Callable[[str], float]:
    """A flag's `type`: a number of that range, its ends included."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise ValueError(f"{text!r} is not between {low:g} and {high:g}")
        return value

    return checked(read)


def whole(low: int, high: int) -> Callable[[str], int]:
    """A flag's `type`: a whole number of that range, its ends included."""

    def read(text: str) -> int:
        if not is_number(text, high) or int(text) < low:
            raise ValueError(f"{text!r} is not a whole number from {low} to {high}")
        return int(text)

    return checked(read)


def add_supervision(group: Group, ready: str) -> None:
    """The flags by which a parent knows that its child serves, and the child that its parent is gone. `ready`: what it
    writes."""
    group.add_argument(
        "--ready-fd",
        metavar="N",
        type=descriptor,
        help=f"once it serves, write {ready} to this inherited descriptor",
    )
    group.add_argument(
        "--lifeline-fd", metavar="N", type=descriptor, help="stop when the other end of this inherited pipe closes"
    )


def add_log_level(group: Group) -> None:
    """How much a component logs."""
    group.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default="info",
        help="of its own log on standard error (default: %(default)s)",
    )
