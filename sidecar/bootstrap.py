"""The sidecar's flags: parsed once, checked here, a frozen value from then on. Files named by flags are read later."""

import argparse
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from mesh.addresses import is_loopback, parse_host_port
from mesh.flags import (
    Parser,
    add_log_level,
    add_supervision,
    between,
    checked,
    descriptor,
    parse_descriptor,
    port,
    whole,
)
from mesh.spiffe import SpiffeId
from sidecar.config.endpoint import Address
from sidecar.config.limits import MIN_MEMORY_BYTES
from sidecar.pod import Pod

MAX_CONCURRENCY = 64
MAX_CONNECTIONS = 10_000_000

_NODE_ID = re.compile(r"[\x21-\x7e]{1,253}\Z")
_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?\Z")
_LABEL_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?\Z")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\Z")
_EXAMPLE = """\
example: a sidecar beside reviews v1 in namespace default; control plane and collector on this machine

  remora proxy --node-id sidecar~127.0.0.1~reviews-v1.default~default.svc.cluster.local \\
      --workload reviews-v1 --namespace default --service reviews --version v1 \\
      --identity spiffe://cluster.local/ns/default/sa/bookinfo-reviews \\
      --ads 127.0.0.1:15012 --csr 127.0.0.1:15011 --root root.pem --token-file token \\
      --listen 127.0.0.1:15006 --listen 127.0.0.1:15001 --admin 127.0.0.1:15000 --metrics 127.0.0.1:15020 \\
      --collector-forward 127.0.0.1:24224 --collector-otlp 127.0.0.1:4317

The listeners themselves come from the control plane; --listen and --listen-fd only open their sockets early.
SIGTERM and SIGINT drain and end with exit status 0.
"""


@dataclass(frozen=True, slots=True)
class Inherited:
    """A socket that the parent bound; its address is asked of the kernel."""

    fd: int


Place = Address | Inherited
"""Where to listen: `HOST:PORT` (port 0: any) or `fd:N`."""

_ANY_LOOPBACK_PORT = Address("127.0.0.1", 0)


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Everything that the agent knows before it has spoken to anyone."""

    node_id: str
    workload: str
    namespace: str
    identity: SpiffeId
    ads: Address
    csr: Address
    root: Path
    """The mesh's trust anchors, PEM."""
    token_file: Path
    """Proof for the first certificate; mode 0600. Read again for every attempt: Kubernetes replaces it."""
    service: str | None = None
    version: str | None = None
    kind: str = "sidecar"
    """"sidecar" or "gateway"."""
    cluster_id: str = "laptop"
    listen: tuple[Place, ...] = ()
    admin: Place = _ANY_LOOPBACK_PORT
    metrics: Place = _ANY_LOOPBACK_PORT
    readiness: Place | None = None
    """None: only the admin and metrics endpoints tell."""
    collector_forward: Address | None = None
    """None: access records are not kept."""
    collector_otlp: Address | None = None
    app_metrics: str | None = None
    """URL of the application's own metrics, merged into ours."""
    concurrency: int = 1
    """Worker processes."""
    max_connections: int | None = None
    """Of clients, for each worker; 0: no limit; None: three quarters of the descriptors that it may open."""
    max_listener_connections: int = 0
    """The same for each listener."""
    memory_limit_bytes: int | None = None
    """Of each worker; 0: no limit; None: by the cgroup's, if that has one."""
    dns_port: int | None = None
    """Where the application's DNS questions are answered, on loopback addresses; None: nowhere."""
    addons: Path | None = None
    """Directory of the mitmproxy addon scripts that rules may name; None: the sidecar runs none."""
    drain_deadline_s: float = 5.0
    labels: tuple[tuple[str, str], ...] = ()
    log_level: str = "info"
    log_json: bool = False
    ready_fd: int | None = None
    lifeline_fd: int | None = None
    pod: Pod | None = None
    """Where it runs in one: told by the environment, see sidecar.agent.pod_environment."""


def parse(argv: list[str]) -> Bootstrap:
    """The flags as a value. Wrong use raises SystemExit(2) after one line that says what; --help, SystemExit(0)."""
    arguments = vars(_parser().parse_args(argv))
    arguments["listen"] = tuple(arguments["listen"] or ())
    del arguments["pod"]  # a pod's flags are here already: sidecar.agent.pod_environment has read them
    return Bootstrap(**arguments)


