"""Strategic merge: the table against Kubernetes' published types, the behaviour against kubectl's."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from control.injector.merge_keys import LISTS, PRIMITIVE_LISTS
from control.injector.strategic_merge import MergeError, merge
from control.injector.template_text import TemplateError, parse_template
from tests.kubernetes.published_types import definition

KUBECTL = shutil.which("kubectl")
TYPES = {
    ("spec",): "PodSpec",
    ("spec", "containers"): "Container",
    ("spec", "initContainers"): "Container",
    ("spec", "ephemeralContainers"): "EphemeralContainer",
}


@pytest.mark.parametrize("place", TYPES, ids=".".join)
def test_lists_are_merged_by_the_keys_that_kubernetes_publishes_and_no_others(place: tuple[str, ...]) -> None:
    published = {
        name: schema["x-kubernetes-patch-merge-key"]
        for name, schema in definition(TYPES[place])["properties"].items()
        if "merge" in schema.get("x-kubernetes-patch-strategy", "").split(",")
    }
    ours = {path[-1]: key.fields[0] for path, key in LISTS.items() if path[:-1] == place}
    assert ours == published


def test_the_lists_of_an_objects_metadata_are_those_of_object_meta() -> None:
    assert {path for path in LISTS if path[0] == "metadata"} == {("metadata", "ownerReferences")}
    assert {("metadata", "finalizers")} == PRIMITIVE_LISTS


POD = """
metadata: {name: web, labels: {a: "1", b: "2"}, finalizers: [x/one]}
spec:
  containers:
  - name: web
    image: w
    args: [one, two]
    env: [{name: A, value: a}, {name: B, value: b}]
    ports: [{containerPort: 80, name: http}, {containerPort: 90}]
    volumeMounts: [{name: data, mountPath: /data}, {name: tmp, mountPath: /tmp}]
  - {name: log, image: l}
  tolerations: [{key: own, operator: Exists}]
  imagePullSecrets: [{name: one}]
  hostAliases: [{ip: 192.0.2.1, hostnames: [a]}]
  volumes: [{name: data, emptyDir: {}}, {name: tmp, emptyDir: {}}]
  nodeSelector: {disk: ssd}
"""
PATCHES = {
    "a field of a container by its name": "spec: {containers: [{name: web, image: v}]}",
    "a container that is not there": "spec: {containers: [{name: new, image: n}]}",
    "variables by name": "spec: {containers: [{name: web, env: [{name: B, value: c}, {name: C, value: d}]}]}",
    "arguments as a whole": "spec: {containers: [{name: web, args: [three]}]}",
    "mounts by their path": "spec: {containers: [{name: web, volumeMounts: [{name: tmp, mountPath: /data}]}]}",
    "ports by number": "spec: {containers: [{name: web, ports: [{containerPort: 80, hostPort: 8080}]}]}",
    "tolerations as a whole": "spec: {tolerations: [{key: mesh, operator: Exists}]}",
    "pull secrets by name": "spec: {imagePullSecrets: [{name: two}, {name: one}]}",
    "host aliases by address": "spec: {hostAliases: [{ip: 192.0.2.1, hostnames: [b]}, {ip: 192.0.2.2}]}",
    "finalizers added to": "metadata: {finalizers: [x/two, x/one]}",
    "labels one by one and null to remove": "metadata: {labels: {a: null, c: '3'}}",
    "a container deleted": "spec: {containers: [{name: log, $patch: delete}]}",
    "several containers, one of them new": "spec: {containers: [{name: log, image: v}, {name: new, image: n}]}",
    "containers in another order": "spec: {containers: [{name: log, image: v}, {name: web, image: v}]}",
    "all containers replaced": "spec: {containers: [{name: web, image: v}, {$patch: replace}]}",
    "all variables replaced": "spec: {containers: [{name: web, env: [{$patch: replace}, {name: C, value: c}]}]}",
    "another source of a volume": "spec: {volumes: [{name: data, $retainKeys: [name, nfs], nfs: {path: /d}}]}",
    "a node selector added to": "spec: {nodeSelector: {zone: a}}",
    "a node selector removed": "spec: {nodeSelector: null}",
    "a node selector replaced": "spec: {nodeSelector: {$patch: replace, zone: b}}",
    "a mapping that is new": "spec: {securityContext: {runAsUser: 1000, supplementalGroups: [1]}}",
}  # fmt: skip


@pytest.mark.skipif(KUBECTL is None, reason="no kubectl: https://kubernetes.io/docs/tasks/tools/")
@pytest.mark.parametrize("name", PATCHES)
def test_a_pod_is_merged_as_kubectl_merges_it(name: str, tmp_path: Path) -> None:
    pod, patch = (YAML(typ="safe").load(text) for text in (POD, PATCHES[name]))
    given = tmp_path / "pod.json"
    given.write_text(json.dumps({"apiVersion": "v1", "kind": "Pod", **pod}))
    assert KUBECTL is not None
    command = [
        KUBECTL,
        "patch",
        "--local",
        "--type=strategic",
        f"--filename={given}",
        f"--patch={json.dumps(patch)}",
        "-ojson",
    ]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert answer.returncode == 0, answer.stderr
    theirs = json.loads(answer.stdout)
    ours = merge(pod, patch)
    assert {"metadata": ours["metadata"], "spec": ours["spec"]} == _plain(theirs)


def _plain(pod: dict[str, Any]) -> dict[str, Any]:
    """Without what kubectl's own types add."""
    pod["metadata"].pop("creationTimestamp", None)
    for container in pod["spec"]["containers"]:
        if container.get("resources") == {}:
            del container["resources"]
    return {"metadata": pod["metadata"], "spec": pod["spec"]}


