"""The kinds of rules, one file each, and the registry of what a document may be."""

from dataclasses import dataclass

from control.api.kinds.destination_rule import DestinationRuleSpec
from control.api.kinds.gateway import GatewaySpec
from control.api.kinds.peer_authentication import PeerAuthenticationSpec
from control.api.kinds.python_filter import PythonFilterSpec
from control.api.kinds.request_addon import RequestAddonSpec
from control.api.kinds.service import ServiceSpec
from control.api.kinds.service_entry import ServiceEntrySpec
from control.api.kinds.virtual_service import VirtualServiceSpec
from control.api.model import Model

_NETWORKING = ("networking.istio.io/v1", "networking.istio.io/v1beta1", "networking.istio.io/v1alpha3")
_EXTENSIONS = ("extensions.remora.dev/v1alpha1",)
_SECURITY = ("security.istio.io/v1", "security.istio.io/v1beta1")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind as people may call it."""

    name: str
    api_versions: tuple[str, ...]
    spec: type[Model]
    plural: str
    short: str


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("VirtualService", _NETWORKING, VirtualServiceSpec, "virtualservices", "vs"),
        Kind("DestinationRule", _NETWORKING, DestinationRuleSpec, "destinationrules", "dr"),
        Kind("Gateway", _NETWORKING, GatewaySpec, "gateways", "gw"),
        Kind("ServiceEntry", _NETWORKING, ServiceEntrySpec, "serviceentries", "se"),
        Kind("PeerAuthentication", _SECURITY, PeerAuthenticationSpec, "peerauthentications", "pa"),
        Kind("PythonFilter", _EXTENSIONS, PythonFilterSpec, "pythonfilters", "pf"),
        Kind("RequestAddon", ("inspect.remora.dev/v1",), RequestAddonSpec, "requestaddons", "ra"),
        Kind("Service", ("v1",), ServiceSpec, "services", "svc"),
    )
}
"""By name, in the order in which lists show them."""


def find_kind(word: str) -> Kind | None:
    """The kind that a person means by `VirtualService`, `virtualservices`, `vs`, ... in any case."""
    lower = word.lower()
    for kind in KINDS.values():
        if lower in (kind.name.lower(), kind.plural, kind.short):
            return kind
    return None
