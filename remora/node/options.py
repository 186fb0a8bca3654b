"""`remora node-agent`'s flags."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mesh.flags import Parser, add_log_level, add_supervision, host_port

_EXAMPLE = """\
example, on a node whose kubelet knows it by the name worker-1:

  remora node-agent --node worker-1 --kubeconfig /etc/remora/node-agent.kubeconfig

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
    parser = Parser(
        "remora node-agent",
        "Capture the traffic of this node's pods for their sidecars: no pod needs privileges for it.",
        _EXAMPLE,
    )
    parser.add_argument(
        "--node", default=environment.get("NODE_NAME", ""), metavar="NAME", help="whose pods (default: $NODE_NAME)"
    )
    parser.add_argument(
        "--proc", type=Path, default=Path("/proc"), metavar="DIR", help="the node's processes (default: /proc)"
    )
    parser.add_argument(
        "--listen",
        type=host_port,
        default=("0.0.0.0", 15020),  # noqa: S104 - a pod's own network
        metavar="HOST:PORT",
        help="metrics and health (default: 0.0.0.0:15020)",
    )
    parser.add_argument("--kubeconfig", default="", metavar="FILE", help="default: the pod's own cluster")
    parser.add_argument("--context", default="", metavar="NAME", help="of the kubeconfig")
    add_log_level(parser)
    add_supervision(parser, '{"address"}')
    given = vars(parser.parse_args(argv))
    if not given["node"]:
        parser.error("--node: which node is this? Give its name, or NODE_NAME by the downward API")
    if not given["proc"].is_dir():
        parser.error(f"--proc: {given['proc']} is no directory")
    host, port = given.pop("listen")
    return Options(host=host, port=port, **given)
