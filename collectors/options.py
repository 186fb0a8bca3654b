"""The flags of `remora collect`."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mesh.addresses import is_loopback
from mesh.flags import Parser, add_log_level, add_supervision, host_port
from mesh.state_directory import default_state

Address = tuple[str, int]

_EXAMPLE = """\
example, beside a control plane that keeps its state in the same directory:

  remora collect --state ~/.local/state/remora --control 127.0.0.1:15011 --control-ads 127.0.0.1:15012 \\
      --root ~/.local/state/remora/ca/root.pem --token-file /run/remora/collector.token

Senders speak the Fluentd forward protocol or OTLP over mutual TLS with certificates of the mesh. What they send is
answered once it is on disk in STATE/store/telemetry.sqlite. Stop it with SIGTERM; it exits 0.

With --config the file says which receivers there are besides, what is done with records, and which back ends get them
(docs/collectors.md); the collector may then be outside of any mesh:

  remora collect --check --config collector.yaml
  remora collect --state /var/lib/remora --config collector.yaml
"""

_MESH_LISTENERS = {
    "forward": ("127.0.0.1", 24224),
    "otlp_grpc": ("127.0.0.1", 4317),
    "otlp_http": ("127.0.0.1", 4318),
}
_RETENTION_HOURS = 24.0
_MAX_STORE_MIB = 1024


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line said."""

    state: Path
    forward: Address
    otlp_grpc: Address
    otlp_http: Address
    health: Address
    plaintext_forward: Address | None
    node_metrics: bool
    control: str | None
    """None: outside of any mesh; there are only the receivers of the settings file."""
    control_ads: str | None
    follow_targets: bool
    """Whether the list of targets is the control plane's to tell; else it is written here by somebody else."""
    root: Path
    token_file: Path
    config: Path | None
    check: bool
    retention_hours: float
    max_store_mib: int
    scrape_interval_s: float
    ready_fd: int | None
    lifeline_fd: int | None
    log_level: str

    @property
    def listens_on(self) -> tuple[tuple[str, Address], ...]:
        """What the flags bind, by flag."""
        found = {"--health": self.health, "--plaintext-forward": self.plaintext_forward}
        if self.control is not None:
            found |= {"--forward": self.forward, "--otlp-grpc": self.otlp_grpc, "--otlp-http": self.otlp_http}
        return tuple((flag, address) for flag, address in found.items() if address is not None)


