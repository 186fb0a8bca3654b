"""`remora check`: what is said of a cluster, by what its API server says of itself."""

import asyncio
import base64
import json
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest
from cryptography import x509

from remora.cli import run
from remora.install.checks import after, before
from remora.install.checks.facts import Facts
from remora.install.checks.finding import Finding
from remora.install.crds.definitions import all_definitions
from remora.install.objects import objects
from remora.install.reading import load
from remora.install.values import Values
from tests.kubernetes.api_server import FakeApiServer
from tests.kubernetes.kubeconfigs import serving_certificate

NOW = datetime(2030, 1, 1, tzinfo=UTC).timestamp()
NODE = {
    "metadata": {"name": "n1"},
    "status": {
        "nodeInfo": {
            "kernelVersion": "5.10.0-cloud",
            "kubeletVersion": "v1.33.1",
            "operatingSystem": "linux",
            "architecture": "amd64",
        }
    },
}
DEFAULT_CLASS = {
    "metadata": {"name": "fast", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
}


def cluster(**lists: Any) -> Facts:
    """One in which all is well, but for what is given."""
    facts = Facts(version={"major": "1", "minor": "33+", "gitVersion": "v1.33.1"})
    usual: dict[str, Any] = {
        "nodes": [NODE],
        "storage_classes": [DEFAULT_CLASS],
        "aggregated_APIs": [{"metadata": {"name": "v1beta1.metrics.k8s.io"}}],
    }
    facts.lists = {name.replace("_", " "): found for name, found in (usual | lists).items()}
    facts.allowed = dict.fromkeys(before.permissions(objects(Values())), True)
    return facts


def said(facts: Facts, *sets: str) -> list[Finding]:
    return [each for each in before.findings(facts, load([], sets)) if each.level != "ok"]


def named(name: str, **labels: str) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "labels": {key.replace("__", "/").replace("_", "-"): value for key, value in labels.items()},
        }
    }


def node(**info: str) -> dict[str, Any]:
    return {"metadata": {"name": "n2"}, "status": {"nodeInfo": NODE["status"]["nodeInfo"] | info}}  # type: ignore[index]


def test_a_cluster_in_which_all_is_well_has_no_complaint() -> None:
    assert said(cluster()) == []
    assert {each.check for each in before.findings(cluster(), Values())} == {"Kubernetes", "permissions", "nodes"}


ISTIOS = named("istio-sidecar-injector")
CASES: list[tuple[str, dict[str, Any], tuple[str, ...], str, str, str]] = [
    ("an old kernel", {"nodes": [node(kernelVersion="4.4.0")]}, (), "error", "nodes", "older than 4.11"),
    ("an old kubelet", {"nodes": [node(kubeletVersion="v1.28.4")]}, (), "error", "nodes", "no native sidecars"),
    ("another architecture", {"nodes": [node(architecture="s390x")]}, (), "warning", "nodes", "another architecture"),
    ("no node with Linux", {"nodes": [node(operatingSystem="windows")]}, (), "error", "nodes", "no node with Linux"),
    ("Istio beside us", {"mutating": [ISTIOS]}, (), "warning", "Istio", "would be judged by ours"),
    ("Istio's place taken while it is there", {"mutating": [ISTIOS]}, ("takeIstiosPlace=true",), "error", "Istio",
     "would inject the same pods"),
    ("Istio's definitions", {"definitions": [named("gateways.networking.istio.io")]}, (), "warning", "kinds",
     "Istio's own definitions"),
    ("a member that forbids NET_ADMIN",
     {"namespaces": [named("shop", remora_io__injection="x")
                     | {"metadata": {"name": "shop", "labels": {"remora.io/injection": "enabled",
                                                                "pod-security.kubernetes.io/enforce": "baseline"}}}]},
     (), "error", "pod security", "shop enforce a level that forbids NET_ADMIN"),
    ("no metrics server", {"aggregated_APIs": []}, (), "warning", "autoscaling", "no metrics server"),
    ("no default storage class", {"storage_classes": [named("slow")]}, (), "error", "storage", "no StorageClass"),
]  # fmt: skip


@pytest.mark.parametrize(("lists", "sets", "level", "check", "text"), [case[1:] for case in CASES],
                         ids=[case[0] for case in CASES])  # fmt: skip
def test_what_is_in_the_way_is_said_with_what_to_do(
    lists: dict[str, Any], sets: tuple[str, ...], level: str, check: str, text: str
) -> None:
    found = [each for each in said(cluster(**lists), *sets) if each.check == check]
    assert [(each.level, text in each.said) for each in found] == [(level, True)], found
    assert found[0].fix


