"""PythonFilter rules to the mesh's filters, in the order in which requests meet them."""

import json

from control.api.kinds.python_filter import PHASES, PythonFilterSpec
from control.api.world import World
from control.ir.python_filters import Direction, PythonFilter


def python_filters(world: World) -> tuple[PythonFilter, ...]:
    """By phase, then the highest priority first, then the oldest (Istio WasmPlugin)."""
    found: list[tuple[int, int, PythonFilter]] = []
    for resource in world.of_kind("PythonFilter"):
        spec = resource.spec
        assert isinstance(spec, PythonFilterSpec)
        translated = PythonFilter(
            name=f"{resource.namespace}/{resource.name}",
            namespace=resource.namespace,
            selector=spec.selector.match_labels if spec.selector else {},
            direction=Direction(spec.direction),
            hosts=spec.match.hosts,
            routes=spec.match.routes,
            path_prefixes=spec.match.path_prefixes,
            source=spec.source,
            file=spec.file,
            sha256=spec.sha256,
            class_name=spec.class_name,
            config=json.dumps(spec.config, sort_keys=True),
            before_faults=spec.phase != "UNSPECIFIED_PHASE",
            timeout_s=spec.timeout,
            fail_open=spec.failure_policy == "FAIL_OPEN",
            max_body_bytes=spec.max_body_bytes,
        )
        found.append((PHASES.index(spec.phase), -spec.priority, translated))
    # sorted() is stable: `of_kind` gives the oldest first.
    return tuple(each for _, _, each in sorted(found, key=lambda entry: entry[:2]))
