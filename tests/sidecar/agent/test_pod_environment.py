"""`remora proxy --pod`."""

import json
from pathlib import Path

import pytest

from mesh.spiffe import SpiffeId
from remora.cli import run
from sidecar.agent.node import workload, xds_node
from sidecar.agent.pod_environment import WrongPod, bootstrap_of
from sidecar.config.endpoint import Address
from sidecar.pod import AppProbe, Form, Pod, Stay, TcpSocket


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "labels").write_text('app="web"\nversion="v2"\nservice.istio.io/canonical-name="shop"\n')
    (tmp_path / "annotations").write_text('note="of \\"no\\" use"\n')
    return {
        "POD_NAME": "web-7d4b9-x2x4z",
        "POD_NAMESPACE": "shop",
        "INSTANCE_IP": "10.1.2.3",
        "SERVICE_ACCOUNT": "web",
        "REMORA_POD_DIRECTORY": str(tmp_path),
    }


def test_what_is_required_is_enough(environment: dict[str, str]) -> None:
    made = bootstrap_of(["--pod"], environment)
    assert made.node_id == "sidecar~10.1.2.3~web-7d4b9-x2x4z.shop~shop.svc.cluster.local"
    assert made.identity == SpiffeId("cluster.local", "shop", "web")
    assert (made.ads, made.csr) == (
        Address("remora-control.remora-system.svc", 15012),
        Address("remora-control.remora-system.svc", 15011),
    )
    assert made.root == Path("/var/run/secrets/remora/root.pem")
    assert made.token_file == Path("/var/run/secrets/tokens/remora-token")
    assert made.listen == (Address("0.0.0.0", 15006), Address("0.0.0.0", 15001))
    assert (made.admin, made.metrics, made.readiness) == (
        Address("127.0.0.1", 15000),
        Address("0.0.0.0", 15020),
        Address("0.0.0.0", 15021),
    )
    assert made.pod == Pod("web-7d4b9-x2x4z", "10.1.2.3")
    assert made.app_metrics is None
    assert made.cluster_id == "Kubernetes"


def test_everything_else_arrives(environment: dict[str, str]) -> None:
    probes = {"/app-health/web/readyz": {"tcpSocket": {"port": 80}, "timeoutSeconds": 2}}
    environment |= {
        "HOST_IP": "192.168.0.9",
        "REMORA_META_WORKLOAD": "web",
        "REMORA_REVISION": "canary",
        "REMORA_CLUSTER_ID": "east",
        "REMORA_TRUST_DOMAIN": "example.org",
        "REMORA_POD_KIND": "job",
        "REMORA_SIDECAR_FORM": "native",
        "REMORA_STAY": "grace",
        "REMORA_TERMINATION_DRAIN_DURATION": "1m30s",
        "REMORA_TERMINATION_GRACE_PERIOD": "120",
        "REMORA_APP_PROBES": json.dumps(probes),
    }
    made = bootstrap_of(["--pod", "--concurrency=2", "--collector-otlp", "otel:4317"], environment)
    assert made.pod == Pod(
        "web-7d4b9-x2x4z", "10.1.2.3", Form.NATIVE, True, Stay.GRACE, 90.0, 120.0, "canary", "192.168.0.9",
        (AppProbe("/app-health/web/readyz", TcpSocket(80), 2.0),),
    )  # fmt: skip
    assert (made.workload, made.cluster_id, made.concurrency) == ("web", "east", 2)
    assert str(made.identity) == "spiffe://example.org/ns/shop/sa/web"


def test_the_usual_cluster_may_be_named(environment: dict[str, str]) -> None:
    assert bootstrap_of(["--pod"], environment | {"REMORA_CLUSTER_ID": "Kubernetes"}).cluster_id == "Kubernetes"


