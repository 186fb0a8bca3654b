"""Bookinfo's first rules: stored once in the life of a state directory, beside what is there already, never over it."""

from importlib.resources import files

from remora.client import Control
from remora.documents import Document
from remora.state import State


def rules() -> list[Document]:
    """One rule each."""
    found: list[Document] = []
    directory = files("remora.samples.bookinfo") / "rules"
    for file in sorted(directory.iterdir(), key=lambda each: each.name):
        parts = file.read_text(encoding="utf-8").split("\n---\n")
        found += [Document(f"bookinfo/{file.name}", part) for part in parts]
    return found


def apply_once(state: State, control: Control) -> bool:
    """Apply the rules if this state has never had them. Returns whether it did.

    What the user stored under the same name stays; what he removed stays removed.
    """
    marker = state.directory / "samples-applied"
    if marker.exists():
        return False
    new = [rule for rule in rules() if _is_new(control, rule)]
    if new:
        control.apply(new)
    marker.touch(mode=0o600)
    return True


def _is_new(control: Control, rule: Document) -> bool:
    from ruamel.yaml import YAML

    document = YAML(typ="safe", pure=True).load(rule.text)
    stored = control.resources(document["kind"], "default")
    return all(each["name"] != document["metadata"]["name"] for each in stored)
