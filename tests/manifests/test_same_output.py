"""`remora install`, the Helm chart and the kustomizations say the same, object by object."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonpatch
import pytest
from ruamel.yaml import YAML

from remora.cli import run
from remora.install.kustomize import OVERLAYS
from remora.install.objects import identity
from remora.install.text import documents
from tests.manifests.go_templates import render
from tests.manifests.programs import KUBERNETES_VERSION, MANIFESTS, helm, kubectl, output

Objects = dict[tuple[str, str, str, str], Any]

EVERYTHING_ON = {
    "image": "registry.example.com:5000/mesh/remora@sha256:" + "0" * 64,
    "imagePullPolicy": "Always",
    "imagePullSecrets": ["pull-a", "pull-b"],
    "trustDomain": "mesh.example.com",
    "traceSamplingPercent": 12.5,
    "accessLog": False,
    "takeIstiosPlace": True,
    "control": {
        "otherClusters": True,
        "writesRules": True,
        "certificateLifetimeSeconds": 604800,
        "placement": {
            "nodeSelector": {"kubernetes.io/arch": "arm64", "a": "true"},
            "tolerations": [{"key": "x", "operator": "Exists"}],
            "priorityClassName": "high",
        },
    },
    "cni": {"enabled": True, "logLevel": "debug"},
    "sidecar": {
        "native": False,
        "capture": {"excludeOutboundPorts": "3306", "excludeOutboundIPRanges": "10.0.0.0/8"},
        "templates": {"more": "metadata:\n  labels:\n    more: '{{ braces }}'\n"},
        "defaultTemplates": ["sidecar", "more"],
    },
    "collector": {
        "storage": {"className": "fast"},
        "elasticsearch": {
            "urls": ["https://a.example.com:9200", "https://b.example.com/x<&>"],
            "apiKeySecret": "key",
            "caSecret": "ca",
        },
        "remoteWrite": {"url": "https://prometheus.example.com/api/v1/write"},
    },
    "gateway": {
        "service": {
            "type": "LoadBalancer",
            "annotations": {"cloud.example.com/kind": 'a "quoted" <one>', "umlaut": "ü"},
            "loadBalancerSourceRanges": ["192.0.2.0/24"],
            "ports": [{"name": "tcp", "port": 9000, "nodePort": 30900}, {"name": "http", "port": 80}],
        }
    },
    "console": {"editRules": True},
    "customMetrics": {"enabled": True},
}
NOTHING_ON = {
    "createNamespace": False,
    "collector": {"enabled": False},
    "gateway": {"enabled": False},
    "injection": {"enabled": False},
    "validation": {"enabled": False},
    "networkPolicies": {"enabled": False},
    "control": {"autoscaling": {"enabled": False}, "replicas": 7},
}
VALUES: Mapping[str, Mapping[str, Any]] = {
    "the usual values": {},
    "everything on": EVERYTHING_ON,
    "all but the control plane off": NOTHING_ON,
    "a revision in Istio's place": {"revision": "canary", "takeIstiosPlace": True},
    "custom metrics of a Prometheus": {
        "customMetrics": {"enabled": True, "prometheus": "http://prometheus.monitoring:9090"},
    },
    "policies for no monitoring, validation in the mesh alone": {
        "networkPolicies": {"monitoringNamespaces": []},
        "validation": {"unlabelledNamespaces": False, "timeoutSeconds": 3},
    },
    "rules edited in the console": {"console": {"editRules": True}},
    "a revision, whose rules the first one's console edits": {"revision": "canary", "console": {"editRules": True}},
    **{f"the overlay {name}": values for name, values in OVERLAYS.items()},
}


def by_identity(text: str) -> Objects:
    found = [each for each in YAML(typ="safe").load_all(text) if each is not None]
    made = {identity(each): each for each in found}
    assert len(made) == len(found), "an object is there twice"
    return made


def installed(values: Mapping[str, Any], directory: Path, capsys: pytest.CaptureFixture[str], *more: str) -> Objects:
    """What `remora install` prints."""
    file = directory / "values.yaml"
    file.write_text(documents([values]), encoding="utf-8")
    assert run(["install", "-f", str(file), *more]) == 0
    return by_identity(capsys.readouterr().out)


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_the_chart_makes_what_install_prints(
    values: Mapping[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program, expected = helm(), installed(values, tmp_path, capsys, "--skip-crds")
    chart = str(MANIFESTS / "helm" / "remora")
    text = output(
        program, "template", "remora", chart, "-f", str(tmp_path / "values.yaml"), "--kube-version", KUBERNETES_VERSION
    )
    assert by_identity(text) == expected


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_the_chart_makes_the_same_where_there_is_no_helm(
    values: Mapping[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By a reader of our own, which knows no more than what our templates say."""
    expected = installed(values, tmp_path, capsys, "--skip-crds")
    chart = MANIFESTS / "helm" / "remora"
    whole = _laid_over(YAML(typ="safe").load((chart / "values.yaml").read_text()), values)
    texts = [render(path.read_text(), whole) for path in sorted((chart / "templates").glob("*.yaml"))]
    assert by_identity("\n---\n".join(texts)) == expected


