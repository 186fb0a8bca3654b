"""The web console: a container beside the collector, whose store it reads, in its pod. It listens on loopback alone:
`kubectl port-forward` is the way in, and whoever may do that may read the token in its file."""

from typing import Any

from remora.install.expressions import Ref
from remora.install.names import CONSOLE_PORT
from remora.install.parts import pods

WANTED = Ref("console.enabled")
URL_FILE = "/tmp/console.url"  # noqa: S108 - the pod's own
"""Where its address is, token included: that belongs in no log."""


def container() -> dict[str, Any]:
    """Rules and proxies are the control plane's pods' to tell; here they are said to be elsewhere."""
    return pods.container(
        "console",
        [
            "console",
            f"--state={pods.STATE}",
            f"--listen=127.0.0.1:{CONSOLE_PORT}",
            f"--url-file={URL_FILE}",
        ],
        resources="console.resources",
        ports=[{"name": "http-console", "containerPort": CONSOLE_PORT}],
        volumeMounts=[
            {"name": "state", "mountPath": pods.STATE, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the container's own
        ],
        # Its framework makes a directory where it stands.
        workingDir="/tmp",  # noqa: S108
    )
