"""A store that forgets: the World itself, for tests and dry runs."""

from control.api.world import World

__all__ = ["World"]