def test_metrics_name_the_owner_and_the_control_plane_the_pod(environment: dict[str, str]) -> None:
    made = bootstrap_of(["--pod"], environment | {"REMORA_META_WORKLOAD": "web", "HOST_IP": "10.0.0.1"})
    who = workload(made)
    assert (who.name, who.app, who.version, who.canonical_service) == ("web", "web", "v2", "shop")
    metadata = xds_node(made).metadata
    assert (metadata["NAME"], metadata["WORKLOAD_NAME"]) == ("web-7d4b9-x2x4z", "web")
    assert (metadata["INSTANCE_IPS"], metadata["HOST_IP"]) == ("10.1.2.3", "10.0.0.1")


def test_flags_that_are_given_win(environment: dict[str, str]) -> None:
    flags = ["--pod", "--listen", "127.0.0.1:1", "--root=/r", "--ads=127.0.0.1:5", "--metrics=127.0.0.1:0"]
    made = bootstrap_of(flags, environment)
    assert made.listen == (Address("127.0.0.1", 1),)
    assert (made.root, made.ads, made.metrics) == (Path("/r"), Address("127.0.0.1", 5), Address("127.0.0.1", 0))


def test_a_pod_of_ipv6_alone(environment: dict[str, str]) -> None:
    made = bootstrap_of(["--pod"], environment | {"INSTANCE_IP": "FD00:0:0::7"})
    assert made.node_id.startswith("sidecar~fd00::7~")
    assert made.listen == (Address("::", 15006), Address("::", 15001))
    assert (made.metrics, made.readiness) == (Address("::", 15020), Address("::", 15021))


@pytest.mark.parametrize("flags", [["--kind=gateway"], ["--kind", "gateway"]])
def test_a_gateway_is_a_router_and_has_no_listeners_of_its_own(flags: list[str], environment: dict[str, str]) -> None:
    made = bootstrap_of([*flags, "--pod"], environment)
    assert made.node_id.startswith("router~10.1.2.3~")
    assert made.listen == ()
    assert made.pod is not None
    assert made.pod.stay is Stay.DRAIN, "it has no application to wait for"


