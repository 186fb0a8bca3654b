"""Manifests as people write them: what is put in and taken out, byte by byte, in `cases`; and what is refused.

Each case holds a manifest, `--- # injected`, and the difference to what comes of it as `diff -U0` shows it.
"""

import difflib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from control.injector import InjectorSettings
from remora.documents import Document
from remora.inject.changes import injection, removal
from remora.inject.manifest import Changed, Manifest, changed

CASES = sorted(Path(__file__).parent.joinpath("cases").glob("*.yaml"))
MARK = "--- # injected\n"
SETTINGS = InjectorSettings(image="remora/remora:test")


def put_in(text: str, settings: InjectorSettings = SETTINGS) -> Manifest:
    return changed(
        Document("web.yaml", text), partial(injection, settings=settings, default_namespace="shop", namespaces={})
    )


def taken_out(text: str) -> Manifest:
    return changed(Document("web.yaml", text), removal)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem.replace("_", " "))
def test_a_manifest_becomes_what_was_read_before_and_again_what_it_was(path: Path, update_golden: bool) -> None:
    text, _, expected = path.read_text().partition(MARK)
    injected = put_in(text)
    assert injected.errors == []
    assert put_in(injected.text).text == injected.text
    assert taken_out(injected.text).text == text, "removal did not restore every byte"
    said = [f"# {line}\n" for line in injected.remarks]
    lines = difflib.unified_diff(text.splitlines(True), injected.text.splitlines(True), n=0)
    found = "".join([*said, *(_short(line) for line in list(lines)[2:])])
    if update_golden:
        path.write_text(f"{text}{MARK}{found}")
        return
    assert found == expected, f"differs from {path.name}; read the difference, then --update-golden"


def _short(line: str) -> str:
    """The status is one long line, and the injector's own to test."""
    return line if "sidecar.istio.io/status" not in line else line.split("status:")[0] + "status: ...\n"


def test_there_are_cases() -> None:
    assert len(CASES) >= 12


POD = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\nspec:\n  containers:\n  - name: web\n    image: w\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (POD.replace("image: w", "ports: [{containerPort: 15001}]"),
         "web.yaml:8: Pod/web: spec.containers[0].ports[0].containerPort: is 15001, where the sidecar listens"),
        (POD.replace("  name: web\n", "  name: web\n  annotations:\n    sidecar.istio.io/logLevel: x\n", 1),
         "web.yaml:6: Pod/web: metadata.annotations.sidecar.istio.io/logLevel: is 'x'"),
        ("kind: Deployment\napiVersion: apps/v1\nmetadata: {name: web}\nspec:\n  replicas: 1\n",
         "web.yaml:4: Deployment/?: spec.template: is missing; a Deployment has a pod's template there"),
        (POD.replace("  containers", "\tcontainers"), "web.yaml:6: is not YAML"),
        (POD + "kind: Pod\n", "web.yaml:9: kind: is written twice, first in line 2"),
        (f"---\na: b\n---\n{POD}  hostPID: {{<<: *x}}\n", "web.yaml:"),
        ("apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  spec: {containers: []}\n",
         "web.yaml:6: Pod/?: items[0].spec.containers: is empty"),
        (POD.replace("name: web\n    image", "name: web\n    livenessProbe: {tcpSocket: {port: nope}}\n    image"),
         "web.yaml:8: Pod/web: spec.containers[0].livenessProbe.tcpSocket.port: is 'nope'"),
    ],
)  # fmt: skip
def test_a_mistake_is_said_with_its_line(text: str, line: str) -> None:
    result = put_in(text)
    assert any(each.startswith(line) for each in result.errors), result.errors
    assert result.text == text


def test_every_mistake_of_every_document_is_said() -> None:
    bad = POD.replace("image: w", "securityContext: {runAsUser: 1337}")
    assert len(put_in(f"{bad}---\n{bad}").errors) == 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n",
        "---\n...\n---\n",
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}   \nspec:\n    ports: [ {port: 80} ]",
        "apiVersion: batch.volcano.sh/v1alpha1\nkind: Job\nspec: {template: {}}\n",
        "apiVersion: example.com/v1\nkind: Deployment\n",
        "apiVersion: v1\nkind: List\nitems: []\n",
        "- a\n- b\n",
        '{"apiVersion":"v1","kind":"ConfigMap"}',
    ],
)
def test_what_holds_no_pods_passes_byte_for_byte(text: str) -> None:
    assert put_in(text) == Manifest(text, put_in(text).documents)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("hostNetwork: true", "the pod uses its node's network (hostNetwork)"),
        ("nodeSelector: {kubernetes.io/os: windows}", "the pod is for Windows"),
    ],
)
def test_what_is_left_alone_is_said_and_why(spec: str, reason: str) -> None:
    result = put_in(f"{POD}  {spec}\n")
    assert result.text == f"{POD}  {spec}\n"
    assert result.remarks[0].startswith(f"web.yaml:1: Pod/web: is left as it is: {reason}")


