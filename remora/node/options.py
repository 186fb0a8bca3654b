"""`remora node-agent`'s flags."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_EXAMPLE = """\
It is the DaemonSet of `remora install --set cni.enabled=true`: pods get no privileged init container then, and
remora-validation in its place, which waits for this agent. docs/capture.md says how it works.

It needs to be root, in the node's process namespace (hostPID), with the capabilities SYS_ADMIN, SYS_PTRACE, NET_ADMIN
and NET_RAW, and to list and watch pods.
"""


@dataclass(frozen=True, slots=True)
class Options:
    """Parsed and checked."""

    node: str
    proc: Path
    host: str
    port: int
    kubeconfig: str
    context: str
    log_level: str
    ready_fd: int | None
    lifeline_fd: int | None


def parse(argv: Sequence[str], environment: Mapping[str, str]) -> Options:
    """Exits with status 2 and a line on standard error where the flags are wrong."""
    parser = argparse.ArgumentParser(
        prog="remora node-agent",
        description="Capture the traffic of this node's pods for their sidecars: no pod needs privileges for it.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--node", default=environment.get("NODE_NAME", ""), metavar="NAME", help="whose pods (default: $NODE_NAME)"
    )
    parser.add_argument(
        "--proc", type=Path, default=Path("/proc"), metavar="DIR", help="the node's processes (default: /proc)"
    )
    parser.add_argument(
        "--listen",
        type=_listen,
        default=("0.0.0.0", 15020),  # noqa: S104 - a pod's own network
        metavar="HOST:PORT",
        help="metrics and health (default: 0.0.0.0:15020)",
    )
    parser.add_argument("--kubeconfig", default="", metavar="FILE", help="default: the pod's own cluster")
    parser.add_argument("--context", default="", metavar="NAME", help="of the kubeconfig")
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    parser.add_argument("--ready-fd", type=int, metavar="N", help='write {"address"} here once the pods are known')
    parser.add_argument("--lifeline-fd", type=int, metavar="N", help="stop when this inherited pipe closes")
    given = vars(parser.parse_args(argv))
    if not given["node"]:
        parser.error("--node: which node is this? Give its name, or NODE_NAME by the downward API")
    if not given["proc"].is_dir():
        parser.error(f"--proc: {given['proc']} is no directory")
    host, port = given.pop("listen")
    return Options(host=host, port=port, **given)


def _listen(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host.strip("[]"), int(port)
