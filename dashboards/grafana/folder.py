"""The folder that holds the dashboards."""

import re
from dataclasses import dataclass

_NOT_UID = re.compile(r"[^a-z0-9]+")


class BadFolder(ValueError):
    """A title that no folder can have."""


@dataclass(frozen=True, slots=True)
class Folder:
    """Its uid follows from its title, so that the same title is the same folder in every installation."""

    title: str = "Remora"

    def __post_init__(self) -> None:
        if not self.uid or len(self.title) > 189:
            raise BadFolder(
                f"{self.title!r} is no title for a folder: 1 to 189 characters, letters or digits among them"
            )

    @property
    def uid(self) -> str:
        """At most 40 of a-z, 0-9 and -."""
        return _NOT_UID.sub("-", self.title.lower()).strip("-")[:40]