@pytest.mark.parametrize(
    ("lists", "sets"),
    [
        ({"nodes": [node(kubeletVersion="v1.28.4")]}, ("sidecar.native=false",)),
        ({"mutating": [ISTIOS]}, ("validation.unlabelledNamespaces=false",)),
        ({"storage_classes": []}, ("collector.storage.className=slow",)),
        ({"storage_classes": []}, ("collector.enabled=false",)),
        (
            {
                "namespaces": [
                    {
                        "metadata": {
                            "name": "shop",
                            "labels": {
                                "remora.io/injection": "enabled",
                                "pod-security.kubernetes.io/enforce": "restricted",
                            },
                        }
                    }
                ]
            },
            ("cni.enabled=true",),
        ),
        ({"aggregated_APIs": []}, ("control.autoscaling.enabled=false", "gateway.autoscaling.enabled=false")),
    ],
    ids=[
        "classic sidecars",
        "validation in the mesh alone",
        "a class by name",
        "no collector",
        "the node agent",
        "no autoscaling",
    ],
)
def test_the_fix_that_is_named_helps(lists: dict[str, Any], sets: tuple[str, ...]) -> None:
    assert said(cluster(**lists), *sets) == []


@pytest.mark.parametrize(("minor", "sets", "text"), [("27", (), "older than 1.28"), ("28", (), "no native sidecars")])
def test_a_server_that_is_too_old_is_an_error(minor: str, sets: tuple[str, ...], text: str) -> None:
    facts = cluster()
    facts.version = {"major": "1", "minor": minor, "gitVersion": f"v1.{minor}.0"}
    (found,) = said(facts, *sets)
    assert text in found.said


def test_missing_permissions_are_named() -> None:
    facts = cluster()
    facts.allowed["create", "rbac.authorization.k8s.io", "clusterroles", ""] = False
    (found,) = said(facts)
    assert found.said == "you may not create clusterroles.rbac.authorization.k8s.io"


def test_permissions_are_asked_for_every_kind_that_is_applied() -> None:
    kinds = {each["kind"] for each in [*objects(Values()), *all_definitions()]}
    plurals = {plural for _, _, plural, _ in before.permissions([*objects(Values()), *all_definitions()])}
    assert len(plurals) == len(kinds)
    assert {"networkpolicies", "customresourcedefinitions", "horizontalpodautoscalers", "services"} <= plurals


def deployment(name: str, wanted: int, ready: int) -> dict[str, Any]:
    labels = {"app.kubernetes.io/part-of": "remora"}
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"replicas": wanted},
        "status": {"readyReplicas": ready},
    }


def webhook(name: str, pem: str) -> dict[str, Any]:
    bundle = base64.b64encode(pem.encode()).decode()
    labels = {"app.kubernetes.io/part-of": "remora"}
    return {
        "metadata": {"name": name, "labels": labels},
        "webhooks": [{"name": "w", "clientConfig": {"caBundle": bundle}}],
    }


def pod(name: str, ready: bool) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "shop", "annotations": {"sidecar.istio.io/status": "{}"}},
        "status": {"phase": "Running", "initContainerStatuses": [{"name": "remora-proxy", "ready": ready}]},
    }


def daemon_set(wanted: int, ready: int) -> dict[str, Any]:
    labels = {"app.kubernetes.io/part-of": "remora"}
    return {
        "metadata": {"name": "remora-node-agent", "labels": labels},
        "status": {"desiredNumberScheduled": wanted, "numberReady": ready},
    }


def waiting_pod(**state: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "w", "namespace": "shop", "annotations": {"sidecar.istio.io/status": "{}"}},
        "spec": {"nodeName": "n1"},
        "status": {"phase": "Pending", "initContainerStatuses": [{"name": "remora-validation", **state}]},
    }


RUNS = {"state": {"running": {}}}


@cache
def root() -> str:
    return serving_certificate("127.0.0.1").authority_pem


def mesh(**lists: Any) -> Facts:
    pem = root()
    facts = Facts(roots_pem=pem)
    usual = {
        "deployments": [deployment("remora-control", 2, 2)],
        "mutating": [webhook("remora-injector", pem)],
        "validating": [webhook("remora-validator", pem)],
        "pods": [pod("a", True)],
    }
    facts.lists = usual | lists
    return facts


def soon() -> float:
    (certificate,) = x509.load_pem_x509_certificates(root().encode())
    return certificate.not_valid_before_utc.timestamp() + 1


def complaints(facts: Facts, now: float) -> list[tuple[str, str]]:
    return [(each.level, each.check) for each in after.findings(facts, now) if each.level != "ok"]


def test_a_mesh_that_is_well_is_said_to_be_so() -> None:
    facts = mesh()
    assert [each for each in complaints(facts, soon()) if each[1] != "certificates"] == []
    assert after.installed(facts)
    assert not after.installed(Facts())


