"""PeerAuthentication to peer policies."""

from control.api.kinds.peer_authentication import Mode, PeerAuthenticationSpec
from control.api.world import World
from control.ir.policies import MtlsMode, PeerPolicy


def peers(world: World) -> tuple[PeerPolicy, ...]:
    """Oldest first."""
    found = []
    for resource in world.of_kind("PeerAuthentication"):
        spec = resource.spec
        assert isinstance(spec, PeerAuthenticationSpec)
        found.append(
            PeerPolicy(
                namespace=resource.namespace,
                selector=spec.selector.match_labels if spec.selector else {},
                mode=_mode(spec.mtls.mode),
                ports={port: _mode(mtls.mode) for port, mtls in sorted(spec.port_level_mtls.items())},
            )
        )
    return tuple(found)


def _mode(mode: Mode) -> MtlsMode | None:
    return None if mode == "UNSET" else MtlsMode(mode)
