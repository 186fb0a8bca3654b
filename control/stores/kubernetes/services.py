"""What is kept of a Service and of its EndpointSlices. Pure, but for a line in the log.

Only TCP is the mesh's business: ports of other protocols are left out, and reached as if there were no mesh.
https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from control.api.kinds.service import HEADLESS
from control.api.protocols import protocol_of
from control.stores.kubernetes import fields
from control.stores.kubernetes.fields import ip, text
from control.stores.kubernetes.outside import forbidden

_log = logging.getLogger("remora.store")

SERVICE_NAME = "kubernetes.io/service-name"


@dataclass(frozen=True, slots=True)
class ServicePort:
    """A port that clients use."""

    number: int
    name: str
    """Empty where it is the only one and has none: by it, slices' ports are matched."""
    protocol: str
    """As `control.api.protocols` names it."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How a Service is reached from outside the cluster."""

    given: tuple[str, ...] = ()
    """Addresses of a load balancer, else externalIPs."""
    by_node: bool = False
    """At every node, by ports of its own."""
    local: bool = False
    """At nodes with pods of its own alone."""


NOT_REACHED = Reach()
"""From inside alone."""


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    """A Service as the mesh sees it."""

    ports: tuple[ServicePort, ...] = ()
    addresses: tuple[str, ...] = ()
    """Its clusterIPs; none for a headless one."""
    families: tuple[str, ...] = ()
    """`IPv4`, `IPv6`, the main one first."""
    external_name: str = ""
    reach: Reach = NOT_REACHED


@dataclass(frozen=True, slots=True)
class SliceEndpoint:
    """An address of a slice, and whether it is for clients."""

    address: str
    ready: bool
    serving: bool
    """While it is not ready: it is terminating, and taken where nobody is ready. Neither: it is nobody's, and known
    because it is a pod all the same, whose sidecar is to know its ports before they are used."""
    pod: str = ""
    """Name of the pod that it is, in the slice's namespace."""
    node: str = ""
    zone: str = ""
    zones: frozenset[str] = frozenset()
    """Whose clients it is for: a topology hint."""


@dataclass(frozen=True, slots=True)
class SliceFacts:
    """An EndpointSlice."""

    service: str
    family: str
    """`IPv4` or `IPv6`."""
    ports: Mapping[str, int]
    """TCP ports by name."""
    endpoints: tuple[SliceEndpoint, ...]


def decode_service(service: Mapping[str, Any]) -> ServiceFacts | None:
    """None for one without TCP ports. Raises for what is no Service."""
    spec = service.get("spec") or {}
    ports = []
    for port in spec.get("ports") or ():
        if port.get("protocol", "TCP") == "TCP":
            name, number = text(port.get("name")), fields.port(port["port"])
            ports.append(ServicePort(number, name, protocol_of(name, number, text(port.get("appProtocol")))))
    external = spec.get("type") == "ExternalName"
    if not ports and not external:
        return None
    outside = text(spec.get("externalName")).rstrip(".") if external else ""
    if why := forbidden(outside):
        metadata = service["metadata"]
        _log.warning("Service %s/%s has no endpoints: externalName %s", metadata["namespace"], metadata["name"], why)
        outside = ""
    given = spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])
    return ServiceFacts(
        ports=tuple(ports),
        addresses=() if external else tuple(ip(each) for each in given if each and each != HEADLESS),
        families=tuple(text(each) for each in spec.get("ipFamilies") or ()),
        external_name=outside,
        reach=_reach(spec, service.get("status") or {}),
    )


def _reach(spec: Mapping[str, Any], status: Mapping[str, Any]) -> Reach:
    ingress = (status.get("loadBalancer") or {}).get("ingress") or ()
    given = [text(each.get("ip") or each.get("hostname")) for each in ingress] or [
        text(each) for each in spec.get("externalIPs") or ()
    ]
    made = Reach(
        tuple(each for each in given if each),
        by_node=spec.get("type") == "NodePort",
        local=spec.get("externalTrafficPolicy") == "Local",
    )
    return made if made.given or made.by_node else NOT_REACHED


def decode_slice(found: Mapping[str, Any]) -> SliceFacts | None:
    """None for one of no service, or of names instead of addresses. Raises for what is no EndpointSlice."""
    service = (found["metadata"].get("labels") or {}).get(SERVICE_NAME)
    family = found.get("addressType")
    if not service or family not in ("IPv4", "IPv6"):
        return None
    ports = {
        text(port.get("name")): fields.port(port["port"])
        for port in found.get("ports") or ()
        if port.get("protocol", "TCP") == "TCP" and port.get("port")
    }
    endpoints = [_endpoint(each) for each in found.get("endpoints") or ()]
    return SliceFacts(text(service), text(family), ports, tuple(each for each in endpoints if each is not None))


def _endpoint(found: Mapping[str, Any]) -> SliceEndpoint | None:
    """None for one that serves nobody and is no pod. What a condition leaves open counts as the API says: ready, as
    serving as it is ready, not terminating."""
    conditions = found.get("conditions") or {}
    ready = conditions.get("ready") is not False
    serving = bool(conditions.get("serving") and conditions.get("terminating"))
    target = found.get("targetRef") or {}
    if not ready and not serving and target.get("kind") != "Pod":
        return None
    hints = (found.get("hints") or {}).get("forZones") or ()
    return SliceEndpoint(
        # A slice's addresses are of one endpoint and interchangeable; consumers use the first.
        address=ip(found["addresses"][0]),
        ready=ready,
        serving=serving,
        pod=text(target.get("name")) if target.get("kind") == "Pod" else "",
        node=text(found.get("nodeName")),
        zone=text(found.get("zone")),
        zones=frozenset(text(each["name"]) for each in hints),
    )
