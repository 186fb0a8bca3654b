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


class DefaultGroup(Group):
    """Subcommands, and one of them, `show`, for arguments that begin with none of their names."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As click does."""
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["show", *args]
        return list(super().parse_args(ctx, args))


def _without_types_of_flags(params: list[Any]) -> list[Any]:
    # typer writes <bool> beside each, which reads as if a value was wanted.
    for param in params:
        if getattr(param, "is_flag", False):
            param.metavar = ""
    return params