def parse(argv: Sequence[str]) -> Options:
    """Raises SystemExit(2) with a message on standard error for wrong flags."""
    parser = Parser(
        "remora collect",
        "Receive access logs, traces and metrics of the mesh and keep them in an embedded store.",
        _EXAMPLE,
    )
    parser.add_argument(
        "--state",
        type=Path,
        default=None,
        metavar="DIR",
        help="state directory, that of the mesh or of its own (default: $REMORA_STATE, else ~/.local/state/remora)",
    )
    settings = parser.add_argument_group("settings file")
    settings.add_argument("--config", type=Path, default=None, metavar="FILE",
                          help="receivers, processors, routes, exporters; YAML (default: the store alone)")  # fmt: skip
    settings.add_argument(
        "--check",
        action="store_true",
        help="only say what is wrong with FILE, by itself and with the other flags; exit 1 if anything",
    )
    listen = parser.add_argument_group("listening (port 0 means any)")
    listen.add_argument("--forward", type=host_port, default=None, metavar="HOST:PORT",
                        help="Fluentd forward protocol, mutual TLS (default: 127.0.0.1:24224)")  # fmt: skip
    listen.add_argument("--otlp-grpc", type=host_port, default=None, metavar="HOST:PORT",
                        help="OTLP/gRPC, mutual TLS (default: 127.0.0.1:4317)")  # fmt: skip
    listen.add_argument("--otlp-http", type=host_port, default=None, metavar="HOST:PORT",
                        help="OTLP/HTTP, mutual TLS (default: 127.0.0.1:4318)")  # fmt: skip
    listen.add_argument("--health", type=host_port, default="127.0.0.1:0", metavar="HOST:PORT",
                        help="GET /healthz and /metrics, plain HTTP (default: %(default)s)")  # fmt: skip
    listen.add_argument("--plaintext-forward", type=_loopback, default=None, metavar="HOST:PORT",
                        help="forward protocol without TLS, on a loopback address only; off by default")  # fmt: skip
    listen.add_argument("--node-metrics", action="store_true",
                        help="GET /metrics/node on the health port: this machine's CPU, memory, disks and network "
                        "under node exporter's names, for where none runs")  # fmt: skip
    identity = parser.add_argument_group("identity in a mesh; without --config needed")
    identity.add_argument("--control", type=_host_port, default=None, metavar="HOST:PORT",
                          help="the control plane's CSR port, for the first certificate")  # fmt: skip
    identity.add_argument("--control-ads", type=_host_port, default=None, metavar="HOST:PORT",
                          help="its ADS port, for renewal with the certificate as proof")  # fmt: skip
    identity.add_argument("--follow-targets", action="store_true",
                          help="get the list of targets from --control-ads and keep it as STATE/targets.json: for a "
                          "state directory that is not the control plane's")  # fmt: skip
    identity.add_argument("--root", type=Path, default=None, metavar="FILE", help="the mesh's root certificates, PEM")
    identity.add_argument("--token-file", type=Path, default=None, metavar="FILE",
                          help="bearer token for the first certificate; mode 0640 or less")  # fmt: skip
    kept = parser.add_argument_group("what the embedded store keeps (with --config: its exporter says)")
    kept.add_argument("--retention-hours", type=_positive, default=None, metavar="H",
                      help="older records are deleted (default: 24)")  # fmt: skip
    kept.add_argument("--max-store-mib", type=int, default=None, metavar="M",
                      help="beyond it the oldest records are deleted (default: 1024)")  # fmt: skip
    kept.add_argument("--scrape-interval", type=_positive, default=2.0, metavar="S", dest="scrape_interval_s",
                      help="seconds between scrapes of STATE/targets.json (default: %(default)g)")  # fmt: skip
    process = parser.add_argument_group("process")
    add_supervision(process, "a JSON object with the addresses")
    add_log_level(process)
    parsed = parser.parse_args(argv)
    _judge(parser, parsed)
    return Options(**vars(parsed))


def _judge(parser: argparse.ArgumentParser, parsed: argparse.Namespace) -> None:
    """What one flag says of another; and the defaults that depend on it."""
    if parsed.check and parsed.config is None:
        parser.error("argument --check: needs --config FILE")
    parsed.state = parsed.state or default_state()
    mesh = {"--control": parsed.control, "--root": parsed.root, "--token-file": parsed.token_file}
    missing = [flag for flag, value in mesh.items() if value is None]
    if missing and (parsed.config is None or len(missing) < len(mesh)):
        parser.error(f"the following arguments are required: {', '.join(missing)}")
    if parsed.follow_targets and parsed.control_ads is None:
        parser.error("argument --follow-targets: needs --control-ads HOST:PORT")
    for name, default in _MESH_LISTENERS.items():
        if parsed.control is None and getattr(parsed, name) is not None:
            flag = name.replace("_", "-")
            parser.error(f"argument --{flag}: needs --control; outside of a mesh write a receiver into the settings")
        setattr(parsed, name, getattr(parsed, name) or default)
    for name in ("retention_hours", "max_store_mib"):
        if parsed.config is not None and getattr(parsed, name) is not None:
            parser.error(f"argument --{name.replace('_', '-')}: with --config, the exporter of type store says that")
    parsed.root = parsed.root or Path()
    parsed.token_file = parsed.token_file or Path()
    parsed.retention_hours = parsed.retention_hours or _RETENTION_HOURS
    if parsed.max_store_mib is None:
        parsed.max_store_mib = _MAX_STORE_MIB
    if parsed.max_store_mib < 8:
        parser.error("argument --max-store-mib: at least 8")


def _host_port(text: str) -> str:
    host_port(text)
    return text


def _loopback(text: str) -> Address:
    host, port = host_port(text)
    if not is_loopback(host):
        raise argparse.ArgumentTypeError(f"{host} is not a loopback address; without TLS anything else is refused")
    return host, port


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return value
