"""`remora query` as its users meet it: a process."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from collectors.query.options import hosts, parse
from collectors.receivers.listeners import Address
from tests.collectors.build import bookinfo
from tests.collectors.fakes import bound


@contextmanager
def query(*flags: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The process and its URL; empty if it ended instead."""
    read, write = os.pipe()
    command = [sys.executable, "-m", "remora", "query", "--ready-fd", str(write), *flags]
    process = subprocess.Popen(command, pass_fds=(write,), stderr=subprocess.PIPE)
    os.close(write)
    try:
        with os.fdopen(read) as file:
            line = file.readline()
        yield process, json.loads(line)["url"] if line else ""
    finally:
        process.kill()
        process.communicate(timeout=10)


def test_it_answers_from_a_state_directory_and_ends_with_0(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    bookinfo(tmp_path / "store" / "telemetry.sqlite")
    with query("--state", str(tmp_path), "--listen", "127.0.0.1:0") as (process, url):
        assert httpx.get(f"{url}/api/services").json()["total"] == 3
        assert httpx.get(f"{url}/healthz").json() == {"ready": True}
        counted = httpx.get(f"{url}/metrics").text
        assert 'remora_query_answers_total{asked="services",status="200"} 1.0' in counted
        assert httpx.get(f"{url}/api/services", headers={"host": "evil.example"}).status_code == 403
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_a_port_that_is_taken_is_one_line_and_1(tmp_path: Path) -> None:
    sock, (host, port) = bound()
    sock.listen()
    with query("--state", str(tmp_path), "--listen", f"{host}:{port}") as (process, url):
        _, said = process.communicate(timeout=20)
        assert (url, process.returncode) == ("", 1)
        assert f"cannot listen on {host}:{port}" in said.decode()
    sock.close()


def test_a_state_directory_that_is_not_there_is_one_line_and_1(tmp_path: Path) -> None:
    with query("--state", str(tmp_path / "none"), "--listen", "127.0.0.1:0") as (process, url):
        _, said = process.communicate(timeout=20)
        assert (url, process.returncode) == ("", 1)
        assert said.decode() == f"remora query: there is no state directory {tmp_path}/none\n"


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--listen", "127.0.0.1:0"], "one of --state and --elasticsearch"),
        (["--state", "s", "--elasticsearch", "http://localhost:9200"], "--state or --elasticsearch, not both"),
        (["--state", "s", "--listen", "0.0.0.0:16686"], "--token-file"),
        (["--state", "s", "--listen", "16686"], "HOST:PORT"),
        (["--state", "s", "--api-key-file", "k"], "--api-key-file is for --elasticsearch"),
        (["--state", "s", "--opensearch"], "--opensearch is for --elasticsearch"),
        (["--elasticsearch", "http://localhost:9200", "--username", "u"], "belong together"),
    ],
)
def test_flags_that_do_not_fit_are_refused(flags: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(flags)
    assert caught.value.code == 2
    assert problem in capsys.readouterr().err


def test_hosts_are_names_of_this_machine_with_and_without_port_and_those_allowed() -> None:
    options = parse(["--state", "s", "--allow-host", "Traces.example"])
    allowed = hosts(options, Address("127.0.0.1", 16686))
    assert {"localhost:16686", "127.0.0.1:16686", "[::1]:16686", "traces.example", "traces.example:16686"} <= allowed
    with_token = parse(["--state", "s", "--listen", "0.0.0.0:1", "--token-file", "t"])
    assert hosts(with_token, Address("0.0.0.0", 1)) == frozenset()
