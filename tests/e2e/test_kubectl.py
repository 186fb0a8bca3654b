"""What a person sees with kubectl, whose tables, warnings and validation are made by the API server."""

import time
from typing import Any

from tests.e2e.cluster import Cluster, until
from tests.e2e.control import LeastPrivileged
from tests.e2e.mesh import Pods
from tests.e2e.scene import LIVE_S, Scene

RULE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: %s, namespace: %s}
spec:
  hosts: [%s]
  http:
  - fault: {abort: {httpStatus: 418, percentage: {value: 100}}}
    route: [{destination: {host: %s}}]
"""
WORKLOAD = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: %s}
spec:
  replicas: 0
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: %s}]}
"""
Json = dict[str, Any]


def applied(cluster: Cluster, text: str) -> str:
    done = cluster.kubectl("apply", "-f", "-", text=text)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_a_table_has_istios_columns_and_whether_the_rule_is_accepted(
    cluster: Cluster, control: LeastPrivileged
) -> None:
    namespace = cluster.namespace("e2e-columns")
    applied(cluster, RULE % ("table", namespace, "reviews", "reviews"))
    lines = cluster.kubectl("get", "virtualservices", "-n", namespace).stdout.splitlines()
    assert lines[0].split() == ["NAME", "GATEWAYS", "HOSTS", "ACCEPTED", "AGE"]
    assert lines[1].split()[:2] == ["table", '["reviews"]']
    assert cluster.kubectl("get", "vs", "table", "-n", namespace).returncode == 0, "by its short name"


def test_apply_changes_what_differs_of_a_workload_and_diff_shows_it_before(cluster: Cluster) -> None:
    namespace = cluster.namespace("e2e-workload")
    applied(cluster, WORKLOAD % (namespace, "web:1"))
    shown = cluster.kubectl("diff", "-f", "-", text=WORKLOAD % (namespace, "web:2"))
    assert shown.returncode == 1, shown.stderr
    assert "+      - image: web:2" in shown.stdout
    applied(cluster, WORKLOAD % (namespace, "web:2"))
    path = "jsonpath={.spec.template.spec.containers[*].image}"
    assert cluster.kubectl("get", "deployment", "web", "-n", namespace, "-o", path).stdout == "web:2"


def test_explain_says_what_a_field_is(cluster: Cluster, control: LeastPrivileged) -> None:
    explained = cluster.kubectl("explain", "virtualservice.spec.hosts").stdout
    assert "FIELD: hosts <[]string>" in explained
    assert "What requests and connections name" in explained
    assert "DNS_LABEL" in cluster.kubectl("explain", "pod.spec.containers.name").stdout


def test_describe_shows_the_violation_and_apply_warns_of_it(cluster: Cluster, control: LeastPrivileged) -> None:
    namespace = cluster.namespace("e2e-describe")
    warned = applied(cluster, RULE % ("lost", namespace, "nobody", "nobody"))
    assert "Warning: spec.http[0].route[0].destination.host" in warned

    def described() -> str:
        return cluster.kubectl("describe", "virtualservice", "lost", "-n", namespace).stdout

    until(lambda: "spec.http[0].route[0].destination.host" in described(), "described", within=20)
    assert "Conditions:" in described()


def test_a_refusal_is_one_readable_line(cluster: Cluster, control: LeastPrivileged) -> None:
    namespace = cluster.namespace("e2e-refusal")
    done = cluster.kubectl("apply", "-f", "-", text=(RULE % ("bad", namespace, "a", "a")).replace("418", "42"))
    assert done.returncode != 0
    assert "spec.http[0].fault.abort.httpStatus" in done.stderr
    unknown = cluster.kubectl("apply", "-f", "-", text=(RULE % ("bad", namespace, "a", "a")).replace("fault", "fualt"))
    assert unknown.returncode != 0
    assert "fualt" in unknown.stderr


def test_a_rule_applied_with_kubectl_is_live_on_a_sidecar_within_a_second(pods: Pods, scene: Scene) -> None:
    took = []
    for _ in range(3):
        applied(pods.cluster, RULE % ("reviews", "default", "reviews", "reviews"))
        began = time.monotonic()
        until(lambda: scene.answered_by() == (418, ""), "the rule is live")
        took.append(time.monotonic() - began)
        assert pods.cluster.kubectl("delete", "vs", "reviews").returncode == 0
        until(lambda: scene.answered_by() == (200, "one"), "the rule is gone")
    print(f"by kubectl live after {', '.join(f'{each * 1000:.0f} ms' for each in took)}")
    assert max(took) < LIVE_S