def _laid_over(base: Any, more: Any) -> Any:
    if not isinstance(base, dict) or not isinstance(more, Mapping):
        return more
    return base | {key: _laid_over(base.get(key), each) for key, each in more.items()}


def test_the_chart_has_the_definitions_of_kinds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program, expected = helm(), installed({}, tmp_path, capsys)
    chart = str(MANIFESTS / "helm" / "remora")
    text = output(program, "template", "remora", chart, "--include-crds", "--kube-version", KUBERNETES_VERSION)
    assert by_identity(text) == expected


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"gatewy": {}}, "gatewy"),
        ({"control": {"replicas": 0}}, "replicas"),
        ({"gateway": {"service": {"type": "Loadbalancer"}}}, "type"),
        ({"image": "a b"}, "image"),
        ({"control": {"resources": {"limits": {"cpu": 1}}}}, "cpu"),
    ],
    ids=["an unknown name", "too few replicas", "another word", "text of another form", "a number for a text"],
)
def test_helm_refuses_wrong_values_by_the_schema(values: Mapping[str, Any], said: str, tmp_path: Path) -> None:
    import subprocess

    file = tmp_path / "values.yaml"
    file.write_text(json.dumps(values), encoding="utf-8")
    command = [
        helm(),
        "template",
        "x",
        str(MANIFESTS / "helm" / "remora"),
        "-f",
        str(file),
        "--kube-version",
        KUBERNETES_VERSION,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert said in done.stderr


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_makes_what_install_prints_with_its_values(
    overlay: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = installed(OVERLAYS[overlay], tmp_path, capsys)
    text = output(kubectl(), "kustomize", str(MANIFESTS / "kustomize" / "overlays" / overlay))
    assert by_identity(text) == expected


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_makes_the_same_where_there_is_no_kubectl(
    overlay: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its patches are RFC 6902, and so anybody's to apply."""
    expected = installed(OVERLAYS[overlay], tmp_path, capsys)
    assert built(MANIFESTS / "kustomize" / "overlays" / overlay) == expected


def built(directory: Path) -> Objects:
    """What a kustomization of ours says: resources, then patches."""
    read = YAML(typ="safe")
    (file,) = [path for path in directory.iterdir() if path.stem.lower() == "kustomization"]
    kustomization = read.load(file.read_text())
    found: Objects = {}
    for resource in kustomization["resources"]:
        path = directory / resource
        found |= built(path.resolve()) if path.is_dir() else by_identity(path.read_text())
    for patch in kustomization.get("patches", ()):
        target = patch["target"]
        version = f"{target['group']}/{target['version']}" if "group" in target else target["version"]
        key = (version, target["kind"], target.get("namespace", ""), target["name"])
        changes = read.load(patch["patch"])
        if isinstance(changes, dict):
            assert changes["$patch"] == "delete"
            del found[key]
        else:
            found[key] = jsonpatch.apply_patch(found[key], changes)
    return found


def test_the_base_makes_what_install_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = installed({}, tmp_path, capsys)
    assert by_identity(output(kubectl(), "kustomize", str(MANIFESTS / "kustomize" / "base"))) == expected
