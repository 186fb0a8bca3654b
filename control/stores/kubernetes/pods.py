"""What is kept of a pod and of its node: little of much, for there are thousands. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from control.api.locality import Locality
from control.injector.names import CANONICAL_NAME, CANONICAL_REVISION, PROXY, STATUS, TEMPLATES, TLS_MODE, TRAFFIC
from control.injector.owner import canonical_labels, owner_of
from control.stores.kubernetes.fields import ip, text

Ranges = tuple[tuple[int, int], ...]
"""Port numbers, (first, last)."""


@dataclass(frozen=True, slots=True)
class PodFacts:
    """A pod as the mesh sees it; equal to itself while only its status moves."""

    labels: Mapping[str, str]
    addresses: tuple[str, ...] = ()
    """Its own, the main one first; none before it has one."""
    account: str = "default"
    node: str = ""
    meshed: bool = False
    """It has a sidecar, which takes the mesh's mutual TLS."""
    gateway: bool = False
    """It is nothing but a sidecar, at the mesh's edge."""
    finished: bool = False
    """Its application's containers have ended and do not come back."""
    owner: str = ""
    canonical_service: str = ""
    canonical_revision: str = ""
    captured: Ranges | None = None
    """Of its ports, those at which its sidecar takes connections; None: all."""
    excluded: Ranges = ()
    """Those at which its application is reached past its sidecar all the same."""

    def is_captured(self, number: int) -> bool:
        """Whether its sidecar takes connections to that port."""
        within = self.captured is None or _within(self.captured, number)
        return self.meshed and within and not _within(self.excluded, number)


def decode_pod(pod: Mapping[str, Any]) -> PodFacts | None:
    """None for a pod that the kubelet gave up (evicted, its node lost). Raises for what is no pod."""
    metadata, spec, status = pod["metadata"], pod.get("spec") or {}, pod.get("status") or {}
    if status.get("phase") == "Failed" and not status.get("podIPs"):
        return None
    found = dict(pod)
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    gateway = _is_gateway(annotations, spec)
    owner = owner_of(found)
    canonical = {**canonical_labels(found, owner), **labels}
    meshed = not gateway and (bool(annotations.get(STATUS)) or labels.get(TLS_MODE) == "istio")
    return PodFacts(
        labels=shared(labels),
        addresses=_addresses(status),
        account=text(spec.get("serviceAccountName") or "default"),
        node=text(spec.get("nodeName")),
        meshed=meshed,
        gateway=gateway,
        finished=_finished(spec, status),
        owner=text(owner.name if owner.name != metadata["name"] else ""),
        canonical_service=text(canonical.get(CANONICAL_NAME))[:63],
        canonical_revision=text(canonical.get(CANONICAL_REVISION))[:63],
        captured=_ranges(annotations, "includeInboundPorts"),
        excluded=_ranges(annotations, "excludeInboundPorts") or (),
    )


def decode_node(node: Mapping[str, Any]) -> Locality:
    """By the well-known labels; the zone within a zone by Istio's."""
    labels = node["metadata"].get("labels") or {}
    region = labels.get("topology.kubernetes.io/region") or labels.get("failure-domain.beta.kubernetes.io/region") or ""
    zone = labels.get("topology.kubernetes.io/zone") or labels.get("failure-domain.beta.kubernetes.io/zone") or ""
    return Locality(text(region), text(zone), text(labels.get("topology.istio.io/subzone")))


def decode_node_address(node: Mapping[str, Any]) -> str:
    """Where it is reached from outside, else from beside it; empty where it has not said."""
    found = {each.get("type"): each.get("address") for each in (node.get("status") or {}).get("addresses") or ()}
    return text(found.get("ExternalIP") or found.get("InternalIP"))


def shared(labels: Mapping[str, Any]) -> Mapping[str, str]:
    """With strings that are the same object wherever they occur. Raises TypeError for what are no labels."""
    return {text(key): text(value) for key, value in labels.items()}


def _addresses(status: Mapping[str, Any]) -> tuple[str, ...]:
    listed = [ip(each["ip"]) for each in status.get("podIPs") or () if each.get("ip")]
    single = status.get("podIP")
    return tuple(dict.fromkeys(([ip(single)] if single else []) + listed))


def _is_gateway(annotations: Mapping[str, str], spec: Mapping[str, Any]) -> bool:
    templates = annotations.get(TEMPLATES, "")
    if "gateway" in [each.strip() for each in templates.split(",")]:
        return True
    containers = [each for each in spec.get("containers") or () if each.get("name") == PROXY]
    return any(_says_gateway(each.get("args") or ()) for each in containers)


def _says_gateway(arguments: Sequence[str]) -> bool:
    return "--kind=gateway" in arguments or ("--kind", "gateway") in pairwise(arguments)


def _finished(spec: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
    """Whether every container but the sidecar has ended for good: a sidecar in the classic form outlives its Job."""
    if status.get("phase") in ("Succeeded", "Failed"):
        return True
    policy = spec.get("restartPolicy", "Always")
    if policy == "Always":
        return False
    states = {each.get("name"): each.get("state") or {} for each in status.get("containerStatuses") or ()}
    applications = [each.get("name") for each in spec.get("containers") or () if each.get("name") != PROXY]
    if not applications:
        return False
    for name in applications:
        ended = states.get(name, {}).get("terminated")
        if ended is None or (policy == "OnFailure" and ended.get("exitCode") != 0):
            return False
    return True


def _ranges(annotations: Mapping[str, str], name: str) -> Ranges | None:
    """Of an annotation `8000,8010-8019`; None where it is not there or says all. What is neither a port nor a range was
    refused when the pod was injected."""
    text = annotations.get(f"{TRAFFIC}{name}")
    if text is None or text.strip() == "*":
        return None
    found = []
    for word in text.split(","):
        first, dash, last = word.strip().partition("-")
        if first.isascii() and first.isdigit() and (not dash or (last.isascii() and last.isdigit())):
            found.append((int(first), int(last or first)))
    return tuple(found)


def _within(ranges: Ranges, number: int) -> bool:
    return any(first <= number <= last for first, last in ranges)
