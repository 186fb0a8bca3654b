"""Where the control plane is, whom to expect there, and with which token to come: on a laptop as its state directory
says, in a cluster as the console was told."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from mesh.files import read_private, read_token


class DoorUnusable(Exception):
    """What is there cannot be used; the text is for the user."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What it takes to call."""

    url: str
    root: Path
    """The authorities to trust, PEM."""
    token: str = field(repr=False)


class Door(Protocol):
    """Looked at again whenever one of its files has changed."""

    @property
    def files(self) -> tuple[Path, ...]:
        """What it reads."""

    @property
    def absent(self) -> str:
        """What it means that one of the files is not there."""

    def open(self) -> Reach:
        """Raises DoorUnusable, OSError (NotPrivate for a token that others can read)."""


@dataclass(frozen=True, slots=True)
class StateDoor:
    """The administrator's own, of a mesh on this machine."""

    state: Path

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(self.state / name for name in ("control.json", "ca/root.pem", "admin.token"))

    @property
    def absent(self) -> str:
        return "The control plane has not started yet."

    def open(self) -> Reach:
        address, root, token = self.files
        try:
            said = json.loads(read_private(address))
        except ValueError as error:
            raise DoorUnusable("control.json is not JSON.") from error
        url = said.get("rest") if isinstance(said, dict) else None
        if not isinstance(url, str):
            raise DoorUnusable("control.json does not say where the control plane is.")
        return Reach(url, root, _text(read_private(token)))


@dataclass(frozen=True, slots=True)
class ClusterDoor:
    """The console's own, by a token of its service account, which the kubelet renews."""

    url: str
    root: Path
    token: Path

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.root, self.token)

    @property
    def absent(self) -> str:
        return f"There is no {self.root} or no {self.token}: the console's pod lacks a volume."

    def open(self) -> Reach:
        return Reach(self.url, self.root, _text(read_token(self.token)))


def _text(token: bytes) -> str:
    try:
        return token.decode("ascii").strip()
    except UnicodeDecodeError as error:
        raise DoorUnusable("The token has characters that no token has.") from error