def parse_address(text: str) -> Address:
    """`HOST:PORT`, `[V6]:PORT`. Raises ValueError."""
    return Address(*parse_host_port(text))


def _parse_place(text: str) -> Place:
    if text.startswith("fd:"):
        return Inherited(parse_descriptor(text[3:]))
    return parse_address(text)


def _parse_admin(text: str) -> Place:
    place = _parse_place(text)
    if isinstance(place, Address) and not is_loopback(place.host):
        raise ValueError(f"{text!r}: the admin endpoints show configuration and stop the proxy; use a loopback address")
    return place


def _parse_remote(text: str) -> Address:
    address = parse_address(text)
    if address.port == 0:
        raise ValueError(f"{text!r}: port 0 cannot be connected to")
    return address


def _parse_labels(text: str) -> tuple[tuple[str, str], ...]:
    labels: dict[str, str] = {}
    for pair in filter(None, text.split(",")):
        key, equals, value = pair.partition("=")
        if not equals or not _LABEL_KEY.match(key) or (value and not _LABEL_VALUE.match(value)):
            raise ValueError(f"{pair!r} is not KEY=VALUE as Kubernetes labels are written")
        if key in labels:
            raise ValueError(f"label {key!r} is given twice")
        labels[key] = value
    return tuple(sorted(labels.items()))


def _parse_url(text: str) -> str:
    url = urlsplit(text)
    if url.scheme != "http" or not url.hostname or url.username or url.fragment:
        raise ValueError(f"{text!r} is not http://HOST[:PORT]/PATH")
    _ = url.port  # raises ValueError for a port that is none
    return text


