"""What all systems share: the upstreams, certificates, the sinks for telemetry, a directory."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.bench.cases import GRPC_PATH, LOAD_CORE, Speech
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
_SIZES = {"small": 100, "large": 10 * 1024}
_MESSAGE = b"\0" + (100).to_bytes(4, "big") + b"x" * 100
"""A gRPC message of 100 bytes, not compressed, in its frame.
https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md"""


@dataclass(frozen=True, slots=True)
class Ground:
    """Shared by every system of a run."""

    directory: Path
    ports: Mapping[Speech, int]
    """Of the upstream that speaks it."""
    otlp_port: int
    """Takes OTLP over gRPC in plaintext: Envoy's spans."""
    certificates: Certificates
    message: Path
    """A gRPC message in its frame, for requests."""


@contextlib.contextmanager
def prepared(directory: Path, python: str) -> Iterator[Ground]:
    """Upstream and sink run within the block. Raises Failed."""
    directory.chmod(0o711)  # nginx's workers are somebody else where its master is root
    www = directory / "www"
    for each in (www, directory / "tmp", www / Path(GRPC_PATH[1:]).parent):
        each.mkdir(exist_ok=True)
    for name, size in _SIZES.items():
        (www / name).write_bytes(b"x" * size)
    message = www / GRPC_PATH[1:]
    message.write_bytes(_MESSAGE)
    ports = {speech: free_port() for speech in Speech}
    otlp_port = free_port()
    with contextlib.ExitStack() as stack:
        started = {
            ports[Speech.HTTP1]: _nginx(directory, ports[Speech.HTTP1]),
            ports[Speech.HTTP2]: _nghttpd(directory, ports[Speech.HTTP2], "http2"),
            # As far as a client can tell, gRPC: any request is answered with a message and with trailers that say OK.
            # A gRPC library's server would take longer than any of the proxies.
            ports[Speech.GRPC]: _nghttpd(directory, ports[Speech.GRPC], "grpc", "--trailer=grpc-status: 0"),
        }
        for port, module, *flags in (
            (ports[Speech.TCP], "stream", "upstream", str(ports[Speech.TCP])),
            (otlp_port, "sink", "--otlp", f"127.0.0.1:{otlp_port}"),
        ):
            argv = [python, "-P", "-m", f"tests.bench.{module}", *flags]
            started[port] = Process(argv, core=LOAD_CORE, log=directory / f"{module}.log")
        for process in started.values():
            stack.callback(process.stop)
        for port, process in started.items():
            process.wait_for_port(port)
        yield Ground(directory, ports, otlp_port, make_certificates(directory), message)


def _nginx(directory: Path, port: int) -> Process:
    """HTTP/1.1."""
    config = directory / "upstream.conf"
    config.write_text(_UPSTREAM.format(directory=directory, port=port))
    return Process(
        ["nginx", "-c", str(config), "-p", str(directory), "-e", str(directory / "upstream-error.log")],
        core=LOAD_CORE,
        log=directory / "upstream.log",
    )


def _nghttpd(directory: Path, port: int, name: str, *flags: str) -> Process:
    """HTTP/2 without TLS."""
    types = directory / "mime.types"
    types.write_text("application/grpc grpc\n")
    argv = [
        "nghttpd",
        "--no-tls",
        "--address=127.0.0.1",
        f"--htdocs={directory / 'www'}",
        f"--mime-types-file={types}",
        "--max-concurrent-streams=1000",
        *flags,
    ]
    return Process([*argv, str(port)], core=LOAD_CORE, log=directory / f"{name}.log")