def test_ports_of_one_number_are_told_apart_by_protocol_which_kubernetes_does_not() -> None:
    pod = {
        "spec": {
            "containers": [{"name": "dns", "ports": [{"containerPort": 53, "protocol": "UDP"}, {"containerPort": 53}]}]
        }
    }
    patch = {
        "spec": {"containers": [{"name": "dns", "ports": [{"containerPort": 53, "protocol": "TCP", "name": "tcp"}]}]}
    }
    assert merge(pod, patch)["spec"]["containers"][0]["ports"] == [
        {"containerPort": 53, "protocol": "UDP"},
        {"containerPort": 53, "protocol": "TCP", "name": "tcp"},
    ]


def test_neither_the_pod_nor_the_patch_is_changed() -> None:
    pod, patch = (YAML(typ="safe").load(text) for text in (POD, PATCHES["variables by name"]))
    merged = merge(pod, patch)
    merged["spec"]["containers"][0]["env"][0]["value"] = "changed"
    merged["spec"]["containers"][0]["env"][2]["value"] = "changed"
    assert (pod, patch) == tuple(YAML(typ="safe").load(text) for text in (POD, PATCHES["variables by name"]))


@pytest.mark.parametrize(
    ("patch", "said"),
    [
        ("spec: {containers: [{image: x}]}", "spec.containers[0]: has no name, by which this list is merged; add it"),
        ("spec: {containers: [x]}", "spec.containers[0]: is no mapping"),
        ("spec: {containers: {name: x}}", "spec.containers: is no list"),
        ("spec: {containers: [{name: web, $patch: replace}]}", "spec.containers[0]: has $patch: replace beside fields"),
        ("spec: {containers: x}", "spec.containers: is no list"),
        ("spec: {containers: [{name: a, $patch: remove}]}", "is 'remove'; write one of delete, replace, merge"),
        ("spec: {$setElementOrder/containers: []}", "spec.$setElementOrder/containers: is a directive that is not"),
        ("spec: {volumes: [{name: a, $retainKeys: name}]}", "spec.volumes[0].$retainKeys: is no list"),
        ("spec: {tolerations: [{$patch: replace}]}", "spec.tolerations[0].$patch: is a directive in a list"),
    ],
)  # fmt: skip
def test_what_cannot_be_merged_is_refused_with_its_field(patch: str, said: str) -> None:
    with pytest.raises(MergeError) as caught:
        merge({}, YAML(typ="safe").load(patch))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has 0 documents; a template is one"),
        ("a: 1\n---\nb: 2\n", "has 2 documents"),
        ("- a", "is no mapping"),
        ("metadata: {}\nstatus: {}", "line 2: status is no field of a Pod that a template sets"),
        ("kind: Deployment", "is of another kind"),
        ("spec: [", "line 1: "),
        ("spec: {containers: [{image: x}]}", "spec.containers[0]: has no name"),
        ("spec: {a: 1, a: 2}", "is written twice"),
        ("x" * 300_000, "is larger than 262,144 bytes"),
    ],
)
def test_a_template_that_is_no_partial_pod_is_refused_when_the_settings_are_read(text: str, said: str) -> None:
    with pytest.raises(TemplateError) as caught:
        parse_template(text)
    assert said in str(caught.value)
