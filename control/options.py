"""`remora control`'s flags."""

import argparse
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from control.kubernetes.lease import LeaseTerms
from mesh.flags import Parser, add_log_level, add_supervision, between, port, whole
from mesh.state_directory import default_state

_EXAMPLE = """\
example:
  remora control --state ./mesh --ads-port 15012 --csr-port 15011 --rest-port 15014

It keeps the mesh's rules, workloads and certificate authority in the state directory, tells every
sidecar its configuration (xDS, --ads-port, mutual TLS), signs their certificates (--csr-port) and
answers the other subcommands (HTTPS, --rest-port). SIGTERM stops it; sidecars go on without it.

With --kubernetes rules, services and pods are the cluster's, the authority's key is its Secret
remora-ca, and --webhook-port answers the API server's questions; see docs/kubernetes.md.
"""

_TRUST_DOMAIN = re.compile(r"[a-z0-9]([-a-z0-9.]{0,253}[a-z0-9])?\Z")
_HOST = re.compile(r"[0-9A-Za-z.:\[\]-]+\Z")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")
_CLUSTER_ID = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?\Z")


OUTBOUND_POLICIES = ("ALLOW_ANY", "REGISTRY_ONLY")
"""Istio's `outboundTrafficPolicy`: whether connections to nobody of the mesh go on to where they were going."""


@dataclass(frozen=True, slots=True)
class KubernetesOptions:
    """`--kubernetes` and what belongs to it."""

    kubeconfig: str = ""
    """Empty: the pod's own service account."""
    context: str = ""
    """Of the kubeconfig; empty: its current one."""
    namespace: str = "remora-system"
    """Home of the mesh: its Lease, its Secret, its Services."""
    revision: str = ""
    """Empty: the control plane of namespaces that name none."""
    injector_settings: Path | None = None
    """YAML; None: the defaults."""
    webhook_port: int = 15017
    other_clusters: bool = False
    """Secrets of `namespace` with the label remora.io/cluster tell of more clusters."""
    console_edits_rules: bool = False
    """False: the console reads them."""
    lease: LeaseTerms = field(default_factory=LeaseTerms)

    @property
    def service(self) -> str:
        """Name of this revision's Service, and of its Lease."""
        return f"remora-control-{self.revision}" if self.revision else "remora-control"


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
    outbound_traffic_policy: str = "ALLOW_ANY"
    """One of OUTBOUND_POLICIES."""
    laptop: bool = False
    cluster_id: str = "Kubernetes"
    """Name of the cluster in metrics; `--laptop` has its own."""
    kubernetes: KubernetesOptions | None = None
    """None: the mesh of the state directory."""
    certificate_lifetime_s: float = 24 * 3600
    log_level: str = "info"
    log_json: bool = False
    ready_fd: int | None = None
    lifeline_fd: int | None = None


def parse(argv: Sequence[str], environ: Mapping[str, str] = os.environ) -> Options:
    """Exits with status 2 and a line on standard error where the flags are wrong."""
    parser = Parser("remora control", "Run the control plane.", _EXAMPLE)
    parser.add_argument(
        "--state", type=Path, metavar="DIR", default=default_state(environ), help="default: %(default)s"
    )
    parser.add_argument("--host", type=_host, default="127.0.0.1", help="address to listen on (default: %(default)s)")
    ports = parser.add_argument_group("ports (0: any)")
    ports.add_argument("--ads-port", type=port, default=15012, metavar="PORT", help="xDS and renewal (default: 15012)")
    ports.add_argument(
        "--csr-port", type=port, default=15011, metavar="PORT", help="first certificates (default: 15011)"
    )
    ports.add_argument("--rest-port", type=port, default=15014, metavar="PORT", help="the command's (default: 15014)")
    mesh = parser.add_argument_group("the mesh")
    mesh.add_argument(
        "--trust-domain", type=_trust_domain, default="cluster.local", metavar="NAME", help="default: %(default)s"
    )
    mesh.add_argument(
        "--trace-sampling",
        type=between(0, 100),
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
        "--outbound-traffic-policy",
        choices=OUTBOUND_POLICIES,
        default="ALLOW_ANY",
        help="where what is for nobody of the mesh goes: on, or nowhere (default: %(default)s)",
    )
    mesh.add_argument(
        "--certificate-lifetime",
        type=between(1, 7 * 24 * 3600),
        default=24 * 3600,
        metavar="SECONDS",
        dest="certificate_lifetime_s",
        help="of workloads' certificates, renewed at half of it (default: 86400)",
    )
    mesh.add_argument("--laptop", action="store_true", help="the mesh of one machine, without Kubernetes")
    _add_kubernetes(parser)
    process = parser.add_argument_group("the process")
    add_log_level(process)
    process.add_argument("--log-json", action="store_true", help="log JSON objects instead of lines")
    add_supervision(process, "a JSON object with the addresses")
    arguments = vars(parser.parse_args(argv))
    return Options(**arguments | {"kubernetes": _kubernetes(parser, arguments)})


