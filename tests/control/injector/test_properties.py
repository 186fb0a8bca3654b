"""Whatever the pod: it stays a pod, a second pass changes nothing, removal restores it; what is none gets an answer."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from control.injector import Denied, Injected, InjectorSettings, NamespaceFacts, Skipped, inject
from tests.control.injector.judges import assert_fit, injected
from tests.control.injector.strategies import SETTINGS, pods
from tests.kubernetes.published_types import problems_of_pod

SHOP = NamespaceFacts("shop", {"remora.io/injection": "enabled"})
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(pod=pods(), how=SETTINGS)
def test_any_valid_pod_stays_valid_is_injected_once_and_restored_by_removal(
    pod: dict[str, Any], how: InjectorSettings
) -> None:
    assert problems_of_pod(pod) == []
    after, outcome = injected(pod, SHOP, how)
    assert outcome.patch
    assert_fit(after, how)


PLACES = [
    ("metadata",), ("metadata", "labels"), ("metadata", "annotations"), ("metadata", "ownerReferences"), ("spec",),
    ("spec", "containers"), ("spec", "initContainers"), ("spec", "volumes"), ("spec", "imagePullSecrets"),
    ("spec", "securityContext"), ("spec", "terminationGracePeriodSeconds"), ("spec", "os"), ("spec", "nodeSelector"),
    ("spec", "containers", 0), ("spec", "containers", 0, "name"), ("spec", "containers", 0, "ports"),
    ("spec", "containers", 0, "securityContext"), ("spec", "containers", 0, "livenessProbe"),
    ("spec", "containers", 0, "lifecycle"), ("spec", "containers", 0, "lifecycle", "preStop"),
    ("spec", "containers", 0, "livenessProbe", "httpGet"), ("spec", "containers", 0, "livenessProbe", "grpc"),
    ("spec", "containers", 0, "livenessProbe", "httpGet", "port"), ("spec", "containers", 0, "ports", 0),
    ("spec", "containers", 0, "livenessProbe", "httpGet", "httpHeaders"), ("metadata", "ownerReferences", 0),
    ("metadata", "finalizers"), ("spec", "containers", 0, "env"),
    ("spec", "containers", 0, "ports", 0, "name"), ("spec", "containers", 0, "ports", 0, "containerPort"),
]  # fmt: skip


TEMPLATE = """
metadata: {labels: {a: b}, ownerReferences: [{uid: x}], finalizers: [a/b]}
spec:
  nodeSelector: {a: b}
  securityContext: {fsGroup: 3}
  volumes: [{name: v, emptyDir: {}}]
  containers: [{name: web, env: [{name: A, value: b}], ports: [{containerPort: 80, name: c}]}]
"""
SEVERAL = st.sampled_from(
    [
        InjectorSettings(native_sidecars=native, templates={"more": TEMPLATE}, default_templates=chosen)
        for native in (True, False)
        for chosen in (("sidecar",), ("sidecar", "more"))
    ]
)


@given(place=st.sampled_from(PLACES), value=JSON, how=SEVERAL)
@settings(max_examples=300)
def test_whatever_stands_in_a_field_there_is_an_answer_and_never_an_exception(
    place: tuple[str | int, ...], value: Any, how: InjectorSettings
) -> None:
    pod: dict[str, Any] = {
        "metadata": {"labels": {}, "annotations": {}, "ownerReferences": [{"kind": "Job", "name": "j"}]},
        "spec": {
            "containers": [
                {
                    "name": "web",
                    "ports": [{"containerPort": 80}],
                    "livenessProbe": {"httpGet": {"port": 80}},
                    "lifecycle": {"preStop": {}},
                }
            ]
        },
    }
    around: Any = pod
    for step in place[:-1]:
        around = around[step]
    around[place[-1]] = value
    outcome = inject(pod, SHOP, how)
    assert isinstance(outcome, Injected | Skipped | Denied)
    if isinstance(outcome, Denied):
        assert outcome.reason


@given(pod=JSON)
def test_whatever_is_no_pod_is_denied_in_words(pod: Any) -> None:
    outcome = inject(pod, SHOP, InjectorSettings())
    assert isinstance(outcome, Denied)
    assert outcome.reason


HONOURED = [
    "sidecar.istio.io/inject", "sidecar.istio.io/proxyCPU", "sidecar.istio.io/proxyMemoryLimit",
    "sidecar.istio.io/proxyImage", "sidecar.istio.io/logLevel", "sidecar.istio.io/rewriteAppHTTPProbers",
    "sidecar.istio.io/status", "inject.istio.io/templates", "proxy.istio.io/config",
    "traffic.sidecar.istio.io/includeInboundPorts", "traffic.sidecar.istio.io/excludeOutboundIPRanges",
    "traffic.sidecar.istio.io/excludeInterfaces", "prometheus.io/port", "prometheus.io/path", "prometheus.io/scrape",
]  # fmt: skip


@given(
    name=st.sampled_from(HONOURED), value=st.text(max_size=30) | st.sampled_from(['"}]', "$(POD_NAME)", "\n- a", "*"])
)
@settings(max_examples=300)
def test_a_hostile_annotation_never_reaches_the_patch_as_anything_but_a_checked_value(name: str, value: str) -> None:
    pod = {"metadata": {"name": "web", "annotations": {name: value}}, "spec": {"containers": [{"name": "web"}]}}
    how = InjectorSettings(image="remora/remora:test")
    if isinstance(inject(pod, SHOP, how), Denied | Skipped):
        return
    after, outcome = injected(pod, SHOP, how)
    if not outcome.patch:
        return
    after["spec"]["containers"][0]["image"] = "web"
    assert_fit(after, how)
    plain, _ = injected({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "web"}]}}, SHOP, how)
    assert _shape(after["spec"]["initContainers"]) == _shape(plain["spec"]["initContainers"])


def _shape(containers: list[dict[str, Any]]) -> Any:
    """Without what annotations set: values of args, variables, image and resources."""
    text = json.dumps([sorted(each.keys() - {"resources"}) for each in containers])
    return text, [each["securityContext"] for each in containers], [each["command"] for each in containers]
