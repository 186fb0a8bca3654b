"""Every pod of the injector's cases before the API server: what it takes without a sidecar, it takes with one."""

import copy
from typing import Any

from control.injector import Injected, inject
from control.injector.json_patch import apply
from control.kubernetes.errors import ApiError
from control.kubernetes.resources import Call
from tests.control.injector.test_golden import CASES, MARK, read
from tests.e2e.cluster import RESOURCES, Cluster

NAMESPACE = "e2e-judged"


def refused(cluster: Cluster, pod: dict[str, Any]) -> str:
    """Why a dry run refuses it; empty if it does not. The pod has its sidecar, or wants none: no webhook changes it."""
    body = copy.deepcopy(pod) | {"apiVersion": "v1", "kind": "Pod"}
    body["metadata"] = {"name": "web"} | (body.get("metadata") or {}) | {"namespace": NAMESPACE}
    body["metadata"]["labels"] = (body["metadata"].get("labels") or {}) | {"sidecar.istio.io/inject": "false"}
    call = Call("create", RESOURCES["Pod"], NAMESPACE)
    try:
        cluster.run(cluster.client.call("POST", call, body=body, params={"dryRun": "All"}))
    except ApiError as error:
        return error.message
    return ""


def test_every_injected_pod_is_taken(cluster: Cluster) -> None:
    cluster.namespace(NAMESPACE)
    judged, against = 0, []
    for path in CASES:
        case, namespace, settings = read(path.read_text().partition(MARK)[0])
        outcome = inject(case["pod"], namespace, settings)
        if not isinstance(outcome, Injected) or not outcome.patch or refused(cluster, case["pod"]):
            continue
        judged += 1
        if message := refused(cluster, apply(case["pod"], outcome.patch)):
            against.append(f"{path.stem}: {message}")
    assert against == []
    assert judged >= 95
