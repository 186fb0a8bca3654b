"""What the agent takes from a pod, and which pods it is for."""

from copy import deepcopy
from typing import Any

import jsonpatch
import pytest

from control.injector import Injected, InjectorSettings, NamespaceFacts, inject
from control.injector.names import STATUS
from remora.init.options import parse
from remora.node.pods import decode

UID = "0f3b1c9e-6a52-4d07-9c6e-3f1a2b4c5d6e"
SHOP = NamespaceFacts("shop", {"remora.io/injection": "enabled"})


def pod(annotations: dict[str, str] | None = None, initial: list[str] | None = None, **settings: Any) -> dict[str, Any]:
    """As the injector makes it."""
    given: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": "shop", "uid": UID, "annotations": annotations or {}},
        "spec": {"containers": [{"name": "web", "image": "web:1"}]},
        "status": {"phase": "Pending"},
    }
    if initial:
        given["spec"]["initContainers"] = [{"name": name, "image": "i:1"} for name in initial]
    outcome = inject(given, SHOP, InjectorSettings(**({"cni": True} | settings)))
    assert isinstance(outcome, Injected), outcome
    made: dict[str, Any] = jsonpatch.apply_patch(given, outcome.patch)
    return made


def test_what_is_captured_is_what_remora_init_would_capture() -> None:
    annotations = {
        "traffic.sidecar.istio.io/excludeInboundPorts": "9090",
        "traffic.sidecar.istio.io/includeOutboundIPRanges": "10.0.0.0/8",
    }
    found = decode(pod(annotations))
    assert found is not None
    assert (found.uid, found.started, found.problem) == (UID, True, "")
    (init,) = (each for each in pod(annotations, cni=False)["spec"]["initContainers"] if each["name"] == "remora-init")
    assert ["init-iptables", *found.flags] == init["args"]
    assert parse(found.flags) == parse(init["args"][1:])


def test_whether_dns_is_asked_of_the_sidecar_is_taken_too() -> None:
    made = pod()
    made["spec"]["initContainers"][0]["args"].append("--capture-dns")
    found = decode(made)
    assert found is not None
    assert (found.flags, found.problem) == (("--capture-dns",), "")


def test_annotations_that_were_changed_since_change_nothing() -> None:
    made = pod()
    made["metadata"]["annotations"]["traffic.sidecar.istio.io/excludeOutboundPorts"] = "1-65535"
    found = decode(made)
    assert found is not None
    assert found.flags == ()


def changed(**changes: Any) -> dict[str, Any]:
    made = pod()
    for path, value in changes.items():
        *before, last = path.split("__")
        at = made
        for step in before:
            at = at[step]
        at[last] = value
    return made


@pytest.mark.parametrize(
    "found",
    [
        pod(cni=False),
        changed(spec__hostNetwork=True),
        changed(metadata__annotations={}),
        changed(metadata__deletionTimestamp="2030-01-01T00:00:00Z"),
        changed(status__phase="Succeeded"),
        changed(status__phase="Failed"),
        changed(spec__initContainers=[]),
    ],
    ids=["its own remora-init", "the node's network", "not injected", "on its way out", "done", "failed", "no sidecar"],
)
def test_some_pods_are_none_of_its_business(found: dict[str, Any]) -> None:
    assert decode(found) is None


STARTED = {"name": "remora-validation", "state": {"running": {}}, "containerID": "containerd://1"}


@pytest.mark.parametrize(
    ("statuses", "started"),
    [
        ([], False),
        ([{"name": "migrate", "state": {"running": {}}}], False),
        ([{"name": "remora-validation", "state": {"waiting": {"reason": "PodInitializing"}}}], False),
        ([STARTED], True),
        ([{"name": "remora-validation", "state": {"terminated": {"exitCode": 0}}}], True),
        ([{"name": "remora-validation", "state": {"waiting": {}}, "lastState": {"terminated": {}}}], True),
    ],
    ids=["nothing yet", "its own one runs", "waiting", "running", "passed", "failed before"],
)
def test_a_classic_sidecars_pod_has_its_own_init_containers_run_first(statuses: list[Any], started: bool) -> None:
    made = pod(initial=["migrate"], native_sidecars=False)
    made["status"]["initContainerStatuses"] = statuses
    found = decode(made)
    assert found is not None
    assert found.started is started


def test_a_sandbox_that_was_made_anew_is_another_one() -> None:
    one, two, three = pod(), pod(), pod()
    one["status"] |= {"podIPs": [{"ip": "10.0.0.1"}], "initContainerStatuses": [STARTED]}
    two["status"] |= {"podIPs": [{"ip": "10.0.0.2"}], "initContainerStatuses": [STARTED]}
    three["status"] |= {"podIPs": [{"ip": "10.0.0.1"}], "initContainerStatuses": [STARTED | {"containerID": "2"}]}
    assert len({found.sandbox for each in (one, two, three) if (found := decode(each)) is not None}) == 3


def test_a_pod_of_neither_kind_is_refused() -> None:
    made = pod()
    made["spec"]["initContainers"] = [each for each in made["spec"]["initContainers"] if each["name"] == "remora-proxy"]
    found = decode(made)
    assert found is not None
    assert found.problem == "it has neither remora-init nor remora-validation: have it injected anew"


@pytest.mark.parametrize(
    "argument",
    ["--remove", "--proxy-uid=0", "--inbound-port=22", "--this-machine=1", "--back-end=legacy", "--dry-run=", "extra",
     "-o=json", "--", "--exclude-outbound-ports", "--probe", "--wait=60"],
)  # fmt: skip
def test_a_pod_says_what_of_its_traffic_is_captured_and_nothing_else(argument: str) -> None:
    made = pod()
    made["spec"]["initContainers"][0]["args"].append(argument)
    found = decode(made)
    assert found is not None
    assert found.flags == ()
    assert "which no pod may have" in found.problem


@pytest.mark.parametrize(
    "container",
    [
        {"command": ["sh", "-c"]},
        {"args": ["proxy"]},
        {"args": None},
        {"args": ["init-iptables", *["--annotated="] * 40]},
    ],
    ids=["another command", "another subcommand", "nothing", "too much"],
)
def test_a_container_that_is_not_the_injectors_is_refused(container: dict[str, Any]) -> None:
    made = deepcopy(pod())
    made["spec"]["initContainers"][0] |= container
    found = decode(made)
    assert found is not None
    assert "is not as the injector makes it" in found.problem
    assert STATUS in made["metadata"]["annotations"]
