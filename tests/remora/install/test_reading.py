"""Values from files and --set: laid over each other as Helm does it, and every mistake said at once with its place."""

import pytest

from remora.documents import Document
from remora.failure import Failure
from remora.install.reading import load
from remora.install.values import Values


def mistakes(text: str = "", *sets: str, revision: str | None = None) -> list[str]:
    files = [Document("values.yaml", text)] if text else []
    with pytest.raises(Failure) as failure:
        load(files, sets, revision=revision)
    return list(failure.value.lines)


def test_nothing_set_is_what_is_usual() -> None:
    assert load([], []) == Values()


def test_later_files_and_then_sets_win_and_mappings_are_merged() -> None:
    files = [
        Document("a.yaml", "control:\n  replicas: 3\n  resources: {limits: {memory: 2Gi}}\n"),
        Document("b.yaml", "control: {replicas: 4}\n"),
    ]
    values = load(files, ["control.replicas=5"])
    assert values.control.replicas == 5
    assert values.control.resources.limits == {"memory": "2Gi", "ephemeral-storage": "1Gi"}
    assert values.control.resources.requests == Values().control.resources.requests


def test_null_takes_a_key_of_a_mapping_away() -> None:
    values = load([Document("a.yaml", "control: {resources: {limits: {memory: null}}}\n")], [])
    assert values.control.resources.limits == {"ephemeral-storage": "1Gi"}


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("image=registry.example.com/remora:1", ("image",), "registry.example.com/remora:1"),
        ("accessLog=false", ("access_log",), False),
        ("traceSamplingPercent=50", ("trace_sampling_percent",), 50.0),
        ("control.resources.requests.cpu=2", ("control", "resources", "requests"), {"cpu": "2", "memory": "256Mi"}),
        ("control.placement.nodeSelector.kubernetes\\.io/arch=arm64", ("control", "placement", "node_selector"),
         {"kubernetes.io/arch": "arm64"}),
        ("networkPolicies.monitoringNamespaces={a,b}", ("network_policies", "monitoring_namespaces"), ["a", "b"]),
        ("networkPolicies.monitoringNamespaces={}", ("network_policies", "monitoring_namespaces"), []),
        ("imagePullSecrets[0]=x", ("image_pull_secrets",), ["x"]),
    ],
)  # fmt: skip
def test_a_set_is_a_path_and_a_value(text: str, path: tuple[str, ...], value: object) -> None:
    found: object = load([], [text])
    for step in path:
        found = getattr(found, step)
    assert found == value


def test_a_set_has_several_with_commas() -> None:
    values = load([], ["control.replicas=7,gateway.service.annotations.a=x\\,y"])
    assert values.control.replicas == 7
    assert values.gateway.service.annotations == {"a": "x,y"}


def test_every_mistake_is_said_with_its_place_and_the_fix() -> None:
    text = """\
control:
  replicas: 0
  resources: {limits: {memroy: 5Gi}}
gatewy: {}
sidecar:
  terminationDrainDuration: 5
image: "a b"
"""
    assert mistakes(text, "gateway.service.type=Loadbalancer", "collector.storage.size=ten") == [
        "values.yaml:7: image: is 'a b'; write an image such as registry.example.com/remora:1.2",
        "values.yaml:2: control.replicas: is 0 (a whole number); it must be at least 1",
        "values.yaml:3: control.resources.limits.memroy: is 'memroy'; it must be one of cpu, memory, ephemeral-storage;"
        " did you mean memory?",
        'values.yaml:6: sidecar.terminationDrainDuration: is 5 (a whole number); write text; quote it: "5"',
        "--set collector.storage.size=ten: collector.storage.size: is 'ten'; write a quantity such as 500m, 2 or 1Gi",
        "--set gateway.service.type=Loadbalancer: gateway.service.type: is 'Loadbalancer'; it must be one of"
        " LoadBalancer, NodePort, ClusterIP; did you mean LoadBalancer?",
        "values.yaml:4: gatewy: is an unknown field; did you mean gateway?",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "values.yaml:1: is not YAML"),
        ("- a\n", "values.yaml:1: is no mapping"),
        ("control: {}\n---\ncontrol: {}\n", "values.yaml:3: is a second document"),
        ("revision: null\n", "values.yaml:1: revision: is null; leave it out"),
        ("control: {replicas: 2, replicas: 3}\n", "written twice"),
        ("collector: {elasticsearch: {apiKeySecret: k}}\n", "without urls"),
        ("collector: {elasticsearch: {urls: ['http://a:9200'], apiKeySecret: k}}\n", "write https"),
        ("control: {autoscaling: {minReplicas: 9}}\n", "minReplicas 9 above maxReplicas 5"),
        ("gateway: {service: {ports: [{name: a, port: 1}, {name: a, port: 2}]}}\n", "twice"),
        ("gateway: {service: {ports: []}}\n", "gateway.service.ports: is empty"),
        ("revision: Canary\n", "revision: is 'Canary'"),
        (f"revision: {'x' * 41}\n", "41"),
        ("sidecar: {capture: {excludeOutboundPorts: '3306,99999'}}\n", "'99999' is no port"),
        ("sidecar: {templates: {x: 'a: ['}}\n", "template is not YAML"),
        ("sidecar: {resources: {requests: {memory: 1Gi}}}\n", "more than its limit of 512Mi"),
    ],
)
def test_what_does_not_fit_is_refused(text: str, said: str) -> None:
    lines = mistakes(text)
    assert any(said in line for line in lines), lines
    assert all(line.startswith("values.yaml:") for line in lines)


@pytest.mark.parametrize("text", ["", "x", "=1", "a..b=1", "control.replicas[0]=1", "gateway.service.ports[5].name=x"])
def test_a_set_that_is_none_is_refused_by_its_text(text: str) -> None:
    (line,) = mistakes("", text)
    assert line.startswith("--set ")


def test_values_in_text_cannot_break_out_of_it() -> None:
    """They stand between quotes in a chart's templates."""
    for name in ("image", "trustDomain", "clusterId", "revision", "collector.remoteWrite.url"):
        for bad in ('a"b', "a{{b", "a\nb", "a\\b", "a'b"):
            assert mistakes("", f"{name}={bad}")
