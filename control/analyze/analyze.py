"""The World as it would be after a change, checked: which problems the change brings, and which it has itself."""

import re
from collections.abc import Collection

from control.analyze.conflicts import conflicts
from control.analyze.exposure import exposure
from control.analyze.python_filters import python_filters
from control.analyze.reach import reach
from control.analyze.references import references
from control.analyze.subject import Subject
from control.api.resource import Key, Parsed, Resource
from control.api.violation import Violation
from control.api.world import World
from control.translate import translate

_Identity = tuple[str, str, str, str, str]

_RIVAL = re.compile(
    r"(?:VirtualService|DestinationRule|PeerAuthentication) [^ /]+/[^ ,;]+(?: \([^)]*\))?(?: and \d+ more)?"
)
"""The other rule in a finding of conflicts: which of several it is may change with any of them."""


def analyze(world: World, parsed: Parsed, deleted: Collection[Key] = ()) -> list[Violation]:
    """Findings about applying `parsed` and deleting `deleted`; errors mean that nothing should be applied.

    Shown are all findings about the rules of the call, and about others those that the change would bring; what was
    wrong with stored rules before is not held against it. `parsed.violations` are not repeated.
    """
    first: dict[Key, Resource] = {}
    findings = []
    for resource in parsed.resources:
        earlier = first.setdefault(resource.key, resource)
        if earlier is not resource:
            message = f"{resource.key} is given twice, first in {earlier.file}:{earlier.line}; keep one of them"
            findings.append(resource.violation(("metadata", "name"), message))
    before = {_identity(violation) for violation in analyze_stored(world)}
    after = world.with_resources(first.values(), deleted)
    for violation in analyze_stored(after):
        own = Key(violation.kind, violation.namespace, violation.name) in first
        if own or _identity(violation) not in before:
            findings.append(violation)
    return findings


def analyze_stored(world: World) -> list[Violation]:
    """Every finding about a World as it is."""
    subject = Subject(world)
    own = (*references(subject), *exposure(subject), *conflicts(subject), *reach(subject), *python_filters(subject))
    found = [*own, *translate(world).violations]
    return list(dict.fromkeys(found))


def _identity(violation: Violation) -> _Identity:
    """A rule that is at odds with others has not got a new problem when it is told of another of them."""
    said = _RIVAL.sub("", violation.message)
    return violation.kind, violation.namespace, violation.name, violation.path, said