@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        ({"deployments": [deployment("remora-control", 2, 0)]}, ("error", "pods")),
        ({"deployments": [deployment("remora-control", 2, 1)]}, ("warning", "pods")),
        ({"mutating": [webhook("remora-injector", "another")]}, ("error", "webhooks")),
        ({"validating": []}, ("warning", "webhooks")),
        ({"pods": [pod("a", True), pod("b", False)]}, ("warning", "sidecars")),
        ({"VirtualService": [{"metadata": {"name": "x", "namespace": "y"},
                              "status": {"conditions": [{"type": "Accepted", "status": "False"}]}}]},
         ("warning", "rules")),
        ({"daemon sets": [daemon_set(3, 0)]}, ("error", "node agent")),
        ({"daemon sets": [daemon_set(3, 2)]}, ("warning", "node agent")),
        ({"daemon sets": [daemon_set(3, 3)], "pods": [waiting_pod(**RUNS)]}, ("warning", "node agent")),
        ({"daemon sets": [], "pods": [waiting_pod(**RUNS)]}, ("error", "node agent")),
        ({"pods": [waiting_pod(state={"waiting": {}}, lastState={"terminated": {}})]}, ("error", "node agent")),
    ],
    ids=["no control plane", "half of it", "a stale bundle", "no validation", "a sidecar behind", "a refused rule",
         "no node agent", "a node without it", "a pod that waits for it", "a pod that waits for none",
         "a pod that waited for none"],
)  # fmt: skip
def test_what_ails_a_mesh_is_said(lists: dict[str, Any], expected: tuple[str, str]) -> None:
    assert expected in complaints(mesh(**lists), soon())


def test_a_node_agent_that_is_everywhere_is_said_to_be_so() -> None:
    passed = waiting_pod(state={"terminated": {"exitCode": 0}})
    facts = mesh(**{"daemon sets": [daemon_set(3, 3)], "pods": [passed, waiting_pod(state={"waiting": {}})]})
    found = [(each.level, each.said) for each in after.findings(facts, soon()) if each.check == "node agent"]
    assert found == [("ok", "remora-node-agent: on 3 of 3 nodes ready")]
    facts.lists |= {"daemon sets": [daemon_set(3, 3)], "pods": [waiting_pod(**RUNS)]}
    (found_,) = [each for each in after.findings(facts, soon()) if each.check == "node agent" and each.level != "ok"]
    assert found_.said == "shop/w wait for it, on n1"


@pytest.mark.parametrize("pem", ["", "rubbish"])
def test_a_mesh_without_a_root_is_an_error(pem: str) -> None:
    facts = mesh()
    facts.roots_pem = pem
    assert ("error", "certificates") in complaints(facts, NOW)


def test_a_root_that_has_ended_is_an_error() -> None:
    assert ("error", "certificates") in complaints(mesh(), datetime(2200, 1, 1, tzinfo=UTC).timestamp())


async def test_the_command_asks_a_cluster(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with FakeApiServer() as server:
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_bytes(orjson.dumps(server.kubeconfig()))
        for each in all_definitions():
            server.seed(each)
        server.seed({"apiVersion": "v1", "kind": "Node", **NODE})
        flags = ["--set", "collector.enabled=false", "--kubeconfig", str(kubeconfig), "-o", "json"]
        status = await asyncio.to_thread(run, ["check", *flags])
        found = {each["check"]: each for each in json.loads(capsys.readouterr().out)}
        assert status == 0, found
        assert found["permissions"]["level"] == "ok"
        assert found["nodes"]["said"] == "1 with Linux"

        server.access.forbidden.add(("create", "apps", "deployments"))
        assert await asyncio.to_thread(run, ["check", *flags]) == 1
        found = {each["check"]: each for each in json.loads(capsys.readouterr().out)}
        assert found["permissions"]["said"] == "you may not create deployments.apps in remora-system"


async def test_who_is_not_known_is_told_to_log_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with FakeApiServer() as server:
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_bytes(orjson.dumps(server.kubeconfig()))
        server.access.revoke("admin")
        assert await asyncio.to_thread(run, ["check", "--kubeconfig", str(kubeconfig)]) == 1
    said = capsys.readouterr().err
    assert "does not know you" in said
    assert f"the credentials of {kubeconfig} have expired or are another cluster's" in said
    assert "does not answer" not in said


def test_a_cluster_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        "clusters": [{"name": "x", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "x", "user": {"token": "x"}}],
    }
    (tmp_path / "config").write_text(json.dumps(config))
    assert run(["check", "--kubeconfig", str(tmp_path / "config")]) == 1
    assert "does not answer" in capsys.readouterr().err
