"""`remora control`'s flags."""

import argparse
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mesh.state_directory import default_state

_EXAMPLE = """\
example:
  remora control --state ./mesh --ads-port 15012 --csr-port 15011 --rest-port 15014

It keeps the mesh's rules, workloads and certificate authority in the state directory, tells every
sidecar its configuration (xDS, --ads-port, mutual TLS), signs their certificates (--csr-port) and
answers the other subcommands (HTTPS, --rest-port). SIGTERM stops it; sidecars go on without it.
"""

_TRUST_DOMAIN = re.compile(r"[a-z0-9]([-a-z0-9.]{0,253}[a-z0-9])?\Z")
_HOST = re.compile(r"[0-9A-Za-z.:\[\]-]+\Z")


@dataclass(frozen=True, slots=True)
class Options:
    """Parsed and checked. Port 0 is any."""

    state: Path
    host: str = "127.0.0.1"
    ads_port: int = 15012
    csr_port: int = 15011
    rest_port: int = 15014
    trust_domain: str = "cluster.local"
    trace_sampling_percent: float = 1.0
    access_log: bool = True
    laptop: bool = False
    certificate_lifetime_s: float = 24 * 3600
    log_level: str = "info"
    log_json: bool = False
    ready_fd: int | None = None
    lifeline_fd: int | None = None


def parse(argv: Sequence[str], environ: Mapping[str, str] = os.environ) -> Options:
    """Exits with status 2 and a line on standard error where the flags are wrong."""
    parser = argparse.ArgumentParser(
        prog="remora control",
        description="Run the control plane.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--state", type=Path, metavar="DIR", default=default_state(environ), help="default: %(default)s"
    )
    parser.add_argument("--host", type=_host, default="127.0.0.1", help="address to listen on (default: %(default)s)")
    ports = parser.add_argument_group("ports (0: any)")
    ports.add_argument("--ads-port", type=_port, default=15012, metavar="PORT", help="xDS and renewal (default: 15012)")
    ports.add_argument(
        "--csr-port", type=_port, default=15011, metavar="PORT", help="first certificates (default: 15011)"
    )
    ports.add_argument("--rest-port", type=_port, default=15014, metavar="PORT", help="the command's (default: 15014)")
    mesh = parser.add_argument_group("the mesh")
    mesh.add_argument(
        "--trust-domain", type=_trust_domain, default="cluster.local", metavar="NAME", help="default: %(default)s"
    )
    mesh.add_argument(
        "--trace-sampling",
        type=_percent,
        default=1.0,
        metavar="PERCENT",
        dest="trace_sampling_percent",
        help="of requests that arrive without a decision (default: 1.0)",
    )
    mesh.add_argument(
        "--access-log",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="have sidecars record every request (default: yes)",
    )
    mesh.add_argument(
        "--certificate-lifetime",
        type=_seconds,
        default=24 * 3600,
        metavar="SECONDS",
        dest="certificate_lifetime_s",
        help="of workloads' certificates, renewed at half of it (default: 86400)",
    )
    mesh.add_argument("--laptop", action="store_true", help="the mesh of one machine, without Kubernetes")
    process = parser.add_argument_group("the process")
    process.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), default="info", help="default: info"
    )
    process.add_argument("--log-json", action="store_true", help="log JSON objects instead of lines")
    process.add_argument(
        "--ready-fd", type=_fd, metavar="N", help="write a JSON object with the addresses there once ready"
    )
    process.add_argument("--lifeline-fd", type=_fd, metavar="N", help="stop when this inherited pipe closes")
    return Options(**vars(parser.parse_args(argv)))


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; write 0 to 65535")
    return int(text)


def _fd(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no file descriptor")
    return int(text)


def _percent(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is no percentage; write 0 to 100")
    return value


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 1 <= value <= 7 * 24 * 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is no lifetime; write 1 to 604800 seconds")
    return value


def _trust_domain(text: str) -> str:
    if not _TRUST_DOMAIN.match(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no trust domain; write a DNS name in lower case")
    return text


def _host(text: str) -> str:
    if not _HOST.match(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no address")
    return text.strip("[]")