def _matching(pattern: re.Pattern[str], what: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not pattern.match(text):
            raise ValueError(f"{text!r} is not {what}")
        return text

    return read


_SIZE = re.compile(r"([0-9]{1,9})(KiB|MiB|GiB|)\Z")
_UNITS = {"": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


def _parse_memory(text: str) -> int:
    match = _SIZE.match(text)
    if match is None:
        raise ValueError(f"{text!r} is not a number of bytes, KiB, MiB or GiB, e.g. 256MiB")
    value = int(match[1]) * _UNITS[match[2]]
    if 0 < value < MIN_MEMORY_BYTES:
        raise ValueError(
            f"{text} is less than a worker needs at rest; use {MIN_MEMORY_BYTES // 1024**2}MiB or more, or 0"
        )
    return value


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        "remora proxy",
        "Run one sidecar or gateway: an agent, which talks to the control plane and the collector, and the "
        "worker processes that forward the traffic.",
        _EXAMPLE,
    )
    parser.add_argument(
        "--pod",
        action="store_true",
        help="in a Kubernetes pod: the flags that are required, and more, come from the environment and files that the "
        "injector has provided (docs/pods.md); flags that are given win",
    )
    _add_identity_flags(parser.add_argument_group("who this is"))
    _add_peer_flags(parser.add_argument_group("whom it talks to (mutual TLS with certificates of the mesh)"))
    _add_listening_flags(parser.add_argument_group("where it listens (HOST:PORT, port 0 for any, or fd:N)"))
    _add_running_flags(parser.add_argument_group("how it runs"))
    return parser


_Group = argparse._ArgumentGroup


def _add_identity_flags(group: _Group) -> None:
    name = checked(_matching(_NAME, "a lower-case DNS name"))
    group.add_argument(
        "--node-id",
        required=True,
        metavar="ID",
        type=checked(_matching(_NODE_ID, "1 to 253 printable characters without spaces")),
        help="unique name for the control plane, as Istio writes it: sidecar~IP~WORKLOAD.NAMESPACE~DOMAIN",
    )
    group.add_argument("--workload", required=True, metavar="NAME", type=name, help="the workload's name")
    group.add_argument("--namespace", required=True, metavar="NS", type=name, help="and its namespace")
    group.add_argument("--service", metavar="S", type=name, help="service it belongs to (metrics' canonical service)")
    group.add_argument(
        "--version", metavar="V", type=checked(_matching(_LABEL_VALUE, "a label's value")), help="its version, e.g. v1"
    )
    group.add_argument(
        "--identity",
        required=True,
        metavar="URI",
        type=checked(SpiffeId.parse),
        help="spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT, which its certificate must carry",
    )
    group.add_argument(
        "--labels", default=(), metavar="K=V,...", type=checked(_parse_labels), help="labels of the workload"
    )
    group.add_argument("--cluster-id", default="laptop", metavar="ID", help="cluster's name (default: %(default)s)")
    group.add_argument(
        "--kind", choices=("sidecar", "gateway"), default="sidecar", help="beside a workload, or the mesh's edge"
    )


def _add_peer_flags(group: _Group) -> None:
    remote = checked(_parse_remote)
    group.add_argument("--ads", required=True, metavar="HOST:PORT", type=remote, help="control plane: configuration")
    group.add_argument("--csr", required=True, metavar="HOST:PORT", type=remote, help="and first certificate")
    group.add_argument("--root", required=True, metavar="FILE", type=Path, help="the mesh's trust anchors, PEM")
    group.add_argument(
        "--token-file",
        required=True,
        metavar="FILE",
        type=Path,
        help="token for the first certificate; mode 0640 or less",
    )
    group.add_argument("--collector-forward", metavar="HOST:PORT", type=remote, help="where access records go")
    group.add_argument("--collector-otlp", metavar="HOST:PORT", type=remote, help="where spans go (OTLP/gRPC)")
    group.add_argument(
        "--app-metrics", metavar="URL", type=checked(_parse_url), help="application's metrics, merged into ours"
    )


def _add_listening_flags(group: _Group) -> None:
    place = checked(_parse_place)
    group.add_argument(
        "--listen",
        action="append",
        metavar="HOST:PORT",
        type=checked(parse_address),
        help="open this address at once, before any configuration; repeatable",
    )
    group.add_argument(
        "--listen-fd",
        action="append",
        dest="listen",
        metavar="N",
        type=lambda text: Inherited(descriptor(text)),
        help="serve on this inherited socket; repeatable",
    )
    group.add_argument(
        "--admin",
        default=_ANY_LOOPBACK_PORT,
        metavar="PLACE",
        type=checked(_parse_admin),
        help="admin endpoints; loopback only",
    )
    group.add_argument("--metrics", default=_ANY_LOOPBACK_PORT, metavar="PLACE", type=place, help="Prometheus metrics")
    group.add_argument(
        "--dns-port",
        metavar="PORT",
        type=port,
        help="answer DNS at this port of loopback addresses: names of the mesh here, others by the servers of "
        "/etc/resolv.conf (default: DNS is not served)",
    )
    group.add_argument("--readiness", metavar="PLACE", type=place, help="GET /healthz/ready for the kubelet")


def _add_running_flags(group: _Group) -> None:
    group.add_argument(
        "--concurrency",
        default=1,
        metavar="N",
        type=whole(1, MAX_CONCURRENCY),
        help="worker processes (default: %(default)s)",
    )
    group.add_argument(
        "--max-connections",
        metavar="N",
        type=whole(0, MAX_CONNECTIONS),
        help="connections of clients to each worker; more are closed at once; 0: no limit (default: 3/4 of the "
        "descriptors that it may open)",
    )
    group.add_argument(
        "--max-listener-connections",
        default=0,
        metavar="N",
        type=whole(0, MAX_CONNECTIONS),
        help="the same for each listener (default: no limit)",
    )
    group.add_argument(
        "--memory-limit",
        dest="memory_limit_bytes",
        metavar="BYTES",
        type=checked(_parse_memory),
        help="resident memory of each worker, e.g. 256MiB: near it new requests get 503 until it falls; 0: no limit "
        "(default: three quarters of the cgroup's limit, divided among the workers)",
    )
    group.add_argument(
        "--addons",
        metavar="DIR",
        type=Path,
        help="mitmproxy addon scripts in this directory may be named by rules, which then run them (default: none may)",
    )
    group.add_argument(
        "--drain-deadline",
        default=5.0,
        dest="drain_deadline_s",
        metavar="S",
        type=between(0, 3600),
        help="seconds that requests in flight get to finish when told to stop (default: %(default)g)",
    )
    add_log_level(group)
    group.add_argument("--log-json", action="store_true", help="log lines as JSON")
    add_supervision(group, '{"node_id", "admin", "metrics"}')
