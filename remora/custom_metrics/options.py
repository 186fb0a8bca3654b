"""`remora custom-metrics`' flags."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from mesh.flags import Parser, add_log_level, add_supervision, between, host_port

_EXAMPLE = """\
example: beside the collector in its pod, or with a Prometheus that scrapes the mesh

  remora custom-metrics --listen 0.0.0.0:6443 --state /var/lib/remora
  remora custom-metrics --listen 0.0.0.0:6443 --prometheus http://prometheus.monitoring:9090

Then a HorizontalPodAutoscaler may name remora_requests_per_second, remora_error_ratio,
remora_latency_p50_milliseconds and remora_latency_p99_milliseconds of pods, workloads and services:
docs/autoscaling.md. Only the API server's aggregation layer is answered.
"""


@dataclass(frozen=True, slots=True)
class Options:
    """Parsed and checked. One of `state` and `prometheus` is given."""

    host: str
    port: int
    state: Path | None
    prometheus: str | None
    window_s: float
    service: str
    kubeconfig: str
    context: str
    log_level: str
    ready_fd: int | None
    lifeline_fd: int | None


def parse(argv: Sequence[str]) -> Options:
    """Exits with status 2 and a line on standard error where the flags are wrong."""
    parser = Parser(
        "remora custom-metrics",
        "Serve the mesh's metrics to the cluster's autoscalers (custom.metrics.k8s.io).",
        _EXAMPLE,
    )
    parser.add_argument(
        "--listen",
        type=host_port,
        default=("0.0.0.0", 6443),  # noqa: S104 - a pod's own network
        metavar="HOST:PORT",
        help="default: 0.0.0.0:6443",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--state", type=Path, metavar="DIR", help="state directory of a collector: its embedded store")
    source.add_argument("--prometheus", type=_url, metavar="URL", help="a Prometheus that scrapes the mesh")
    parser.add_argument(
        "--window", type=between(10, 3600), default=60.0, dest="window_s", metavar="SECONDS",
        help="what rates and quantiles are taken over (default: 60)",
    )  # fmt: skip
    parser.add_argument(
        "--service", default="remora-custom-metrics.remora-system.svc", metavar="NAME",
        help="DNS name by which the API server connects (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--kubeconfig", default="", metavar="FILE", help="default: the pod's own cluster")
    parser.add_argument("--context", default="", metavar="NAME", help="of the kubeconfig")
    add_log_level(parser)
    add_supervision(parser, '{"address"}')
    given = vars(parser.parse_args(argv))
    host, port = given.pop("listen")
    return Options(host=host, port=port, **given)


def _url(text: str) -> str:
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no URL: {error}") from error
    if (
        url.scheme not in ("http", "https")
        or not url.hostname
        or url.username
        or url.query
        or url.fragment
        or port == 0
    ):
        raise argparse.ArgumentTypeError(f"{text!r} is not http(s)://HOST[:PORT][/PATH]")
    return text.rstrip("/") + "/"
