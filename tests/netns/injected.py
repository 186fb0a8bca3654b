"""A pod as the injector leaves it, and how a container runtime starts its sidecar's two containers from that."""

from collections.abc import Mapping, Sequence
from typing import Any

import jsonpatch

from control.injector.inject import inject
from control.injector.outcome import Injected
from control.injector.settings import InjectorSettings, NamespaceFacts

NAMESPACE = NamespaceFacts("default", {"remora.io/injection": "enabled"})


class InjectedPod:
    """Of one application container. `host` is where control plane and collector are; `cni`: a node agent captures."""

    def __init__(
        self,
        name: str,
        address: str,
        host: str,
        annotations: Mapping[str, str],
        ports: Sequence[tuple[str, int]],
        *,
        cni: bool = False,
    ) -> None:
        container: dict[str, Any] = {"name": "app", "image": "app:1"}
        if ports:
            container["ports"] = [{"name": port, "containerPort": number} for port, number in ports]
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": NAMESPACE.name,
                "labels": {"app": name},
                "annotations": dict(annotations),
            },
            "spec": {"serviceAccountName": f"{name}-account", "containers": [container]},
        }
        settings = InjectorSettings(
            cni=cni,
            control_address=f"{host}:15012",
            ca_address=f"{host}:15011",
            collector_forward_address=f"{host}:24224",
            collector_otlp_address=f"{host}:4317",
        )
        outcome = inject(pod, NAMESPACE, settings)
        assert isinstance(outcome, Injected), outcome
        self.pod = jsonpatch.apply_patch(pod, outcome.patch)
        self.pod["status"] = {"podIP": address, "hostIP": host}

    @property
    def init(self) -> list[str]:
        """The init container's words after `remora`. It is root with two capabilities."""
        container = self._container("remora-init")
        context = container["securityContext"]
        assert (context["runAsUser"], context["capabilities"]["drop"]) == (0, ["ALL"])
        assert context["capabilities"]["add"] == ["NET_ADMIN", "NET_RAW"]
        words: list[str] = container["args"]
        return words

    @property
    def validation(self) -> tuple[list[str], int]:
        """In its place where the node agent captures: its words after `remora`, and its user, who may do nothing."""
        container = self._container("remora-validation")
        context = container["securityContext"]
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["runAsUser"] == context["runAsGroup"]
        return container["args"], context["runAsUser"]

    @property
    def proxy(self) -> list[str]:
        """The sidecar's words after `remora`. It is user and group 1337 and may do nothing."""
        container = self._container("remora-proxy")
        context = container["securityContext"]
        assert (context["runAsUser"], context["runAsGroup"]) == (1337, 1337)
        words: list[str] = container["args"]
        return words

    @property
    def environment(self) -> dict[str, str]:
        """The sidecar's, fields of the pod filled in. `HOME` is what runtimes say of a user that has no name."""
        found = {"HOME": "/"}
        for each in self._container("remora-proxy")["env"]:
            if "valueFrom" in each:
                outer, inner = each["valueFrom"]["fieldRef"]["fieldPath"].split(".")
                found[each["name"]] = self.pod[outer][inner]
            else:
                found[each["name"]] = each["value"]
        return found

    def downward(self, field: str) -> str:
        """`labels` or `annotations`, as the kubelet writes them into a downward API volume."""
        values = self.pod["metadata"][field]
        return "\n".join(f'{key}="{_escaped(values[key])}"' for key in sorted(values))

    def _container(self, name: str) -> dict[str, Any]:
        (found,) = (each for each in self.pod["spec"]["initContainers"] if each["name"] == name)
        assert found["command"] == ["remora"]
        return dict(found)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
