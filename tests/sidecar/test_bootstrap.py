"""The sidecar's flags."""

from pathlib import Path

import pytest

from mesh.spiffe import SpiffeId
from sidecar.bootstrap import Bootstrap, Inherited, parse
from sidecar.config.endpoint import Address

REQUIRED = [
    "--node-id=sidecar~127.0.0.1~reviews-v1.default~default.svc.cluster.local",
    "--workload=reviews-v1",
    "--namespace=default",
    "--identity=spiffe://cluster.local/ns/default/sa/reviews",
    "--ads=127.0.0.1:15012",
    "--csr=127.0.0.1:15011",
    "--root=/etc/root.pem",
    "--token-file=/run/token",
]


def test_the_required_flags_are_enough() -> None:
    assert parse(REQUIRED) == Bootstrap(
        node_id="sidecar~127.0.0.1~reviews-v1.default~default.svc.cluster.local",
        workload="reviews-v1",
        namespace="default",
        identity=SpiffeId("cluster.local", "default", "reviews"),
        ads=Address("127.0.0.1", 15012),
        csr=Address("127.0.0.1", 15011),
        root=Path("/etc/root.pem"),
        token_file=Path("/run/token"),
    )


def test_every_flag_arrives() -> None:
    flags = (
        "--service reviews --version v1 --labels app=reviews,version=v1 --kind gateway --cluster-id Kubernetes "
        "--listen 127.0.0.1:15006 --listen-fd 7 --listen [::1]:15001 --admin fd:8 --metrics 0.0.0.0:15020 "
        "--readiness fd:9 --collector-forward 127.0.0.1:24224 --collector-otlp otel.example:4317 "
        "--app-metrics http://127.0.0.1:9080/metrics --concurrency 2 --drain-deadline 1.5 --log-level debug "
        "--log-json --ready-fd 3 --lifeline-fd 4"
    )
    got = parse(REQUIRED + flags.split())
    assert got.listen == (Address("127.0.0.1", 15006), Inherited(7), Address("::1", 15001))
    assert (got.admin, got.metrics, got.readiness) == (Inherited(8), Address("0.0.0.0", 15020), Inherited(9))
    assert got.labels == (("app", "reviews"), ("version", "v1"))
    assert (got.service, got.version, got.kind, got.cluster_id) == ("reviews", "v1", "gateway", "Kubernetes")
    assert got.collector_forward == Address("127.0.0.1", 24224)
    assert got.collector_otlp == Address("otel.example", 4317)
    assert got.app_metrics == "http://127.0.0.1:9080/metrics"
    assert (got.concurrency, got.drain_deadline_s, got.log_level, got.log_json) == (2, 1.5, "debug", True)
    assert (got.ready_fd, got.lifeline_fd) == (3, 4)


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        pytest.param("--admin=0.0.0.0:15000", "use a loopback address", id="admin reachable from outside"),
        pytest.param("--admin=10.0.0.1:15000", "use a loopback address", id="admin on another address"),
        pytest.param("--ads=localhost", "is not HOST:PORT", id="no port"),
        pytest.param("--ads=localhost:0", "port 0 cannot be connected to", id="remote port 0"),
        pytest.param("--ads=localhost:65536", "is not HOST:PORT", id="port too large"),
        pytest.param("--ads=::1:80", "in brackets", id="bare IPv6"),
        pytest.param("--listen-fd=-1", "is not a file descriptor's number", id="negative descriptor"),
        pytest.param("--listen-fd=x", "is not a file descriptor's number", id="word as descriptor"),
        pytest.param("--concurrency=0", "is not a whole number from 1 to 64", id="no worker"),
        pytest.param("--concurrency=two", "is not a whole number", id="word as number"),
        pytest.param("--drain-deadline=nan", "is not between 0 and 3600", id="not a number"),
        pytest.param("--identity=spiffe://Cluster/ns/a/sa/b", "lower-case DNS name", id="upper-case trust domain"),
        pytest.param("--identity=cluster.local/ns/a/sa/b", "is not spiffe://", id="no scheme"),
        pytest.param("--labels=a", "is not KEY=VALUE", id="label without value"),
        pytest.param("--labels=a=1,a=2", "given twice", id="label twice"),
        pytest.param("--node-id=a b", "without spaces", id="node id with a space"),
        pytest.param("--app-metrics=file:///etc/passwd", "is not http://", id="file URL"),
        pytest.param("--kind=router", "invalid choice", id="unknown kind"),
        pytest.param("--adm=127.0.0.1:0", "unrecognized arguments", id="abbreviated flag"),
    ],
)
def test_wrong_use_is_one_line_and_exit_status_2(flag: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse([*REQUIRED, flag])
    assert stopped.value.code == 2
    line = capsys.readouterr().err
    assert message in line
    assert line.count("\n") == 1


def test_a_missing_flag_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse(REQUIRED[1:])
    assert stopped.value.code == 2
    assert "--node-id" in capsys.readouterr().err


def test_help_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse(["--help"])
    assert stopped.value.code == 0
    assert "remora proxy --node-id sidecar~127.0.0.1~reviews-v1" in capsys.readouterr().out
