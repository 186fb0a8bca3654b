"""Whether a sender may say what its records say: its certificate against the workload, namespace and service they name.

Every sidecar of the mesh has a certificate that the receivers accept; without this, any one of them could write the
others' access log. A certificate proves namespace and service account. Which workloads belong to an account the control
plane alone knows: its list (members.py) decides about workloads that are on it. Of one that is not (it left a moment
ago, or shows no metrics) its namespace is all that can be checked. Whatever is stored carries the sender's principal.
"""

import logging
from collections.abc import Callable
from typing import Any

from collectors.receivers.members import Members
from collectors.telemetry import Telemetry
from mesh.clock import Clock
from mesh.spiffe import SpiffeId

_log = logging.getLogger("remora.claims")

SYSTEM_NAMESPACE = "remora-system"
LOG_EVERY_S = 60.0
"""One sender's refusals make one line in this time."""
_MAX_PEERS = 4_096
_NODE_PARTS = 4
_MAX_PREFIX = 58
"""Of 63 characters of a generated name the last five are at random."""


class Claims:
    """Judges records; tells the metrics and, now and then, the log of those that were refused."""

    def __init__(self, members: Callable[[], Members], telemetry: Telemetry, clock: Clock) -> None:
        self._members = members
        self._telemetry = telemetry
        self._clock = clock
        self._logged: dict[str, tuple[float, int]] = {}
        """By peer: when its last line was written, and how many records were refused since."""

    def judge(self, peer: SpiffeId) -> "Judge":
        """For one message of `peer`."""
        return Judge(peer, self._members())

    def refused(self, receiver: str, signal: str, peer: SpiffeId, count: int, why: str) -> None:
        """`count` records of a message were refused, the last of them since `why`."""
        self._telemetry.foreign.labels(receiver, signal).inc(count)
        now = self._clock.monotonic()
        who = str(peer)
        last = self._logged.get(who)
        if last is not None and now - last[0] < LOG_EVERY_S:
            self._logged[who] = (last[0], last[1] + count)
            return
        if last is None and len(self._logged) >= _MAX_PEERS:
            self._logged.pop(next(iter(self._logged)))
        self._logged[who] = (now, 0)
        _log.warning("refused %d records of %s: %s", count + (last[1] if last is not None else 0), who, why)


class Judge:
    """One peer's word. Every method returns why not; the empty text means that it may say so."""

    def __init__(self, peer: SpiffeId, members: Members) -> None:
        self.peer = peer
        self._members = members
        self._known: dict[tuple[Any, Any], str] = {}
        self.principal = str(peer)

    def access(self, body: dict[str, Any]) -> str:
        """An access record."""
        workload, namespace = body.get("workload"), body.get("namespace")
        if type(workload) is not str or type(namespace) is not str:
            return "an access record without workload or namespace"
        why = self._known.get((namespace, workload))
        if why is None:
            why = self._known[namespace, workload] = self._member(namespace, workload)
        return why or self._node(body.get("id"), workload, namespace)

    def log(self, body: dict[str, Any]) -> str:
        """Any other log record, by the keys that would have it shown as a workload's."""
        return (
            self._namespace(body.get("namespace"))
            or self._exact_namespace(body.get("k8s.namespace.name"))
            or self._named("workload", body.get("workload"), self._members.of_workload)
        )

    def resource(self, attributes: dict[str, Any], workload: str) -> str:
        """The resource that spans or logs come from (OpenTelemetry's semantic conventions); `workload` is what they
        will be shown as."""
        service, namespace = self._service(str(attributes.get("service.name") or ""))
        return (
            self._exact_namespace(attributes.get("k8s.namespace.name"))
            # By the conventions a logical group, which is anyone's to choose unless it reads as a namespace of ours.
            or self._namespace(attributes.get("service.namespace"))
            or self._namespace(namespace)
            or self._named("service", service, self._members.of_service)
            or self._named("workload", workload, self._members.of_workload)
        )

    def _member(self, namespace: str, workload: str) -> str:
        if namespace != self.peer.namespace:
            return f"it says that it is of namespace {namespace[:63]!r}"
        key, members = (namespace, workload), self._members
        known = members.owners.get(key, frozenset())
        if key in members.principals:
            known |= {members.principals[key]}
        if not known or self.principal in known:
            return ""
        return f"workload {namespace}/{workload[:253]} is {', '.join(sorted(known)[:3])}"

    def _service(self, name: str) -> tuple[str, str]:
        """`reviews.default` and `reviews.default.svc.cluster.local` are a service and its namespace, where that is one
        of the mesh; any other name with dots is a name."""
        parts = name.split(".")
        if len(parts) > 1 and (parts[1] == SYSTEM_NAMESPACE or parts[1] in self._members.namespaces):
            return parts[0], parts[1]
        return name, ""

    def _node(self, id_: Any, workload: str, namespace: str) -> str:
        """Ids are unique since they begin with a node's: who takes another's keeps its record out of the store."""
        node = id_.partition("/")[0].split("~") if type(id_) is str else []
        if len(node) == _NODE_PARTS and node[2] != f"{workload}.{namespace}":
            pod, _, of_namespace = node[2].rpartition(".")
            if of_namespace != namespace or not self._is_instance(pod, workload, namespace):
                return f"its id is of {node[2][:317]!r}"
        return ""

    def _is_instance(self, pod: str, workload: str, namespace: str) -> bool:
        """Whether a pod of the sender's is one of the Deployment's, or what else `workload` is. One that is not on the
        list goes by its name, which controllers begin with their own, cut off where it is too long."""
        owner = self._members.owner_of.get((namespace, pod))
        if owner is not None:
            return owner == workload and self._members.principals[namespace, pod] == self.principal
        if (namespace, pod) in self._members.principals:
            return False
        return pod.startswith(f"{workload}-"[:_MAX_PREFIX])

    def _exact_namespace(self, namespace: Any) -> str:
        if not namespace or namespace == self.peer.namespace:
            return ""
        return f"it says that it is of namespace {str(namespace)[:63]!r}"

    def _namespace(self, namespace: Any) -> str:
        if type(namespace) is not str or (namespace != SYSTEM_NAMESPACE and namespace not in self._members.namespaces):
            return ""
        return self._exact_namespace(namespace)

    def _named(self, what: str, name: Any, owners: dict[str, frozenset[str]]) -> str:
        of_name = owners.get(name) if type(name) is str else None
        if of_name is None or self.principal in of_name:
            return ""
        return f"{what} {name} is not its own"
