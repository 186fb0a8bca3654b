"""The web console: a container beside the collector, whose store it reads, in its pod. It listens on loopback alone:
`kubectl port-forward` is the way in, and whoever may do that may read the token in its file.

To the control plane it proves itself by a token of the pod's account that is made for this alone, and that no other
container of the pod sees: what serves the network cannot speak as the console."""

from typing import Any

from remora.install.expressions import All, Concat, Node, Ref
from remora.install.names import (
    CONSOLE_AUDIENCE,
    CONSOLE_PORT,
    CONSOLE_TOKEN_SECONDS,
    CONTROL_HOST,
    FIRST,
    REST_PORT,
    ROOT_DIRECTORY,
)
from remora.install.parts import pods

WANTED = Ref("console.enabled")
EDITS_RULES = All(FIRST, Ref("collector.enabled"), WANTED, Ref("console.editRules"))
"""Whether the control plane lets it."""
TOKEN_DIRECTORY, TOKEN_FILE = "/var/run/secrets/console", "token"
URL_FILE = "/tmp/console.url"  # noqa: S108 - the pod's own
"""Where its address is, token included: that belongs in no log."""


def container() -> dict[str, Any]:
    """Rules and proxies are the control plane's to tell."""
    return pods.container(
        "console",
        [
            "console",
            f"--state={pods.STATE}",
            f"--listen=127.0.0.1:{CONSOLE_PORT}",
            Concat("--control=https://", *CONTROL_HOST.parts, f":{REST_PORT}"),
            f"--root={pods.ROOT_FILE}",
            f"--token-file={TOKEN_DIRECTORY}/{TOKEN_FILE}",
            f"--url-file={URL_FILE}",
        ],
        resources="console.resources",
        ports=[{"name": "http-console", "containerPort": CONSOLE_PORT}],
        volumeMounts=[
            {"name": "state", "mountPath": pods.STATE, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the container's own
            {"name": "remora-root", "mountPath": ROOT_DIRECTORY, "readOnly": True},
            {"name": "console-token", "mountPath": TOKEN_DIRECTORY, "readOnly": True},
        ],
        # Its framework makes a directory where it stands.
        workingDir="/tmp",  # noqa: S108
    )


def volume() -> dict[str, Node]:
    """Its token."""
    token = {"audience": CONSOLE_AUDIENCE, "expirationSeconds": CONSOLE_TOKEN_SECONDS, "path": TOKEN_FILE}
    return {
        "name": "console-token",
        "projected": {"defaultMode": 0o440, "sources": [{"serviceAccountToken": token}]},
    }
