"""Routes that no request can reach, and settings that affect none."""

from collections.abc import Callable, Iterator

from control.analyze.subject import Subject
from control.api.kinds.http_action import percent_of
from control.api.kinds.http_match import HttpMatch
from control.api.kinds.virtual_service import HttpRoute
from control.api.resource import Path
from control.api.violation import Severity, Violation


def reach(subject: Subject) -> Iterator[Violation]:
    """Warnings."""
    for resource, spec in subject.virtual_services():
        taken: Path | None = None
        seen: dict[str, Path] = {}
        for index, route in enumerate(spec.http):
            at: Path = ("spec", "http", index)
            if taken is not None:
                message = (
                    f"is never reached: the route before it, {resource.place(taken)}, takes every request; move it up"
                )
                yield resource.violation(at, message, "warning")
                continue
            for number, match in enumerate(route.match):
                here: Path = (*at, "match", number)
                earlier = seen.setdefault(match.model_dump_json(exclude={"name"}), here)
                if earlier is not here:
                    message = f"is never reached: {resource.place(earlier)} has the same condition; remove one"
                    yield resource.violation(here, message, "warning")
            if catches_everything(route):
                taken = at
            yield from _faults(resource.violation, at, route)


def catches_everything(route: HttpRoute) -> bool:
    """Whether no request of any proxy passes it by."""
    return not route.match or any(_is_everything(match) for match in route.match)


def _is_everything(match: HttpMatch) -> bool:
    given = match.model_dump(exclude_defaults=True, exclude={"name", "uri", "ignore_uri_case"})
    everywhere = match.uri is None or match.uri.prefix == "/" or match.uri.regex in (".*", "/.*")
    return not given and everywhere


def _faults(violation: Callable[[Path, str, Severity], Violation], at: Path, route: HttpRoute) -> Iterator[Violation]:
    if route.fault is None:
        return
    for name, part in (("delay", route.fault.delay), ("abort", route.fault.abort)):
        if part is not None and percent_of(part) == 0:
            message = "affects no request: percentage.value is 0 or missing; write percentage: {value: 100}"
            yield violation((*at, "fault", name), message, "warning")
