"""How commands show themselves in `--help`."""

from typing import Any

from typer.core import TyperCommand, TyperGroup


class Command(TyperCommand):
    """A subcommand."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its options and arguments."""
        return _without_types_of_flags(super().get_params(ctx))


class Group(TyperGroup):
    """The command itself."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its options."""
        return _without_types_of_flags(super().get_params(ctx))


def _without_types_of_flags(params: list[Any]) -> list[Any]:
    # typer writes <bool> beside each, which reads as if a value was wanted.
    for param in params:
        if getattr(param, "is_flag", False):
            param.metavar = ""
    return params
