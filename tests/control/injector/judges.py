"""What every injected pod has to stand: Kubernetes' types, Pod Security, the programs that are started in it, and its
removal."""

from copy import deepcopy
from typing import Any

import jsonpatch

from control.injector import Injected, InjectorSettings, NamespaceFacts, inject
from control.injector.names import INIT, PROXY, UID, VALIDATION, VALIDATION_UID
from control.injector.status import remove
from remora.init.options import parse as parse_init
from remora.init.scalars import NOWHERE
from sidecar.agent.app_probe_specs import parse_probes
from sidecar.bootstrap import parse as parse_proxy
from tests.control.injector import pod_security
from tests.kubernetes import published_types

_OF_THE_POD = [
    "--node-id=sidecar~10.0.0.1~a.b~b.svc.cluster.local",
    "--workload=a",
    "--namespace=b",
    "--identity=spiffe://cluster.local/ns/b/sa/c",
    "--root=r",
    "--token-file=t",
]
"""Flags that --pod stands for; the file system of a pod is not here."""


def injected(pod: dict[str, Any], namespace: NamespaceFacts, settings: InjectorSettings) -> tuple[Any, Injected]:
    """The pod with its sidecar, by a library's reading of the patch; asserted what is true of all of them."""
    given = deepcopy(pod)
    outcome = inject(pod, namespace, settings)
    assert pod == given, "the pod that was given was changed"
    assert isinstance(outcome, Injected), outcome
    after = jsonpatch.apply_patch(given, outcome.patch)
    if outcome.patch:
        again = inject(after, namespace, settings)
        assert isinstance(again, Injected), again
        assert again.patch == [], "a second pass changed something"
        restored = remove(after)
        assert restored == pod, "removal did not restore the pod"
        assert _ordered(restored) == _ordered(pod), "removal restored the pod's fields in another order"
    return after, outcome


def assert_fit(pod: dict[str, Any], settings: InjectorSettings) -> None:
    """A pod with a sidecar that a cluster takes and that will run."""
    assert published_types.problems_of_pod(pod) == []
    spec = pod["spec"]
    initial, usual = spec.get("initContainers") or [], spec["containers"]
    every = [*initial, *usual]
    names = [each["name"] for each in every]
    assert len(set(names)) == len(names)
    volumes = [each["name"] for each in spec["volumes"]]
    assert len(set(volumes)) == len(volumes)
    (proxy,) = (each for each in (initial if settings.native_sidecars else usual) if each["name"] == PROXY)
    assert {each["name"] for each in proxy["volumeMounts"]} <= set(volumes)
    assert pod_security.objections(pod, proxy) == []
    ours = [each for each in spec["volumes"] if each["name"].startswith("remora-")]
    assert pod_security.objections_to_volumes(ours) == []
    assert_order(names, settings)
    _assert_starts(proxy)
    for container in every:
        if container["name"] == INIT:
            objections = pod_security.objections(pod, container)
            assert sorted(objections) == ["capabilities.add", "runAsNonRoot", "runAsUser"]
            assert container["securityContext"]["capabilities"]["add"] == ["NET_ADMIN", "NET_RAW"]
            command, *arguments = container["args"]
            assert command == "init-iptables"
            assert parse_init(arguments).validate_s is None
        if container["name"] == VALIDATION:
            _assert_validates(pod, container)


def _assert_validates(pod: dict[str, Any], container: dict[str, Any]) -> None:
    """By a user whose connections show whether there are rules."""
    assert pod_security.objections(pod, container) == []
    command, *arguments = container["args"]
    assert command == "init-iptables"
    options = parse_init(arguments)
    assert options.validate_s == 120
    leaves = options.capture.outbound_ports or options.capture.outbound_ranges != NOWHERE
    user, group = (container["securityContext"][key] for key in ("runAsUser", "runAsGroup"))
    assert user == group == (VALIDATION_UID if leaves else UID)


def assert_order(names: list[str], settings: InjectorSettings) -> None:
    """Native: capture, then the sidecar, then whatever is the user's. Classic: capture after the user's own init
    containers."""
    capture, other = (VALIDATION, INIT) if settings.cni else (INIT, VALIDATION)
    assert other not in names
    if settings.native_sidecars:
        assert names[:2] == [capture, PROXY]
    else:
        assert capture in names


def _assert_starts(proxy: dict[str, Any]) -> None:
    command, pod, *flags = proxy["args"]
    assert (proxy["command"], command, pod) == (["remora"], "proxy", "--pod")
    parse_proxy([*_OF_THE_POD, *flags])
    environment = {each["name"]: each.get("value", "") for each in proxy["env"]}
    # Kubernetes expands $(NAME) in values: there is nothing to expand in ours.
    assert not any("$" in value for value in environment.values())
    parse_probes(environment.get("REMORA_APP_PROBES", "{}"))


def _ordered(value: Any) -> Any:
    """Mappings as lists, so that their order counts."""
    if isinstance(value, dict):
        return [(key, _ordered(each)) for key, each in value.items()]
    return [_ordered(each) for each in value] if isinstance(value, list) else value
