"""The validation webhook: a rule that is about to be stored, to what `remora analyze` says of it.

Kubernetes stores one object at a time and in any order, so what is wrong only as long as another object is missing (a
host, a subset, a Gateway that the next document of the same file brings) is a warning here, not a refusal; the rule's
status tells when it is still so afterwards. What a rule has of its own, and conflicts with stored ones, are refused.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from types import MappingProxyType

import orjson

from control.analyze.analyze import analyze_stored
from control.analyze.references import references
from control.analyze.subject import Subject
from control.api.kinds import KINDS
from control.api.kinds.virtual_service import VirtualServiceSpec
from control.api.parse import parse
from control.api.resource import Resource
from control.api.source import SourceFile
from control.api.violation import Violation
from control.api.world import World
from control.stores.kubernetes.outside import forbidden_places
from control.webhooks.review import Json, Review, Verdict

MAX_AT_ONCE = 2
"""An analysis of a large mesh takes a core for a second."""
REVISION_LABELS = ("remora.io/rev", "istio.io/rev")


class Validation:
    """Answers reviews about the kinds that Remora knows. `world` is the present one."""

    def __init__(self, world: Callable[[], World], revision: str = "") -> None:
        self._world = world
        self._revision = revision or "default"
        self._turns = asyncio.Semaphore(MAX_AT_ONCE)

    async def __call__(self, review: Review) -> tuple[str, Verdict]:
        """An outcome for the count, and the answer."""
        if review.operation not in ("CREATE", "UPDATE") or review.found is None:
            # Whoever deletes may be deleting all of it, a namespace for example, in an order of the server's.
            return "allowed", Verdict(True)
        kind = KINDS.get(review.kind)
        if kind is None or all(_group(version) != review.group for version in kind.api_versions):
            known = (
                f"{review.kind} of {review.group or 'the core group'} is no kind that Remora knows; it has no effect"
            )
            return "allowed", Verdict(True, warnings=(known,))
        if self._is_anothers(review.found):
            return "allowed", Verdict(True)
        async with self._turns:
            errors, warnings = await asyncio.to_thread(judge, self._world(), review.found, review.namespace)
        if errors and review.before is not None and review.before.get("spec") == review.found.get("spec"):
            # Labels, finalizers and status of a rule that was stored while nobody checked: it must stay manageable.
            return "allowed", Verdict(True, warnings=tuple(_lines((*errors, *warnings))))
        if errors:
            return "denied", Verdict(False, _reason(errors), warnings=tuple(_lines(warnings)))
        return "allowed", Verdict(True, warnings=tuple(_lines(warnings)))

    def _is_anothers(self, found: Json) -> bool:
        """Whether it says that it is for a control plane of another revision."""
        labels = (found.get("metadata") or {}).get("labels") or {}
        said = [labels[name] for name in REVISION_LABELS if name in labels] if isinstance(labels, dict) else []
        return bool(said) and self._revision not in said


def judge(world: World, found: Json, namespace: str) -> tuple[list[Violation], list[Violation]]:
    """Errors and warnings about `found`, with it stored beside what there is."""
    text = orjson.dumps(found).decode()
    parsed = parse([SourceFile("", text)], default_namespace=namespace or "default")
    errors = [each for each in parsed.violations if each.severity == "error"]
    errors += [each for resource in parsed.resources for each in forbidden_places(resource)]
    warnings = [each for each in parsed.violations if each.severity != "error"]
    if errors or not parsed.resources:
        return errors, warnings
    after = _beside(world, parsed.resources).with_resources(parsed.resources)
    keys = {resource.key for resource in parsed.resources}
    awaited = {each for each in references(Subject(after)) if (each.kind, each.namespace, each.name) in keys}
    for each in analyze_stored(after):
        if (each.kind, each.namespace, each.name) in keys:
            (errors if each.severity == "error" and each not in awaited else warnings).append(each)
    return errors, warnings


def _beside(world: World, new: Iterable[Resource]) -> World:
    """`world` with what may say something of `new`: of the VirtualServices, of which there may be thousands, those for
    the same hosts. A review of one rule must not cost what all of them do."""
    subject = Subject(world)

    def hosts(rule: Resource) -> set[str]:
        named = rule.spec.hosts if isinstance(rule.spec, VirtualServiceSpec) else ()
        return {subject.full(host, rule) for host in named}

    wanted = set[str]().union(*map(hosts, new))
    kept = {
        key: rule
        for key, rule in world.resources.items()
        if key.kind != "VirtualService" or not wanted.isdisjoint(hosts(rule))
    }
    return replace(world, resources=MappingProxyType(kept))


def _reason(errors: list[Violation]) -> str:
    return "; ".join(_lines(errors))


def _lines(violations: Iterable[Violation]) -> list[str]:
    """Without file and line, which an object in a cluster does not have."""
    return list(dict.fromkeys(f"{each.path}: {each.message}" if each.path else each.message for each in violations))


def _group(api_version: str) -> str:
    return api_version.rpartition("/")[0]
