"""Pods that are too large, too deep, too many, or not pods: said, and quickly."""

import time
from typing import Any

import pytest

from control.injector import Denied, Injected, InjectorSettings, NamespaceFacts, inject
from control.injector.json_patch import apply
from control.injector.pod import MAX_ANNOTATIONS_BYTES

SHOP = NamespaceFacts("shop", {"remora.io/injection": "enabled"})


def denied(pod: Any) -> str:
    outcome = inject(pod, SHOP, InjectorSettings())
    assert isinstance(outcome, Denied), outcome
    return outcome.reason


def web(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "web"}, "spec": {"containers": [{"name": "web", "image": "w"}], **spec}}


def test_a_pod_of_five_megabytes_is_denied_within_a_second() -> None:
    pod = web()
    pod["spec"]["containers"][0]["args"] = ["x" * 50_000] * 100
    begin = time.perf_counter()
    assert "a pod in the mesh has at most 1,500,000" in denied(pod)
    assert time.perf_counter() - begin < 1


def test_a_pod_nested_ten_thousand_deep_is_denied() -> None:
    pod = web()
    inner: Any = {}
    for _ in range(10_000):
        inner = {"a": inner}
    pod["spec"]["affinity"] = inner
    assert "nested too deeply" in denied(pod)


def test_a_pod_nested_a_hundred_deep_is_injected() -> None:
    pod = web()
    inner: Any = {}
    for _ in range(100):
        inner = {"a": inner}
    pod["spec"]["affinity"] = inner
    outcome = inject(pod, SHOP, InjectorSettings())
    assert isinstance(outcome, Injected)
    assert apply(pod, outcome.patch)["spec"]["affinity"] == inner


def test_more_annotations_than_kubernetes_takes_are_denied_before_the_api_server_does() -> None:
    pod = web()
    pod["metadata"]["annotations"] = {"a": "x" * (MAX_ANNOTATIONS_BYTES - 100)}
    assert "Kubernetes takes 262,144 at most" in denied(pod)


def test_probes_of_more_containers_than_a_sidecar_serves_are_denied() -> None:
    probe = {"tcpSocket": {"port": 80}}
    probes = {"livenessProbe": probe, "readinessProbe": probe, "startupProbe": probe}
    pod = web(containers=[{"name": f"c{i}", "image": "w", **probes} for i in range(90)])
    assert "has 270 probes; a sidecar serves at most 256" in denied(pod)


def test_hundreds_of_mistakes_are_one_readable_answer() -> None:
    ports = [{"containerPort": 0}] * 300
    reason = denied(web(containers=[{"name": "web", "image": "w", "ports": ports}]))
    assert reason.count(";") <= 41
    assert reason.endswith("and 280 more")


@pytest.mark.parametrize(
    "pod", [None, [], "pod", 3, {}, {"spec": None}, {"spec": []}, {"metadata": 3, "spec": {}}], ids=repr
)
def test_what_is_no_pod_is_denied(pod: Any) -> None:
    assert denied(pod)


def test_a_label_that_is_no_text_is_denied_with_how_to_write_it() -> None:
    pod = web()
    pod["metadata"]["labels"] = {"version": 1.5}
    assert denied(pod) == 'metadata.labels[version]: is no text; quote it: "1.5"'


def test_half_a_surrogate_pair_is_left_as_it_is() -> None:
    pod = web()
    pod["metadata"]["annotations"] = {"a": "\ud800"}
    outcome = inject(pod, SHOP, InjectorSettings())
    assert isinstance(outcome, Injected)
    assert apply(pod, outcome.patch)["metadata"]["annotations"]["a"] == "\ud800"


@pytest.mark.parametrize(
    ("ranges", "allowed"),
    [
        ("1337/1", True),
        ("1336/1", False),
        ("1000-1337", True),
        ("1000-1336", False),
        ("1000650000/10000, 1300/100", True),
        ("1000650000/10000", False),
        ("²/3", False),
        ("1-²", False),
        ("1" * 5000 + "/1", False),
        ("", False),
    ],
)
def test_whatever_a_namespace_says_of_its_users_is_read(ranges: str, allowed: bool) -> None:
    shop = NamespaceFacts("shop", SHOP.labels, {"openshift.io/sa.scc.uid-range": ranges})
    outcome = inject(web(), shop, InjectorSettings())
    assert isinstance(outcome, Injected)
    assert any("nonroot-v2" in warning for warning in outcome.warnings) is not allowed


@pytest.mark.parametrize(
    ("field", "item"),
    [("volumes", {"emptyDir": {}}), ("env", {"value": "a"})],
    ids=["volumes", "variables"],
)
def test_a_pod_takes_as_long_as_it_is_large(field: str, item: dict[str, Any]) -> None:
    """As long as the square of it was 8 s of the control plane, for whoever may create a pod."""

    def cpu_s(count: int) -> float:
        pod = web()
        holder = pod["spec"] if field == "volumes" else pod["spec"]["containers"][0]
        holder[field] = [{"name": f"a{number}"} | item for number in range(count)]
        began = time.thread_time()
        outcome = inject(pod, SHOP, InjectorSettings())
        took = time.thread_time() - began
        assert isinstance(outcome, Injected)
        return took

    few = min(cpu_s(3_000) for _ in range(3))
    assert cpu_s(24_000) < 15 * few + 0.2
