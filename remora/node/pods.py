"""What the node agent keeps of a pod: whether it captures for it, what, and since when it may. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from control.api.scalars import shorten
from control.injector import traffic
from control.injector.names import INIT, PROXY, STATUS, VALIDATION

_FLAGS = frozenset({*(each.flag for each in traffic.FIELDS.values()), "annotated"})
"""What a pod may say of its capture. Its rules are put by a process of the node's: anything else is refused."""
_BARE = "--capture-dns"
_OURS = "validate"
_MAX_ARGUMENTS = 32


@dataclass(frozen=True, slots=True)
class NodePod:
    """One that the agent is for."""

    uid: str
    flags: tuple[str, ...]
    """remora-init's, as the injector has made them."""
    started: bool
    """Whether remora-validation has been: its place among the init containers is where remora-init would run."""
    sandbox: str
    """Differs when the pod's network may be another one than before."""
    problem: str = ""
    """Why nothing can be captured."""


def decode(found: Mapping[str, Any]) -> NodePod | None:
    """None: it is none of the agent's business. Raises where Kubernetes would not write so."""
    metadata, spec, status = found["metadata"], found["spec"], found.get("status") or {}
    if (
        STATUS not in (metadata.get("annotations") or {})
        or spec.get("hostNetwork")
        or metadata.get("deletionTimestamp")
    ):
        return None
    initial = spec.get("initContainers") or []
    names = [each["name"] for each in (*initial, *spec["containers"])]
    if PROXY not in names or INIT in names or status.get("phase") in ("Succeeded", "Failed"):
        return None
    flags, problem = _flags(initial)
    first = not initial or initial[0]["name"] == VALIDATION
    said = _status(status)
    ran = bool({"running", "terminated"} & set(said.get("state") or ()) or said.get("lastState"))
    addresses = ",".join(str(each.get("ip")) for each in status.get("podIPs") or ())
    return NodePod(metadata["uid"], flags, first or ran, f"{addresses} {said.get('containerID', '')}", problem)


def _status(status: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the kubelet says of remora-validation; nothing yet, at first."""
    said = status.get("initContainerStatuses") or ()
    return next((each for each in said if each["name"] == VALIDATION), {})


def _flags(initial: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, ...], str]:
    """Those of remora-validation, and what is wrong with them."""
    container = next((each for each in initial if each["name"] == VALIDATION), None)
    if container is None:
        return (), f"it has neither {INIT} nor {VALIDATION}: have it injected anew"
    command, arguments = container.get("command"), container.get("args") or []
    if command != ["remora"] or arguments[:1] != ["init-iptables"] or len(arguments) > _MAX_ARGUMENTS:
        return (), f"its container {VALIDATION} is not as the injector makes it: have it injected anew"
    flags: list[str] = []
    for word in arguments[1:]:
        if word == _BARE:
            flags.append(word)
            continue
        name, equals, _ = str(word).removeprefix("--").partition("=")
        if not str(word).startswith("--") or not equals or name not in {*_FLAGS, _OURS}:
            return (), f"its container {VALIDATION} has the argument {shorten(word)}, which no pod may have: remove it"
        if name != _OURS:
            flags.append(str(word))
    return tuple(flags), ""
