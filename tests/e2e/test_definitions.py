"""Definitions and manifests before the API server: it judges structure, rules in CEL (a real one also their cost), and
every case that the parser has."""

from collections.abc import Mapping
from typing import Any

import pytest

from control.kubernetes.apply import apply
from control.kubernetes.errors import ApiError
from control.kubernetes.resources import ApiResource
from tests.e2e.cluster import RESOURCES, Cluster
from tests.e2e.control import LeastPrivileged
from tests.manifests.test_definitions import BEYOND_A_SCHEMA, CASES, as_json, good_rules, objects
from tests.manifests.test_objects import made
from tests.manifests.test_same_output import VALUES

MORE = {
    "Deployment": ApiResource("apps", "v1", "deployments"),
    "DaemonSet": ApiResource("apps", "v1", "daemonsets"),
    "ResourceQuota": ApiResource("", "v1", "resourcequotas"),
    "StatefulSet": ApiResource("apps", "v1", "statefulsets"),
    "NetworkPolicy": ApiResource("networking.k8s.io", "v1", "networkpolicies"),
    "PodDisruptionBudget": ApiResource("policy", "v1", "poddisruptionbudgets"),
    "HorizontalPodAutoscaler": ApiResource("autoscaling", "v2", "horizontalpodautoscalers"),
    "APIService": ApiResource("apiregistration.k8s.io", "v1", "apiservices", namespaced=False),
}


@pytest.fixture(scope="module")
def judge(cluster: Cluster, control: LeastPrivileged) -> Cluster:
    """With definitions and webhooks."""
    return cluster


def judged(cluster: Cluster, document: Mapping[str, Any]) -> str:
    """Why a dry run refuses it; empty if it does not."""
    resource = (RESOURCES | MORE)[document["kind"]]
    try:
        cluster.run(apply(cluster.client, resource, dict(document), manager="e2e", dry_run=True))
    except ApiError as error:
        return str(error)
    return ""


def test_the_schema_refuses_what_the_parser_refuses(judge: Cluster) -> None:
    """By its own words: the webhook is asked about what the schema has taken."""
    for name, text in [case[:2] for case in CASES]:
        (found,) = map(as_json, objects(text))
        found["metadata"]["namespace"] = "default"
        said = judged(judge, found)
        assert said != "", name
        assert ("admission webhook" in said) == (name in BEYOND_A_SCHEMA), f"{name}: {said}"


def test_the_schema_takes_what_the_parser_takes(judge: Cluster) -> None:
    for name, text in good_rules():
        for found in map(as_json, objects(text)):
            if found["kind"] != "Service":
                found["metadata"]["namespace"] = "default"
                said = judged(judge, found)
                assert said == "" or "admission webhook" in said, f"{name}: {said}"


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_every_object_of_an_installation_is_taken(judge: Cluster, values: Mapping[str, Any]) -> None:
    for name in ("remora-system", "remora-node"):
        judge.namespace(name)
    for found in made(values):
        assert judged(judge, found) == "", found["metadata"]["name"]
