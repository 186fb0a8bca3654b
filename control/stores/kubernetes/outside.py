"""Addresses outside of the mesh that a cluster's rules may not name, for they mean another place to every proxy. Pure.

127.0.0.1 is the proxy's own pod, a gateway's with its admin interface, and 169.254.169.254 the credentials of its node
in many clouds: whoever may write a ServiceEntry in some namespace must not reach those of all others through it. The
API server holds EndpointSlices to the same (ValidateNonSpecialIP). Names that only resolve there are the sidecar's.
"""

import ipaddress
import re

from control.api.kinds.service_entry import ServiceEntrySpec
from control.api.resource import Path, Resource
from control.api.violation import Violation

_NUMBER = re.compile(r"(0x[0-9a-f]*|[0-9]+)\Z", re.IGNORECASE)


def forbidden(place: str) -> str:
    """Why this address or name may not be: empty if it may."""
    bare = place.rstrip(".").lower()
    try:
        address = ipaddress.ip_address(bare.split("%")[0])
    except ValueError:
        last = bare.rpartition(".")[2]
        if last in ("localhost", "localdomain") or bare in ("ip6-localhost", "ip6-loopback"):
            return "is every proxy itself"
        # getaddrinfo takes 127.1, 2130706433 and 0x7f.1 for addresses.
        return "is an address in a form that hides which" if _NUMBER.match(last) else ""
    address = getattr(address, "ipv4_mapped", None) or address
    if address.is_loopback or address.is_unspecified:
        return "is every proxy itself"
    if address.is_link_local or address.is_multicast:
        return "is another place for every proxy: link-local, where clouds keep a node's credentials, or multicast"
    return ""


def forbidden_places(resource: Resource) -> tuple[Violation, ...]:
    """What is wrong with a rule for this reason, as errors."""
    spec = resource.spec
    if not isinstance(spec, ServiceEntrySpec):
        return ()
    places: dict[Path, str] = {
        ("spec", "endpoints", index, "address"): each.address for index, each in enumerate(spec.endpoints)
    }
    if not spec.endpoints:  # the hosts are what is looked up
        places = {("spec", "hosts", index): each for index, each in enumerate(spec.hosts)}
    found = [(path, place, forbidden(place)) for path, place in places.items()]
    return tuple(
        resource.violation(path, f"is {place!r}, which {why}; name the place itself")
        for path, place, why in found
        if why
    )