@pytest.mark.parametrize(
    ("annotations", "url"),
    [
        pytest.param({}, None, id="nothing is said"),
        pytest.param({"scrape": "false", "port": "x"}, None, id="not to be scraped"),
        pytest.param({"scrape": "true"}, "http://127.0.0.1:80/metrics", id="Istio's defaults"),
        pytest.param(
            {"scrape": "true", "port": "9090", "path": "prom?a=b"}, "http://127.0.0.1:9090/prom?a=b", id="all said"
        ),
        pytest.param({"scrape": "true", "port": "15020"}, None, id="Prometheus is to ask us"),
    ],
)
def test_the_applications_metrics_are_where_its_annotations_say(
    annotations: dict[str, str], url: str | None, environment: dict[str, str], tmp_path: Path
) -> None:
    lines = [f'prometheus.io/{key}="{value}"' for key, value in annotations.items()]
    (tmp_path / "annotations").write_text("\n".join(lines))
    assert bootstrap_of(["--pod"], environment).app_metrics == url
    (tmp_path / "annotations").write_text('prometheus.io/scrape="true"\nprometheus.io/port="15020"\n')
    handed = environment | {"REMORA_PROMETHEUS_ANNOTATIONS": json.dumps(annotations)}
    assert bootstrap_of(["--pod"], handed).app_metrics == url, "what the injector hands over counts"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        pytest.param({"POD_NAME": ""}, "POD_NAME: is not set; give the container env POD_NAME of fieldRef", id="unset"),
        pytest.param({"POD_NAMESPACE": "a.b"}, "POD_NAMESPACE: 'a.b' is not a namespace's name", id="namespace"),
        pytest.param({"INSTANCE_IP": "10.1"}, "INSTANCE_IP: '10.1' is not an IP address", id="address"),
        pytest.param({"SERVICE_ACCOUNT": "A"}, "SERVICE_ACCOUNT: 'A' is not", id="account"),
        pytest.param({"HOST_IP": "node"}, "HOST_IP: 'node' is not an IP address", id="host"),
        pytest.param({"REMORA_TRUST_DOMAIN": "A b"}, "REMORA_TRUST_DOMAIN: trust domain 'A b'", id="trust domain"),
        pytest.param({"REMORA_SIDECAR_FORM": "new"}, "'new'; write native or classic", id="form"),
        pytest.param({"REMORA_STAY": "long"}, "REMORA_STAY: 'long'; write application or drain or grace", id="stay"),
        pytest.param({"REMORA_TERMINATION_DRAIN_DURATION": "5 s"}, "'5 s' is no duration", id="duration"),
        pytest.param({"REMORA_TERMINATION_GRACE_PERIOD": "9000h"}, "longer than a day", id="a year"),
        pytest.param({"REMORA_APP_PROBES": "{"}, "REMORA_APP_PROBES: is no JSON", id="probes"),
        pytest.param(
            {"REMORA_APP_PROBES": '{"/app-health/a/livez": {"grpc": {"port": "x"}}}'},
            "REMORA_APP_PROBES[\"/app-health/a/livez\"].grpc.port: is 'x'",
            id="a probe's field",
        ),
        pytest.param({"REMORA_PROMETHEUS_ANNOTATIONS": '{"a": 1}'}, "is no JSON object of texts", id="annotations"),
        pytest.param({"REMORA_PROMETHEUS_ANNOTATIONS": '{"a":' * 20_000}, "nested too deeply", id="deep annotations"),
        pytest.param({"REMORA_APP_PROBES": "[" * 20_000}, "nested too deep", id="deep probes"),
        pytest.param(
            {"REMORA_PROMETHEUS_ANNOTATIONS": '{"scrape": "true", "scheme": "https"}'},
            "only http is merged",
            id="metrics over TLS",
        ),
        pytest.param(
            {"REMORA_PROMETHEUS_ANNOTATIONS": '{"scrape": "true", "port": "http"}'}, "write a port's number", id="port"
        ),
        pytest.param({"REMORA_POD_DIRECTORY": "/nowhere"}, "/nowhere/labels: cannot be read: No such", id="volume"),
    ],
)
def test_a_mistake_is_a_line_that_names_the_variable(
    changes: dict[str, str], line: str, environment: dict[str, str]
) -> None:
    with pytest.raises(WrongPod) as raised:
        bootstrap_of(["--pod"], environment | changes)
    assert any(line in each for each in raised.value.lines), raised.value.lines


def test_all_mistakes_are_said_at_once_and_the_exit_status_is_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in ("POD_NAME", "POD_NAMESPACE", "INSTANCE_IP", "SERVICE_ACCOUNT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("REMORA_POD_DIRECTORY", str(tmp_path))
    assert run(["proxy", "--pod"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 6
    assert all(line.startswith("remora proxy: ") for line in lines)


def test_without_the_flag_the_environment_means_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        bootstrap_of([], {"POD_NAME": "x"})
    assert stopped.value.code == 2
    assert "--node-id" in capsys.readouterr().err


def test_help_needs_no_environment() -> None:
    with pytest.raises(SystemExit) as stopped:
        bootstrap_of(["--pod", "--help"], {})
    assert stopped.value.code == 0


def test_dns_is_served_where_it_is_captured(environment: dict[str, str]) -> None:
    assert bootstrap_of(["--pod"], environment).dns_port is None
    assert bootstrap_of(["--pod"], environment | {"REMORA_DNS_CAPTURE": "false"}).dns_port is None
    captured = environment | {"REMORA_DNS_CAPTURE": "true"}
    assert bootstrap_of(["--pod"], captured).dns_port == 15053
    assert bootstrap_of(["--pod", "--kind=gateway"], captured).dns_port is None
    with pytest.raises(WrongPod) as raised:
        bootstrap_of(["--pod"], environment | {"REMORA_DNS_CAPTURE": "yes"})
    assert raised.value.lines == ("REMORA_DNS_CAPTURE: 'yes'; write true or false",)
