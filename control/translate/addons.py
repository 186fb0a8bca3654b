"""RequestAddons to addons of the mesh."""

from control.api.kinds.request_addon import RequestAddonSpec
from control.api.world import World
from control.ir.addons import Addon, AddonDirection, Addons


def addons(world: World) -> Addons:
    """Oldest rule first."""
    found = []
    for resource in world.of_kind("RequestAddon"):
        spec = resource.spec
        assert isinstance(spec, RequestAddonSpec)
        match = spec.match
        found.append(
            Addon(
                name=resource.name,
                namespace=resource.namespace,
                selector=spec.selector.match_labels if spec.selector else {},
                direction=AddonDirection(spec.direction),
                script=spec.script,
                path=match.path or "",
                methods=match.methods,
                hosts=match.hosts,
                headers=tuple(sorted(match.headers.items())),
                routes=match.routes,
                timeout_s=spec.timeout,
                fail_open=spec.on_failure == "open",
                max_body_bytes=spec.max_body_bytes,
                sample_percent=spec.sample,
            )
        )
    return Addons(tuple(found))