def _add_kubernetes(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("in a cluster")
    group.add_argument("--kubernetes", action="store_true", help="serve the mesh of a Kubernetes cluster")
    group.add_argument(
        "--kubeconfig", default="", metavar="FILE", help="how to reach it (default: this pod's service account)"
    )
    group.add_argument("--context", default="", metavar="NAME", help="of the kubeconfig (default: its current one)")
    group.add_argument(
        "--namespace", type=_label, default="remora-system", metavar="NAME", help="of the mesh (default: %(default)s)"
    )
    group.add_argument(
        "--revision", type=_revision, default="", metavar="NAME", help="of this control plane, beside others"
    )
    group.add_argument(
        "--cluster-id", type=_cluster_id, default="Kubernetes", metavar="NAME", help="in metrics (default: %(default)s)"
    )
    group.add_argument(
        "--injector-settings", type=Path, metavar="FILE", help="YAML, as `remora inject --values` (default: none)"
    )
    group.add_argument(
        "--webhook-port", type=port, default=15017, metavar="PORT", help="injection and validation (default: 15017)"
    )
    group.add_argument(
        "--other-clusters",
        action="store_true",
        help="join the clusters that Secrets labelled remora.io/cluster tell of",
    )
    group.add_argument(
        "--console-edits-rules", action="store_true", help="let people who reach the console change rules, too"
    )
    terms = LeaseTerms()
    group.add_argument(
        "--lease-duration", type=whole(1, 600), default=terms.lease_s, metavar="S",
        help="until others take over from a leader that is gone (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--renew-deadline", type=between(0.05, 600), default=terms.renew_deadline_s, metavar="S",
        help="until a leader that cannot renew stops leading (default: %(default)g)",
    )  # fmt: skip
    group.add_argument(
        "--retry-period", type=between(0.05, 600), default=terms.retry_s, metavar="S",
        help="between attempts to lead (default: %(default)g)",
    )  # fmt: skip


def _kubernetes(parser: argparse.ArgumentParser, arguments: dict[str, Any]) -> KubernetesOptions | None:
    """Takes its flags out of `arguments`. Exits with status 2 where they contradict."""
    names = (
        "kubeconfig", "context", "namespace", "revision", "injector_settings", "webhook_port", "other_clusters",
        "console_edits_rules",
    )  # fmt: skip
    given = {name: arguments.pop(name) for name in names}
    terms = [arguments.pop(name) for name in ("lease_duration", "renew_deadline", "retry_period")]
    if not arguments.pop("kubernetes"):
        for name, value in given.items():
            if value != parser.get_default(name):
                parser.error(f"--{name.replace('_', '-')} is for --kubernetes; give both, or none")
        return None
    if arguments["laptop"]:
        parser.error("--kubernetes and --laptop exclude each other")
    if given["context"] and not given["kubeconfig"]:
        parser.error("--context is a context of --kubeconfig FILE; give both, or none")
    try:
        lease = LeaseTerms(*terms)
    except ValueError as error:
        parser.error(f"--lease-duration, --renew-deadline, --retry-period: {error}")
    return KubernetesOptions(**given, lease=lease)


def _trust_domain(text: str) -> str:
    if not _TRUST_DOMAIN.match(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no trust domain; write a DNS name in lower case")
    return text


def _host(text: str) -> str:
    if not _HOST.match(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no address")
    return text.strip("[]")


def _label(text: str) -> str:
    if not _LABEL.match(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no namespace; write a DNS label in lower case")
    return text


def _revision(text: str) -> str:
    if text and not _LABEL.match(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no revision; write a DNS label in lower case, such as 1-2")
    return "" if text == "default" else text


def _cluster_id(text: str) -> str:
    if not _CLUSTER_ID.match(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no cluster's name; write up to 63 of A-Z a-z 0-9 - _ .")
    return text
