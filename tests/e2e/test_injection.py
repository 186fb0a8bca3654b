"""Pods on their way into the cluster: the API server asks the webhook, and stores what comes of it."""

from typing import Any

import pytest

from control.kubernetes.errors import ApiError
from tests.e2e.cluster import Cluster, until
from tests.e2e.control import LeastPrivileged

Json = dict[str, Any]


def pod(namespace: str, name: str = "", **changes: Any) -> Json:
    named = {"name": name} if name else {"generateName": "app-"}
    metadata = {"namespace": namespace, "labels": {"app": "app"}, **named, **changes}
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": metadata,
        "spec": {"containers": [{"name": "app", "image": "app:1", "ports": [{"containerPort": 8080}]}]},
    }  # fmt: skip


def containers(found: Json) -> list[str]:
    return [each["name"] for part in ("initContainers", "containers") for each in found["spec"].get(part, [])]


def test_a_pod_of_a_labelled_namespace_gets_a_sidecar_and_others_do_not(
    cluster: Cluster, control: LeastPrivileged
) -> None:
    meshed = cluster.namespace("e2e-meshed", **{"remora.io/injection": "enabled"})
    plain = cluster.namespace("e2e-plain")
    injected = cluster.create(pod(meshed))
    assert containers(injected) == ["remora-init", "remora-proxy", "app"]
    assert injected["metadata"]["labels"]["security.istio.io/tlsMode"] == "istio"
    assert "sidecar.istio.io/status" in injected["metadata"]["annotations"]
    assert containers(cluster.create(pod(plain, "left-alone"))) == ["app"]
    asked_for = pod(plain, "asked-for", labels={"app": "app", "sidecar.istio.io/inject": "true"})
    assert "remora-proxy" in containers(cluster.create(asked_for))
    until(lambda: control.metric('remora_webhook_reviews_total{outcome="injected",webhook="inject"}') >= 2, "counted")


def test_a_pod_that_would_be_broken_is_denied_with_the_annotations_name(
    cluster: Cluster, control: LeastPrivileged
) -> None:
    meshed = cluster.namespace("e2e-denied", **{"remora.io/injection": "enabled"})
    wrong = pod(meshed, annotations={"traffic.sidecar.istio.io/excludeOutboundPorts": "ten; DROP"})
    with pytest.raises(ApiError) as caught:
        cluster.create(wrong)
    assert "injector.remora.io" in caught.value.message
    assert "traffic.sidecar.istio.io/excludeOutboundPorts" in caught.value.message
    assert caught.value.status == 403


def test_a_dry_run_is_injected_too_and_leaves_nothing(cluster: Cluster, control: LeastPrivileged) -> None:
    from control.kubernetes.resources import Call
    from tests.e2e.cluster import RESOURCES

    meshed = cluster.namespace("e2e-dry", **{"remora.io/injection": "enabled"})
    call = Call("create", RESOURCES["Pod"], meshed)
    answer = cluster.run(cluster.client.call("POST", call, body=pod(meshed, "dry"), params={"dryRun": "All"}))
    assert "remora-proxy" in containers(answer)
    assert cluster.find("Pod", "dry", meshed) is None