@pytest.mark.parametrize("change", [put_in, taken_out], ids=["put in", "taken out"])
def test_a_kind_of_somebody_elses_with_a_pods_template_is_left_alone_and_that_is_said(
    change: Callable[[str], Manifest],
) -> None:
    text = (
        "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {name: web}\n"
        "spec: {template: {spec: {containers: [{name: web, image: w}]}}}\n"
    )
    result = change(text)
    assert result.text == text
    assert result.remarks == [
        "web.yaml:1: Rollout/?: is left as it is: no kind that is known to hold pods; the webhook injects into its pods"
    ]


def test_a_pod_of_a_namespace_among_the_manifests_heeds_its_labels() -> None:
    namespaces = {"shop": {"labels": {"remora.io/injection": "disabled"}}}
    change = partial(injection, settings=SETTINGS, default_namespace="shop", namespaces=namespaces)
    assert changed(Document("a", POD), change).text == POD


def test_a_document_with_anchors_is_written_anew_and_that_is_said() -> None:
    text = (
        POD.replace("image: w", "image: &i w  # gone").replace("  name: web\n", "  name: web # gone\n", 1)
        + "---\na: 1 # stays\n"
    )
    result = put_in(text)
    assert "web.yaml:1: is written with anchors" in result.remarks[-1]
    assert "# stays" in result.text
    assert "gone" not in result.text
    assert taken_out(result.text).text == POD + "---\na: 1 # stays\n"


@pytest.mark.parametrize("indent", [2, 4, None])
def test_json_stays_json_indented_as_it_was(indent: int | None) -> None:
    import json

    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "wéb"}, "spec": {"containers": [{"name": "a"}]}}
    text = json.dumps(pod, indent=indent, ensure_ascii=False) + "\n"
    injected = put_in(text)
    assert injected.text == json.dumps(injected.documents[0], indent=indent, ensure_ascii=False) + "\n"
    assert taken_out(injected.text).text == text


def test_compact_json_stays_compact() -> None:
    text = '{"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"name":"a"}]}}'
    injected = put_in(text)
    assert "\n" not in injected.text
    assert ": " not in injected.text.split("sidecar.istio.io/status")[0]
    assert taken_out(injected.text).text == text


def template(version: str, kind: str) -> str:
    head = f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: shop}}\n"
    return f"{head}spec:\n  template:\n    spec:\n      containers: [{{name: a}}]\n"


@pytest.mark.parametrize(
    ("version", "kind"), [("apps/v1", "Deployment"), ("apps/v1", "StatefulSet"), ("batch/v1", "Job")]
)
def test_the_workload_is_the_one_whose_template_it_is(version: str, kind: str) -> None:
    result = put_in(template(version, kind))
    proxy = result.documents[0]["spec"]["template"]["spec"]["initContainers"][1]
    assert {"name": "REMORA_META_WORKLOAD", "value": "shop"} in proxy["env"]


def test_a_job_of_a_manifest_ends_its_classic_sidecar() -> None:
    result = put_in(template("batch/v1", "Job"), InjectorSettings(native_sidecars=False))
    proxy = result.documents[0]["spec"]["template"]["spec"]["containers"][0]
    assert {"name": "REMORA_POD_KIND", "value": "job"} in proxy["env"]


def test_what_another_mesh_injected_is_not_removed() -> None:
    text = POD.replace("  name: web\n", "  name: web\n  annotations: {sidecar.istio.io/status: '{}'}\n", 1)
    result = taken_out(text)
    assert result.text == text
    assert "is not Remora's; another mesh wrote it" in result.remarks[0]


def test_a_broken_record_is_an_error_at_its_line() -> None:
    status = '{"version":"1","restore":[{}]}'
    text = POD.replace("  name: web\n", f"  name: web\n  annotations:\n    sidecar.istio.io/status: '{status}'\n", 1)
    where = "web.yaml:6: Pod/web: metadata.annotations.sidecar.istio.io/status"
    assert taken_out(text).errors == [f"{where}: its record of what was injected has an entry without a path"]


def test_a_list_of_too_many_items_is_refused() -> None:
    text = "apiVersion: v1\nkind: List\nitems:\n" + "- {}\n" * 10_001
    assert "has more than 10,000 items" in put_in(text).errors[0]


def test_a_change_that_changes_nothing_leaves_the_text_alone() -> None:
    text = POD.replace("name: web", "name:   'web'   # odd")
    assert changed(Document("a", text), lambda place: Changed(dict(place.pod))).text == text
