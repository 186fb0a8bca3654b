"""The objects of an installation: Kubernetes' own schemas take them, its strictest Pod Security too, and they fit
together and the programs that they start."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import certifi
import kubernetes_validate
import pytest
from ruamel.yaml import YAML

import collectors.options
import control.options
from collectors.settings.load import load as load_collector
from control.injector.settings import InjectorSettings
from dashboards.console.app import parse as parse_console
from remora.custom_metrics import options as custom_metrics_options
from remora.documents import Document
from remora.install.crds.definitions import all_definitions
from remora.install.names import NEVER_INJECTED
from remora.install.objects import objects
from remora.install.parts.collector import CA_DIRECTORY, KEY_DIRECTORY
from remora.install.reading import load
from remora.install.text import documents
from remora.node import options as node_options
from sidecar.agent.pod_environment import bootstrap_of
from tests.manifests.programs import KUBERNETES_VERSION
from tests.manifests.test_same_output import VALUES

WHATEVER_IS_SET = pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
NOT_IN_ITS_SCHEMAS = frozenset({"CustomResourceDefinition", "APIService"})
"""kubernetes-validate has the core's kinds; these belong to aggregated servers."""


def made(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    return objects(load([Document("values.yaml", documents([values]))], []))


def of_kind(found: list[dict[str, Any]], *kinds: str) -> list[dict[str, Any]]:
    return [each for each in found if each["kind"] in kinds]


def pods(found: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for each in of_kind(found, "Deployment", "StatefulSet", "DaemonSet"):
        yield each["metadata"]["name"], each["spec"]["template"]


@WHATEVER_IS_SET
def test_kubernetes_own_schemas_take_every_object(values: Mapping[str, Any]) -> None:
    checked = 0
    for each in made(values):
        if each["kind"] not in NOT_IN_ITS_SCHEMAS:
            kubernetes_validate.validate(each, KUBERNETES_VERSION, strict=True)
            checked += 1
    assert checked >= 9


@pytest.mark.parametrize("definition", all_definitions(), ids=lambda each: each["metadata"]["name"])
def test_kubernetes_own_schemas_take_the_definitions(definition: Mapping[str, Any]) -> None:
    kubernetes_validate.validate(dict(definition), KUBERNETES_VERSION, strict=True)


@WHATEVER_IS_SET
def test_every_pod_is_restricted(values: Mapping[str, Any]) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"""
    seen = 0
    for name, template in pods(made(values)):
        if name == "remora-node-agent":
            continue  # by what it is for; below
        spec = template["spec"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), name
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] > 0
        assert security["seccompProfile"]["type"] == "RuntimeDefault"
        assert {each["name"] for each in security.get("sysctls", ())} <= {"net.ipv4.ip_unprivileged_port_start"}
        for container in [*spec.get("initContainers", ()), *spec["containers"]]:
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False, name
            assert own["capabilities"] == {"drop": ["ALL"]}, name
            assert own["readOnlyRootFilesystem"] is True, name
            assert not {"privileged", "procMount", "runAsUser"} & set(own), name
            assert all("hostPort" not in port for port in container["ports"]), name
            seen += 1
        kinds = {next(iter(set(volume) - {"name"})) for volume in spec["volumes"]}
        assert kinds <= {"configMap", "emptyDir", "projected", "secret", "downwardAPI"}, name
    assert seen


def test_the_node_agent_has_what_it_takes_and_nothing_more() -> None:
    found = made({"cni": {"enabled": True}})
    ((_, template),) = [each for each in pods(found) if each[0] == "remora-node-agent"]
    spec = template["spec"]
    assert spec["hostPID"] is True, "it finds pods' networks by their processes"
    assert not {"hostNetwork", "hostIPC"} & set(spec)
    assert [next(iter(set(volume) - {"name"})) for volume in spec["volumes"]] == ["emptyDir"]
    (container,) = spec["containers"]
    assert container["securityContext"]["capabilities"] == {
        "drop": ["ALL"],
        "add": ["NET_ADMIN", "NET_RAW", "SYS_ADMIN", "SYS_PTRACE"],
    }
    assert container["securityContext"]["privileged"] is False
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert spec["tolerations"] == [{"operator": "Exists"}]
    options = node_options.parse(container["args"][1:], {"NODE_NAME": "n"})
    assert (container["args"][0], options.port) == ("node-agent", container["ports"][0]["containerPort"])
    levels = {
        each["metadata"]["name"]: each["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
        for each in of_kind(found, "Namespace")
    }
    assert levels == {"remora-system": "restricted", "remora-node": "privileged"}


def test_pods_wait_for_the_node_agent_where_there_is_one() -> None:
    for enabled in (True, False):
        found = made({"cni": {"enabled": enabled}})
        (text,) = [each["data"]["injector.yaml"] for each in found if each["metadata"]["name"] == "remora-settings"]
        settings = InjectorSettings.model_validate(YAML(typ="safe", pure=True).load(text))
        assert settings.cni is enabled
        assert bool(of_kind(found, "DaemonSet")) is enabled


@WHATEVER_IS_SET
def test_what_objects_name_is_there(values: Mapping[str, Any]) -> None:
    found = made(values)
    names = {(each["kind"], each["metadata"]["name"]) for each in found}
    from_elsewhere = {("ConfigMap", "remora-ca-root-cert"), ("Secret", "key"), ("Secret", "ca")}
    for name, template in pods(found):
        spec = template["spec"]
        assert ("ServiceAccount", spec["serviceAccountName"]) in names
        volumes = {volume["name"] for volume in spec["volumes"]}
        for volume in spec["volumes"]:
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in names | from_elsewhere, name
            if "secret" in volume:
                assert ("Secret", volume["secret"]["secretName"]) in from_elsewhere, name
        for container in spec["containers"]:
            mounts = [mount["name"] for mount in container["volumeMounts"]]
            assert set(mounts) <= volumes | {"state"}, name
            listening = {port["containerPort"] for port in container["ports"]}
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                asked = container.get(probe, {})
                port = (asked.get("httpGet") or asked.get("tcpSocket") or {"port": None})["port"]
                assert port is None or port in listening, f"{name} {probe}"
    for scaler in of_kind(found, "HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        (deployment,) = [each for each in of_kind(found, target["kind"]) if each["metadata"]["name"] == target["name"]]
        assert "replicas" not in deployment["spec"], "applying again would undo what the autoscaler did"
    for budget in of_kind(found, "PodDisruptionBudget", "Service", "NetworkPolicy"):
        selector = budget["spec"].get("podSelector", budget["spec"].get("selector", {}))
        wanted = selector.get("matchLabels", selector) if budget["kind"] != "Service" else selector
        if wanted:
            assert any(wanted.items() <= template["metadata"]["labels"].items() for _, template in pods(found))
    for binding in of_kind(found, "ClusterRoleBinding", "RoleBinding"):
        for subject in binding["subjects"]:
            ours = subject["namespace"] == "remora-system"
            assert not ours or ("ServiceAccount", subject["name"]) in names
        reference = binding["roleRef"]
        known = reference["name"].startswith(("system:", "extension-apiserver"))
        assert known or (reference["kind"], reference["name"]) in names
    for configuration in of_kind(found, "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"):
        for webhook in configuration["webhooks"]:
            service = webhook["clientConfig"]["service"]
            (at,) = [each for each in of_kind(found, "Service") if each["metadata"]["name"] == service["name"]]
            assert service["port"] in {port["port"] for port in at["spec"]["ports"]}


def arguments(found: list[dict[str, Any]], name: str) -> tuple[list[str], dict[str, Any]]:
    ((_, template),) = [each for each in pods(found) if each[0] == name]
    container, *_ = template["spec"]["containers"]
    return container["args"], container


@WHATEVER_IS_SET
def test_the_control_plane_takes_its_flags(values: Mapping[str, Any]) -> None:
    found = made(values)
    (name,) = {name for name, _ in pods(found) if name.startswith("remora-control")}
    flags, _ = arguments(found, name)
    assert flags[0] == "control"
    options = control.options.parse(flags[1:], {})
    assert options.kubernetes is not None
    assert options.kubernetes.service == name
    assert options.kubernetes.namespace == "remora-system"
    (service,) = [each for each in of_kind(found, "Service") if each["metadata"]["name"] == name]
    ports = {port["port"] for port in service["spec"]["ports"]}
    assert ports == {options.ads_port, options.csr_port, options.rest_port, options.kubernetes.webhook_port}
    (lease,) = [rule["resourceNames"] for role in of_kind(found, "Role") if role["metadata"]["name"] == name
                for rule in role["rules"] if "leases" in rule["resources"] and "resourceNames" in rule]  # fmt: skip
    assert lease == [options.kubernetes.service]


@WHATEVER_IS_SET
def test_the_injector_reads_its_settings(values: Mapping[str, Any]) -> None:
    (settings,) = [each for each in of_kind(made(values), "ConfigMap") if "injector.yaml" in each["data"]]
    read = YAML(typ="safe", pure=True).load(settings["data"]["injector.yaml"])
    parsed = InjectorSettings.model_validate(read)
    fields = {field.alias or name for name, field in InjectorSettings.model_fields.items()}
    assert fields - set(read) == {"imagePullSecrets"}, "of pods' own namespaces, which no installation knows"
    assert parsed.control_address.endswith(".remora-system.svc:15012")


@WHATEVER_IS_SET
def test_the_collector_takes_its_flags_and_settings(values: Mapping[str, Any], tmp_path: Path) -> None:
    found = made(values)
    settings = [each for each in of_kind(found, "ConfigMap") if "collector.yaml" in each["data"]]
    if values.get("revision") or values.get("collector", {}).get("enabled") is False:
        assert settings == []
        return
    flags, container = arguments(found, "remora-collector")
    options = collectors.options.parse(flags[1:])
    assert options.follow_targets, "it shares no directory with the control plane"
    (config,) = settings
    text = config["data"]["collector.yaml"]
    for directory, name, content in (
        (KEY_DIRECTORY, "api-key", "aWQ6a2V5"),
        (CA_DIRECTORY, "ca.crt", Path(certifi.where()).read_text()),
    ):
        text = text.replace(f"{directory}/{name}", str(tmp_path / name))
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o600)
    (tmp_path / "collector.yaml").write_text(text, encoding="utf-8")
    load_collector(tmp_path / "collector.yaml")
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert options.config is not None
    assert {
        str(options.state),
        str(options.config.parent),
        str(options.root.parent),
        str(options.token_file.parent),
    } <= mounts


@WHATEVER_IS_SET
def test_the_gateway_takes_its_flags_and_environment(values: Mapping[str, Any], tmp_path: Path) -> None:
    found = made(values)
    if values.get("revision") or values.get("gateway", {}).get("enabled") is False:
        assert "remora-ingressgateway" not in {name for name, _ in pods(found)}
        return
    flags, container = arguments(found, "remora-ingressgateway")
    facts = {"metadata.name": "gw-0", "metadata.namespace": "remora-system", "status.podIP": "10.0.0.1",
             "spec.serviceAccountName": "remora-ingressgateway", "status.hostIP": "10.1.0.1"}  # fmt: skip
    environ = {
        each["name"]: each.get(
            "value", facts.get(each.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath", ""), "")
        )
        for each in container["env"]
    }
    for name in ("labels", "annotations"):
        (tmp_path / name).write_text("")
    bootstrap = bootstrap_of(flags[1:], environ | {"REMORA_POD_DIRECTORY": str(tmp_path)})
    assert bootstrap.kind == "gateway"
    assert bootstrap.node_id.startswith("router~10.0.0.1~gw-0.remora-system~")
    assert str(bootstrap.ads) != ""


@WHATEVER_IS_SET
def test_an_outage_keeps_no_cluster_from_mending_itself(values: Mapping[str, Any]) -> None:
    for configuration in of_kind(made(values), "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"):
        for webhook in configuration["webhooks"]:
            said = webhook["namespaceSelector"]["matchExpressions"]
            elsewhere = {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": list(NEVER_INJECTED)}
            assert elsewhere in said or webhook["failurePolicy"] == "Ignore", webhook["name"]
            asked = {
                (group, each) for rule in webhook["rules"] for group in rule["apiGroups"] for each in rule["resources"]
            }
            assert asked == {("", "pods")} or all(group.endswith((".io", ".dev")) for group, _ in asked)
            assert webhook["timeoutSeconds"] <= 10
            assert webhook["sideEffects"] == "None"
            assert "caBundle" not in webhook["clientConfig"], "applying again would take the leader's away"


def matches(requirements: list[Mapping[str, Any]], labels: Mapping[str, str]) -> bool:
    """Kubernetes' label selectors."""
    results = {
        "In": lambda key, values: labels.get(key) in values,
        "NotIn": lambda key, values: labels.get(key) not in values,
        "Exists": lambda key, _: key in labels,
        "DoesNotExist": lambda key, _: key not in labels,
    }
    return all(results[each["operator"]](each["key"], each.get("values", ())) for each in requirements)


ENABLED, CANARY, DEFAULT = {"remora.io/injection": "enabled"}, {"remora.io/rev": "canary"}, {"remora.io/rev": "default"}
YES, NO = {"sidecar.istio.io/inject": "true"}, {"sidecar.istio.io/inject": "false"}
ISTIO, ISTIO_CANARY = {"istio-injection": "enabled"}, {"istio.io/rev": "canary"}
SELECTIONS: list[tuple[str, Mapping[str, str], Mapping[str, str], str, str]] = [
    # what, the namespace's labels, the pod's, who is asked, and who when the mesh takes Istio's place
    ("a namespace that says nothing", {}, {}, "", ""),
    ("a namespace of the mesh", ENABLED, {}, "default", "default"),
    ("a pod that opts out", ENABLED, NO, "", ""),
    ("a pod that opts in", {}, YES, "default", "default"),
    ("a pod that opts in where the namespace does not want it", {"remora.io/injection": "disabled"}, YES, "", ""),
    ("a namespace of a revision", CANARY, {}, "canary", "canary"),
    ("a namespace of the default revision by name", DEFAULT, {}, "default", "default"),
    ("a namespace of the mesh with a revision", ENABLED | CANARY, {}, "canary", "canary"),
    ("a pod of a revision where the namespace says nothing", {}, CANARY, "canary", "canary"),
    ("a pod that opts in and names a revision", {}, YES | CANARY, "canary", "canary"),
    ("a namespace of Istio's", ISTIO, {}, "", "default"),
    ("a namespace of a revision of Istio's", ISTIO_CANARY, {}, "", "canary"),
    ("a system namespace that someone labelled", ENABLED | {"kubernetes.io/metadata.name": "kube-system"}, {}, "", ""),
]


@pytest.mark.parametrize(("namespace", "pod", "who", "in_istios_place"), [case[1:] for case in SELECTIONS],
                         ids=[case[0] for case in SELECTIONS])  # fmt: skip
def test_pods_are_asked_about_where_they_belong(
    namespace: Mapping[str, str], pod: Mapping[str, str], who: str, in_istios_place: str
) -> None:
    for istio, expected in ((False, who), (True, in_istios_place)):
        asked = {
            revision or "default"
            for revision in ("", "canary")
            for configuration in of_kind(
                made({"revision": revision, "takeIstiosPlace": istio}), "MutatingWebhookConfiguration"
            )
            for webhook in configuration["webhooks"]
            if matches(
                webhook["namespaceSelector"]["matchExpressions"], {"kubernetes.io/metadata.name": "x"} | namespace
            )
            and matches(webhook["objectSelector"]["matchExpressions"], pod)
        }
        assert asked == ({expected} if expected else set())


def test_a_revision_leaves_what_the_mesh_has_once() -> None:
    first = {(each["kind"], each["metadata"]["name"]) for each in made({})}
    canary = {(each["kind"], each["metadata"]["name"]) for each in made({"revision": "canary"})}
    assert first & canary == set()
    assert all(name.endswith("-canary") for _, name in canary)


def test_no_secret_is_in_any_object() -> None:
    text = json.dumps(made(VALUES["everything on"]))
    assert '"kind": "Secret"' not in text


@pytest.mark.parametrize(
    ("prometheus", "pod"),
    [("", "remora-collector"), ("http://p:9090", "remora-custom-metrics")],
    ids=["store", "Prometheus"],
)
def test_custom_metrics_take_their_flags_where_they_are(prometheus: str, pod: str) -> None:
    found = made({"customMetrics": {"enabled": True, "prometheus": prometheus}})
    ((_, template),) = [each for each in pods(found) if each[0] == pod]
    container = template["spec"]["containers"][-1]
    options = custom_metrics_options.parse(container["args"][1:])
    assert (options.prometheus is None) == (prometheus == "")
    (service,) = [each for each in of_kind(found, "Service") if each["metadata"]["name"] == "remora-custom-metrics"]
    assert f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc" == options.service
    assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    assert template["spec"]["automountServiceAccountToken"] is True
    accounts = {each["subjects"][0]["name"] for each in of_kind(found, "ClusterRoleBinding")
                if each["roleRef"]["name"] == "remora-custom-metrics"}  # fmt: skip
    assert accounts == {template["spec"]["serviceAccountName"]}


def test_the_console_beside_the_collector_is_on_loopback_and_keeps_its_token_out_of_the_log() -> None:
    ((_, template),) = [each for each in pods(made({})) if each[0] == "remora-collector"]
    (container,) = [each for each in template["spec"]["containers"] if each["name"] == "console"]
    options = parse_console(container["args"][1:])
    assert (container["args"][0], options.host, options.port) == ("console", "127.0.0.1", 20001)
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert mounts[str(options.state)]["readOnly"]
    assert options.url_file is not None
    assert str(options.url_file.parent) in mounts
    ((_, without),) = [each for each in pods(made({"console": {"enabled": False}})) if each[0] == "remora-collector"]
    assert [each["name"] for each in without["spec"]["containers"]] == ["collector"]


def test_a_collector_without_custom_metrics_has_no_token_of_the_api_server() -> None:
    ((_, template),) = [each for each in pods(made({})) if each[0] == "remora-collector"]
    assert template["spec"]["automountServiceAccountToken"] is False
