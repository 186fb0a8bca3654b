"""`remora up --collector-config`: the file is judged before anything starts."""

import socket
from pathlib import Path

import pytest

from remora.failure import Failure
from remora.state import State
from remora.up.collector_settings import check_settings
from tests.collectors.build import FakeClock

PORTS = {"forward": 1, "otlp-grpc": 2, "otlp-http": 3}
STORE = "exporters: {local: {type: store}}\nroutes: [{exporters: [local]}]\n"


def checked(directory: Path, text: str, ports: dict[str, int] = PORTS) -> list[str]:
    """What is said."""
    path = directory / "collect.yaml"
    path.write_text(text)
    said: list[str] = []
    assert check_settings(path, State(directory / "state"), ports, FakeClock(), said.append) == path
    return [one.removeprefix(f"{path} ") for one in said]


def test_a_file_that_is_well_is_taken_as_it_is(tmp_path: Path) -> None:
    listeners = "receivers: {otlp: {listeners: [{protocol: http, address: '127.0.0.1:0', tls: mesh}]}}\n"
    assert checked(tmp_path, listeners + STORE) == []


def test_every_mistake_is_told_with_its_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = f"""\
receivers:
  forward:
    listeners:
      - address: 127.0.0.1:{port}
      - address: 127.0.0.1:7
exporters: {{local: {{type: stor}}}}
routes: [{{exporters: [local]}}]
"""
        with pytest.raises(Failure) as raised:
            checked(tmp_path, text, {**PORTS, "otlp-http": 7})
    first, *rest = raised.value.lines
    assert first.startswith(
        f"--collector-config: {tmp_path / 'collect.yaml'}:4: receivers.forward.listeners[0].address: "
    )
    assert "is in use" in first
    assert [line.split(": ")[1].rpartition(":")[2] for line in rest] == ["5", "6"]
    assert "remora up's --otlp-http has this port too" in rest[0]
    assert "did you mean store?" in rest[1]


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"--collector-config: .*none.yaml: No such file"):
        check_settings(tmp_path / "none.yaml", State(tmp_path), PORTS, FakeClock(), print)


def test_what_console_and_command_will_miss_is_said(tmp_path: Path) -> None:
    text = "exporters: {out: {type: blackhole}}\nroutes: [{exporters: [out]}]\n"
    scrape = "receivers: {scrape: {jobs: [{name: node, static: ['127.0.0.1:9100']}]}}\n"
    store, metrics = checked(tmp_path, scrape + text)
    assert store.startswith("has no exporter of type store: console, remora logs, traces")
    assert metrics.endswith("the sidecars' metrics are not read")
    assert checked(tmp_path, scrape.replace("static: ['127.0.0.1:9100']", "mesh: true") + STORE) == []
