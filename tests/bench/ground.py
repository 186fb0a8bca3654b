"""What all systems share: the upstream, certificates, the sinks for telemetry, a directory."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench.cases import CASES, LOAD_CORE
from tests.bench.certificates import Certificates, make_certificates
from tests.bench.processes import Process, free_port

_UPSTREAM = """\
worker_processes 1;
daemon off;
pid {directory}/upstream.pid;
error_log {directory}/upstream-error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  open_file_cache max=16;
  default_type application/octet-stream;
  client_body_temp_path {directory}/tmp; proxy_temp_path {directory}/tmp; fastcgi_temp_path {directory}/tmp;
  uwsgi_temp_path {directory}/tmp; scgi_temp_path {directory}/tmp;
  server {{
    listen 127.0.0.1:{port};
    root {directory}/www;
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Ground:
    """Shared by every system of a run."""

    directory: Path
    upstream_port: int
    otlp_port: int
    """Takes OTLP over gRPC in plaintext: Envoy's spans."""
    certificates: Certificates


@contextlib.contextmanager
def prepared(directory: Path, python: str) -> Iterator[Ground]:
    """Upstream and sink run within the block. Raises Failed."""
    directory.chmod(0o711)  # nginx's workers are somebody else where its master is root
    www = directory / "www"
    for each in (www, directory / "tmp"):
        each.mkdir(exist_ok=True)
    for case in CASES:
        (www / case.path[1:]).write_bytes(b"x" * case.body_bytes)
    upstream_port, otlp_port = free_port(), free_port()
    config = directory / "upstream.conf"
    config.write_text(_UPSTREAM.format(directory=directory, port=upstream_port))
    with contextlib.ExitStack() as stack:
        upstream = Process(
            ["nginx", "-c", str(config), "-p", str(directory), "-e", str(directory / "upstream-error.log")],
            core=LOAD_CORE,
            log=directory / "upstream.log",
        )
        stack.callback(upstream.stop)
        sink = Process(
            [python, "-P", "-m", "tests.bench.sink", "--otlp", f"127.0.0.1:{otlp_port}"],
            core=LOAD_CORE,
            log=directory / "sink.log",
        )
        stack.callback(sink.stop)
        upstream.wait_for_port(upstream_port)
        sink.wait_for_port(otlp_port)
        yield Ground(directory, upstream_port, otlp_port, make_certificates(directory))
